"""Images that a model holds to be likely, and others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from genmnist.figures.grid import Tiles


def extremes(
    images: UInt8[Tensor, "n h w *rgb"],
    bits: Sequence[float],
    likeliest: Sequence[int],
    least: Sequence[int],
    title: str = "",
) -> Tiles:
    """Lay the likeliest images out above the least likely.

    Args:
        images: all of them.
        bits: per dimension, of each.
        likeliest, least: the numbers of those to show, the extreme ones first.
        title: a line above.
    """
    rows = [row for row in (likeliest, least) if row]
    blank = images.new_zeros(images.shape[1:])
    width = max(map(len, rows))
    cells = [[images[number] for number in row] + [blank] * (width - len(row)) for row in rows]
    texts = [
        f"{name}: {bits[row[0]]:.2f} to {bits[row[-1]]:.2f}"
        for name, row in zip(("likeliest", "least likely"), rows, strict=False)
    ]
    return Tiles(torch.stack([torch.stack(row) for row in cells]), texts, title=title)
