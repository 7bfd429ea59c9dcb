"""What a network may be asked to predict, and how much each noise level should weigh.

Every target is a combination y = a x_0 + b epsilon. Together with x = alpha x_0 + sigma epsilon that is two
equations in two unknowns, so one function turns any prediction into x_0 and epsilon. A target is one function
that returns a and b; a weight is one function too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genmnist.registry import TARGETS

Coefficients = tuple[Tensor, Tensor]


class Denoised(NamedTuple):
    """A prediction of the clean image and of the noise, which make up x together."""

    x0: Tensor
    epsilon: Tensor


def epsilon(alpha: Tensor, sigma: Tensor) -> Coefficients:
    """Predict the noise (Ho, Jain & Abbeel 2020, eq. 12)."""
    return torch.zeros_like(alpha), torch.ones_like(sigma)


def x0(alpha: Tensor, sigma: Tensor) -> Coefficients:
    """Predict the clean image."""
    return torch.ones_like(alpha), torch.zeros_like(sigma)


def v(alpha: Tensor, sigma: Tensor) -> Coefficients:
    """Predict v = alpha epsilon - sigma x_0 (Salimans & Ho 2022, section 4)."""
    return -sigma, alpha


def flow(alpha: Tensor, sigma: Tensor) -> Coefficients:
    """Predict the velocity epsilon - x_0 of the straight path (Lipman et al. 2023; Liu, Gong & Liu 2023)."""
    return -torch.ones_like(alpha), torch.ones_like(sigma)


def categorical(alpha: Tensor, sigma: Tensor) -> Coefficients:
    """Predict how likely each value of a pixel is; their mean is the clean image (see `nn.categorical`)."""
    return x0(alpha, sigma)


def target(name: str, clean: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return what a network that predicts `name` should have said."""
    a, b = _coefficients(name, alpha, sigma)
    return a * clean + b * noise


def denoised(name: str, prediction: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Denoised:
    """Turn a prediction of `name` at x into x_0 and epsilon.

    The determinant alpha b - sigma a vanishes only where the target says nothing new: for epsilon without
    signal (alpha = 0), for x_0 without noise.
    """
    a, b = _coefficients(name, alpha, sigma)
    determinant = alpha * b - sigma * a
    return Denoised((b * x - sigma * prediction) / determinant, (alpha * prediction - a * x) / determinant)


def simple(name: str, alpha: Tensor, sigma: Tensor, slope: Tensor) -> Tensor:
    """Weigh the errors of the target itself equally (Ho, Jain & Abbeel 2020, eq. 14)."""
    return torch.ones_like(alpha)


def min_snr(name: str, alpha: Tensor, sigma: Tensor, slope: Tensor, gamma: float = 5.0) -> Tensor:
    """Weigh errors of x_0 by the SNR, up to gamma (Hang et al. 2023, eq. 8)."""
    return (alpha / sigma).square().clamp_max(gamma) / _per_x0(name, alpha, sigma)


def likelihood(name: str, alpha: Tensor, sigma: Tensor, slope: Tensor) -> Tensor:
    """Weigh errors as the variational bound does: -dSNR/dt / 2 for x_0 (Kingma et al. 2021, eq. 15).

    `slope` is that of lambda over the whole path, so that the loss is the bound itself, in nats a dimension.
    """
    return -slope / 2 * (alpha / sigma).square() / _per_x0(name, alpha, sigma)


def _coefficients(name: str, alpha: Tensor, sigma: Tensor) -> Coefficients:
    a, b = TARGETS[name](alpha, sigma)
    return a, b


def _per_x0(name: str, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return how much a squared error of x_0, at a given x, counts in the squared error of a target."""
    a, b = _coefficients(name, alpha, sigma)
    return ((alpha * b - sigma * a) / sigma).square()
