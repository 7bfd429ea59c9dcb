"""Figures of a latent space: traversals (figure 3 of the report) and interpolations (figures 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from genmnist.data import quantise
from genmnist.figures import grid
from genmnist.models.vae import Usage


def traversal(
    images: Float[Tensor, "latent steps 28 28"], values: Float[Tensor, " steps"], usage: Usage
) -> tuple[Image.Image, list[Image.Image]]:
    """Lay a traversal out, the factors most used first, with the KL of each beside it.

    Returns:
        The whole picture, and a frame a step with all factors in a grid.
    """
    order = usage.order()
    cells = _bytes(images[order])
    unused = [row for row, factor in enumerate(order) if not usage.active[factor]]
    rows = [f"z{factor}  {usage.kl[factor]:.2f} nats" for factor in order]
    for row in unused:
        rows[row] += "  unused"
    columns = [f"{value:+.1f}" if value else "0" for value in values.tolist()]
    title = f"{int(usage.active.sum())} of {len(order)} factors active"
    return grid.tiles(cells, rows, columns, title, unused), [grid.grid(frame) for frame in cells.unbind(1)]


def interpolation(
    walks: Sequence[Float[Tensor, "pairs steps 28 28"]],
    spaces: Sequence[str],
    alphas: Float[Tensor, " steps"],
) -> tuple[Image.Image, list[Image.Image]]:
    """Lay walks out, those of one pair of end points through each space under one another.

    Returns:
        The whole picture, and a frame a step with all walks in a grid.
    """
    pairs = len(walks[0])
    cells = _bytes(torch.stack(list(walks), 1).flatten(0, 1))
    picture = grid.tiles(cells, list(spaces) * pairs, [f"{alpha:.2g}" for alpha in alphas.tolist()])
    across = len(spaces) * max(1, pairs // 2)
    return picture, [grid.grid(frame, across) for frame in cells.unbind(1)]


def _bytes(images: Float[Tensor, "rows steps 28 28"]) -> UInt8[Tensor, "rows steps 28 28"]:
    return quantise(images.flatten(0, 1).unsqueeze(1)).cpu().view(images.shape)
