"""Figures of a latent space: traversals (figure 3 of the report) and interpolations (figures 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from genmnist.data import quantise
from genmnist.figures import grid


def traversal(
    images: Float[Tensor, "latent steps c h w"],
    values: Float[Tensor, " steps"],
    kl: Float[Tensor, " latent"],
    active: Bool[Tensor, " latent"],
) -> tuple[Image.Image, list[Image.Image]]:
    """Lay a traversal out, the factors most used first, with the KL of each beside it.

    Args:
        images: a row a factor, in [0, 1].
        values: what the factor is set to.
        kl: how much each factor is used, in nats.
        active: whether it is.

    Returns:
        The whole picture, and a frame a step with all factors in a grid.
    """
    order = [int(factor) for factor in kl.argsort(descending=True)]
    cells = _bytes(images[order])
    unused = [row for row, factor in enumerate(order) if not active[factor]]
    rows = [f"z{factor}  {kl[factor]:.2f} nats" for factor in order]
    for row in unused:
        rows[row] += "  unused"
    columns = [f"{value:+.1f}" if value else "0" for value in values.tolist()]
    title = f"{int(active.sum())} of {len(order)} factors active"
    return grid.tiles(cells, rows, columns, title, unused), [grid.grid(frame) for frame in cells.unbind(1)]


def interpolation(
    walks: Sequence[Float[Tensor, "pairs steps c h w"]],
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


def _bytes(images: Float[Tensor, "rows steps c h w"]) -> UInt8[Tensor, "rows steps h w *rgb"]:
    cells: Tensor = quantise(images.flatten(0, 1)).cpu().unflatten(0, images.shape[:2])
    return cells
