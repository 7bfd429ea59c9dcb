"""The pictures of the lessons: images, curves and points on a plane, from plain tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from genmnist.data import quantise
from genmnist.figures.curves import Chart, Cloud, Panel
from genmnist.figures.grid import Tiles, grid
from genmnist.figures.style import Style


def show(images: Tensor, columns: int = 10, heads: Sequence[object] = (), title: str = "") -> Tiles:
    """Return images as a picture, so many in a row.

    Args:
        images: bytes [n, h, w], or floats from 0 to 1, [n, 1, h, w]; what is beyond is cut off.
        columns: how many in a row.
        heads: what stands above the columns.
        title: a line above.
    """
    shown = quantise(images.detach().float()) if images.is_floating_point() else images
    return grid(shown, min(columns, len(shown)), [*map(str, heads)], title)


def plot(lines: Mapping[str, tuple[Any, Any]], xlabel: str = "", ylabel: str = "", **more: Any) -> Chart:
    """Return a chart of lines: x and y of each, by name.

    Args:
        lines: tensors or lists.
        xlabel, ylabel: what the axes are.
        more: a `title`; `log=True` for a logarithmic y; `falling=True` for an x that runs backwards.
    """
    plain = {name: (_numbers(x), _numbers(y)) for name, (x, y) in lines.items()}
    return Chart([[Panel(plain, xlabel, ylabel, **more)]], 5.5)


@dataclass(frozen=True)
class _Plane(Cloud):
    """Points on a plane, with the ways on which they came."""

    ways: Float[Tensor, "steps n 2"] | None = None
    half: float = 3.0

    def paint(self, axes: Any, style: Style) -> None:
        """Draw them."""
        if self.ways is not None:
            for way in self.ways.transpose(0, 1):
                axes.plot(*way.T, color=style.faint, linewidth=0.6, alpha=0.7)
        axes.scatter(self.x, self.y, s=5, color=style.lines[0], linewidths=0)
        axes.set(title=self.title, aspect="equal", xlim=(-self.half, self.half), ylim=(-self.half, self.half))
        axes.tick_params(labelsize=7)


def scatter(
    points: Mapping[str, Float[Tensor, "_ 2"]], ways: Mapping[str, Float[Tensor, "_ _ 2"]] | None = None
) -> Chart:
    """Return points on a plane, a panel for each name, with the ways [steps, n, 2] on which some came."""
    panels = [
        _Plane(place[:, 0].tolist(), place[:, 1].tolist(), [], [], "", "", name, (ways or {}).get(name))
        for name, place in points.items()
    ]
    return Chart([panels], 2.4, 2.5)


def _numbers(values: Any) -> list[float]:
    return [float(value) for value in torch.as_tensor(values).flatten().tolist()]
