"""Averages whose length is chosen after the training (Karras et al. 2024, section 3 and appendix C).

"Analyzing and improving the training dynamics of diffusion models", arXiv 2312.02696. An average with the
profile of a power function weighs the weights of step s, of t so far, by

    p(s) = (gamma + 1) s^gamma / t^(gamma + 1),    0 <= s <= t.

However long the training, its width is the same share of it. That share, the standard deviation of the
profile over t, is the average's length, which the paper calls sigma_rel; gamma follows from it. Sums of such
profiles, of some lengths and ended at some steps, come near that of any other length; so the same sum of
averages that were kept while training comes near an average that was not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor


class Profile(NamedTuple):
    """The profile of an average: its length, and the step at which it ends."""

    step: int
    length: float


def exponent(length: float) -> float:
    """Return the exponent gamma of the profile of a length, which lies between 0 and 12^(-1/2) (algorithm 2).

    It is the positive root of (gamma + 2)^2 (gamma + 3) length^2 = gamma + 1.
    """
    inverse = length**-2
    return float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max())


def length(exponent: float) -> float:
    """Return the length of the profile with an exponent (section 3.1): standard deviation over steps."""
    return math.sqrt((exponent + 1) / (exponent + 3)) / (exponent + 2)


def decay(step: int, exponent: float) -> float:
    """Return what factor the average is taken by when the weights of step 1, 2, … join it (section 3.1)."""
    factor: float = (1 - 1 / step) ** (exponent + 1)
    return factor


def combine(kept: Sequence[Profile], wanted: Profile) -> tuple[Float64[Tensor, " kept"], float]:
    """Return how to add up profiles so that the sum is nearest to another, and how near it is (algorithm 3).

    Least squares over the integral of the squared difference. The coefficients sum to 1, other than in the
    paper, so that what all averages have in common, such as a constant, is in the sum, too.

    Args:
        kept: the profiles there are, all different.
        wanted: the profile that the sum is to have.

    Returns:
        A coefficient a profile, and the root of that integral over the one of the profile wanted squared.
    """
    steps, exponents = _columns(kept)
    step, power = _columns([wanted])
    between = _products(steps[:, None], exponents[:, None], steps, exponents)
    towards = _products(steps, exponents, step, power)
    # Of unit norm, or the profiles of early steps, which are narrow, would outweigh those of late ones.
    norms = between.diag().sqrt()
    count = len(kept)
    system = torch.zeros(count + 1, count + 1, dtype=torch.float64)
    system[:count, :count] = between / norms / norms[:, None]
    system[:count, count] = system[count, :count] = norms.mean() / norms
    right = torch.cat([towards / norms, norms.mean().reshape(1)])
    solution = torch.linalg.lstsq(system, right[:, None], driver="gelsd").solution[:count, 0] / norms
    square = _products(step, power, step, power).sum()
    error = square - 2 * solution @ towards + solution @ between @ solution
    return solution, math.sqrt(max(float(error / square), 0.0))


def _columns(profiles: Sequence[Profile]) -> tuple[Tensor, Tensor]:
    """Return steps and exponents."""
    found = [(float(step), exponent(length)) for step, length in profiles]
    return tuple(torch.tensor(found, dtype=torch.float64).T)


def _products(step: Tensor, exponent: Tensor, other_step: Tensor, other_exponent: Tensor) -> Tensor:
    """Return the integral of the product of each two profiles (algorithm 3, lines 1 to 6)."""
    ratio = step / other_step
    power = torch.where(ratio < 1, other_exponent, -exponent)
    longest = torch.maximum(step, other_step)
    above = (exponent + 1) * (other_exponent + 1) * ratio**power
    return above / ((exponent + other_exponent + 1) * longest)
