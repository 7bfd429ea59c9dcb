"""Whether the reverse process settles the coarse before the fine: what is final by when, by frequency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from genmnist.models import Diffusion

# Cycles an image, from one edge to the next: the whole, strokes, edges, and what is finer than a stroke.
EDGES = (0.0, 1.5, 3.5, 7.0, 20.0)


@dataclass(frozen=True)
class Settled:
    """By timestep, the share of each band that is final in the predicted clean image."""

    timesteps: list[float]
    bands: list[tuple[float, float]]  # cycles an image
    shares: list[list[float]]  # a list a timestep, a number a band; 1 is final, 0 or less no better than none

    def half_settled(self) -> list[float]:
        """Return the timestep, for each band, from which on half of it or more is final."""
        return [
            next(
                (
                    self.timesteps[k]
                    for k in range(len(self.timesteps))
                    if all(row[band] >= 0.5 for row in self.shares[k:])
                ),
                -1.0,
            )
            for band in range(len(self.bands))
        ]


def settle(model: Diffusion, num: int = 256, seed: int = 0, steps: int = 48) -> Iterator[Settled]:
    """Follow the predicted clean images of `num` samples; yields after every step, the shares at the end.

    A band is final in as far as its coefficients are those of the end: 1 - |difference|² / |end|², each
    summed over the band and the samples.
    """
    times, cleans = [], []
    for step in model.trace((), num, seed, steps=steps, spacing="trailing"):
        times.append(step.t)
        cleans.append(step.x0.squeeze(1).cpu())
        yield Settled(times, [*pairwise(EDGES)], [])
    *before, end = cleans
    yield Settled(times[:-1], [*pairwise(EDGES)], [_shares(clean, end) for clean in before])


def _shares(clean: Float[Tensor, "num 28 28"], end: Float[Tensor, "num 28 28"]) -> list[float]:
    """Return how much of each band of `end` is in `clean` already."""
    wrong, whole = (torch.fft.fft2(part).abs().square().sum(0) for part in (clean - end, end))
    cycles = 28 * torch.fft.fftfreq(28)
    radius = torch.hypot(cycles[:, None], cycles[None])
    shares = []
    for low, high in pairwise(EDGES):
        band = (low <= radius) & (radius < high)
        shares.append(1 - (wrong[band].sum() / whole[band].sum()).item())
    return shares
