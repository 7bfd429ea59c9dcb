"""Figures of a latent space: traversals, walks (figures 3 to 5 of the report), its plane and its codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from genmnist.data import quantise
from genmnist.figures.grid import Tiles, grid

_SUBSCRIPTS = str.maketrans("0123456789-", "₀₁₂₃₄₅₆₇₈₉₋")


def traversal(
    images: Float[Tensor, "latent steps c h w"],
    values: Float[Tensor, " steps"],
    kl: Float[Tensor, " latent"],
    active: Bool[Tensor, " latent"],
) -> tuple[Tiles, list[Tiles]]:
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
    rows = [f"{factor_name(factor)}  {kl[factor]:.2f} nats" for factor in order]
    for row in unused:
        rows[row] += ", unused"
    heads = [_signed(value) for value in values.tolist()]
    title = f"{int(active.sum())} of {len(order)} factors active"
    frames = [
        grid(frame, title=f"each z = {head}") for frame, head in zip(cells.unbind(1), heads, strict=True)
    ]
    return Tiles(cells, rows, heads, "value of z", title, unused), frames


def plane(
    images: Float[Tensor, "rows columns c h w"], values: Float[Tensor, " columns"], factors: tuple[int, int]
) -> Tiles:
    """Lay out what is decoded all over a plane of two factors, the first across, the second upwards."""
    heads = [_signed(value) for value in values.tolist()]
    corner = f"{factor_name(factors[1])} ↑   {factor_name(factors[0])} →"
    return Tiles(_bytes(images), heads[::-1], heads, corner)


def interpolation(
    walks: Sequence[Float[Tensor, "pairs steps c h w"]],
    spaces: Sequence[str],
    alphas: Float[Tensor, " steps"],
) -> tuple[Tiles, list[Tiles]]:
    """Lay walks out, those of one pair of end points through each space under one another.

    Returns:
        The whole picture, and a frame a step with all walks in a grid.
    """
    pairs = len(walks[0])
    cells = _bytes(torch.stack(list(walks), 1).flatten(0, 1))
    heads = [f"{alpha:.2g}" for alpha in alphas.tolist()]
    across = len(spaces) * max(1, pairs // 2)
    frames = [
        grid(frame, across, title=f"α = {head}") for frame, head in zip(cells.unbind(1), heads, strict=True)
    ]
    return Tiles(cells, list(spaces) * pairs, heads, "α"), frames


def reconstructions(
    images: UInt8[Tensor, "n h w *rgb"], decoded: Float[Tensor, "n c h w"], heads: Sequence[str]
) -> Tiles:
    """Lay images out above what a model makes of them."""
    return Tiles(torch.stack((images.cpu(), quantise(decoded).cpu())), ("input", "reconstruction"), heads)


def factor_name(factor: int) -> str:
    """Return the name of a latent factor, counted from 0."""
    return "z" + str(factor).translate(_SUBSCRIPTS)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−") if abs(value) > 1e-6 else "0"


def _bytes(images: Float[Tensor, "rows columns c h w"]) -> UInt8[Tensor, "rows columns h w *rgb"]:
    cells: Tensor = quantise(images.flatten(0, 1)).cpu().unflatten(0, images.shape[:2])
    return cells
