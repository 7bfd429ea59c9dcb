"""Whether the reverse process settles the coarse before the fine: what is final by when, by frequency."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from genmnist.evaluation.document import Settled
from genmnist.models import Diffusion

# Cycles an image, on its shorter side, from one edge to the next: the whole, strokes, edges; what is finer
# than a stroke comes after the last.
EDGES = (0.0, 1.5, 3.5, 7.0)

Bands = tuple[tuple[float, float], ...]


def bands(height: int, width: int) -> Bands:
    """Return the bands of frequencies in an image, those that it has; the last reaches to its corners."""
    corner = _radius(height, width).max().item()
    return tuple(pairwise((*(edge for edge in EDGES if edge <= corner), float(math.ceil(corner)))))


def settle(model: Diffusion, num: int = 256, seed: int = 0, steps: int = 48) -> Iterator[Settled]:
    """Follow the predicted clean images of `num` samples; yields after every step, the shares at the end.

    A band is final in as far as its coefficients are those of the end: 1 - |difference|² / |end|², each
    summed over the band, the channels and the samples. Until the end is known the shares are None, and so
    is that of a band that is empty at the end.
    """
    times, cleans = [], []
    edges = bands(*model.shape[1:])
    never = (-1.0,) * len(edges)
    for step in model.trace(model.request(seed, steps=steps, spacing="trailing"), num):
        times.append(float(step.t))
        cleans.append(step.x0.cpu())
        yield Settled(tuple(times), edges, ((None,) * len(edges),) * len(times), never)
    *before, end = cleans
    shares = tuple(_shares(clean, end, edges) for clean in before)
    half = tuple(_half_settled(times, column) for column in zip(*shares, strict=True))
    yield Settled(tuple(times[:-1]), edges, shares, half)


def _shares(
    clean: Float[Tensor, "num c h w"], end: Float[Tensor, "num c h w"], edges: Bands
) -> tuple[float | None, ...]:
    """Return how much of each band of `end` is in `clean` already."""
    wrong, power = (torch.fft.fft2(part).abs().square().sum((0, 1)) for part in (clean - end, end))
    radius = _radius(*end.shape[2:])
    shares: list[float | None] = []
    for low, high in edges:
        # At the outermost corner the radius is the last edge itself.
        band = (low <= radius) & (radius < high if high < edges[-1][1] else radius <= high)
        share = 1 - (wrong[band].sum() / power[band].sum()).item()
        shares.append(share if math.isfinite(share) else None)
    return tuple(shares)


def _half_settled(times: list[float], shares: tuple[float | None, ...]) -> float:
    """Return the timestep from which on half of a band or more is final, -1 if there is none."""
    since = -1.0
    for t, share in zip(reversed(times[:-1]), reversed(shares), strict=True):
        if share is None or share < 0.5:
            break
        since = t
    return since


def _radius(height: int, width: int) -> Float[Tensor, "h w"]:
    """Return how many cycles every coefficient of a Fourier transform has on the image's shorter side."""
    rows, columns = (min(height, width) * torch.fft.fftfreq(side) for side in (height, width))
    return torch.hypot(rows[:, None], columns[None])
