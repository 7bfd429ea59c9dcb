"""How samples get better over a training: the same ones by epoch (figures 6 and 8 of the report)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from genmnist.figures import grid

_SHOWN = 11  # epochs at most: of 20, every other one
_ACROSS = 9  # images of each, where they have no labels


def by_epoch(
    pictures: Sequence[tuple[int, Path]],
    columns: int,
    size: tuple[int, int],
    path: Path,
    heads: Sequence[str] = (),
    about: Mapping[str, str] | None = None,
) -> Path:
    """Put the first images of the pictures of some epochs under one another, a row an epoch.

    Args:
        pictures: an epoch and the grid of samples that was drawn after it, in order.
        columns: how many images wide the grids are.
        size: height and width of an image.
        path: where to.
        heads: what the labels are called of grids that have a column a label: as many images are shown.
        about: what the figure says of itself.

    Raises:
        GenmnistError: the file cannot be written.
    """
    stride = -(-len(pictures) // _SHOWN)
    shown = [*pictures[:-1:stride], pictures[-1]]
    rows = []
    for _, source in shown:
        with Image.open(source) as picture:
            rows.append(grid.read(picture, columns, size)[: len(heads) or _ACROSS])
    names = [f"epoch {epoch}" for epoch, _ in shown]
    return grid.Tiles(torch.stack(rows), names, heads).save(path, about)
