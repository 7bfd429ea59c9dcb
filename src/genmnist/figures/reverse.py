"""Figures of the reverse process: from noise to images (figure 7 of the report)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from genmnist.data import quantise
from genmnist.diffusion.samplers import Step
from genmnist.figures import grid


def picture(steps: Sequence[Step], show_x0: bool = False) -> Image.Image:
    """Lay steps out, a column a timestep and a row an image; the predicted clean images in rows between."""
    cells = torch.stack([_cells(step, show_x0) for step in steps], 1)
    rows = [("x_t", "x_0")[row % 2] for row in range(len(cells))] if show_x0 else []
    return grid.tiles(cells, rows, [f"t = {step.t:g}" for step in steps])


def frames(steps: Sequence[Step], show_x0: bool = False) -> list[Image.Image]:
    """Return a picture a step: the images in a grid, or in two rows with the predicted clean images."""
    if not show_x0:
        return [grid.grid(_bytes(step.x)) for step in steps]
    return [grid.tiles(torch.stack((_bytes(step.x), _bytes(step.x0)))) for step in steps]


def _cells(step: Step, show_x0: bool) -> UInt8[Tensor, "rows h w *rgb"]:
    images = _bytes(step.x)
    return torch.stack((images, _bytes(step.x0)), 1).flatten(0, 1) if show_x0 else images


def _bytes(x: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b h w *rgb"]:
    return quantise((x + 1) / 2).cpu()
