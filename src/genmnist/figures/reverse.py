"""Figures of the reverse process: from noise to images (figure 7 of the report)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from genmnist.data import quantise
from genmnist.diffusion.samplers import Step
from genmnist.figures.grid import Tiles, grid

_NAMES = "xₜ", "x̂₀"


def picture(steps: Sequence[Step], show_x0: bool = False) -> Tiles:
    """Lay steps out, a column a timestep and a row an image; the predicted clean images in rows between."""
    cells = torch.stack([_cells(step, show_x0).flatten(0, 1) for step in steps], 1)
    rows = [_NAMES[row % 2] for row in range(len(cells))] if show_x0 else ()
    return Tiles(cells, rows, [f"{step.t:g}" for step in steps], corner="t")


def frames(steps: Sequence[Step], show_x0: bool = False) -> list[Tiles]:
    """Return a picture a step: the images in a grid, or in two rows with the predicted clean images."""
    if not show_x0:
        return [grid(_bytes(step.x), title=step.moment) for step in steps]
    return [Tiles(_cells(step, True).transpose(0, 1), _NAMES, title=step.moment) for step in steps]


def _cells(step: Step, show_x0: bool) -> UInt8[Tensor, "images kinds h w *rgb"]:
    return torch.stack([_bytes(x) for x in ((step.x, step.x0) if show_x0 else (step.x,))], 1)


def _bytes(x: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b h w *rgb"]:
    return quantise((x + 1) / 2).cpu()
