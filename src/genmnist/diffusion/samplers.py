"""Samplers: generators that walk from noise to an image and yield every step.

Each is a plain function of `denoise` (what a model makes of x at timestep t), the noise x to start from, the
schedule, and the timesteps to visit, noisiest first and `CLEAN` last. Whoever wants the image takes the last
step, whoever wants the trace takes some, and a progress bar counts them. Guidance, thresholding and
precision are wrapped round `denoise`; no sampler knows of them. A sampler gets what else its
parameters name: `noise`, fresh noise at each call; `eta` and `variance`, as asked for; `gradient`, that of a
classifier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from genmnist.diffusion.schedules import CLEAN, Schedule
from genmnist.diffusion.targets import Denoised

Denoise = Callable[[Tensor, float], Denoised]
Noise = Callable[[], Tensor]
Gradient = Callable[[Tensor, float], Tensor]


class Step(NamedTuple):
    """x at timestep `t`, and the clean image that was predicted on the way there."""

    t: float
    x: Tensor
    x0: Tensor

    @property
    def moment(self) -> str:
        """Return what to call it: its timestep, rounded, until it is the sample."""
        return "the sample" if self.t == CLEAN else f"t = {self.t:.0f}"


def ancestral(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    timesteps: Sequence[float],
    noise: Noise,
    variance: str = "beta",
    gradient: Gradient | None = None,
) -> Iterator[Step]:
    """Draw each x_s from its posterior given x_t and the predicted x_0 (Ho, Jain & Abbeel 2020, algorithm 2).

    `variance` is that of the forward step, `beta`, or of the exact posterior, `beta-tilde` (eq. 7), which the
    last step takes in either case, where it is 0. A `gradient`, that of s log p(label | x) at a timestep,
    moves the mean by the variance times it (Dhariwal & Nichol 2021, algorithm 1).
    """
    for t, s in pairwise(timesteps):
        clean, _ = denoise(x, t)
        alpha, sigma, alpha_s, sigma_s = _levels(schedule, t, s)
        ratio = alpha / alpha_s
        beta = sigma**2 - ratio**2 * sigma_s**2
        mean = ratio * sigma_s**2 / sigma**2 * x + alpha_s * beta / sigma**2 * clean
        if sigma_s > 0:
            spread = beta if variance == "beta" else beta * sigma_s**2 / sigma**2
            if gradient is not None:
                mean = mean + spread * gradient(x, t)
            mean = mean + spread**0.5 * noise()
        x = mean
        yield Step(s, x, clean)


def ddim(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    timesteps: Sequence[float],
    noise: Noise | None = None,
    eta: float = 0.0,
) -> Iterator[Step]:
    """Step along the predicted noise, `eta` of it drawn afresh (Song, Meng & Ermon 2021, eq. 12, eq. 16).

    eta = 0 is deterministic and needs no `noise`; eta = 1 is ancestral sampling with the exact posterior.
    """
    for t, s in pairwise(timesteps):
        clean, predicted = denoise(x, t)
        alpha, sigma, alpha_s, sigma_s = _levels(schedule, t, s)
        fresh = 0.0
        if noise is not None and eta and sigma_s > 0:
            fresh = eta * sigma_s / sigma * (sigma**2 - (alpha / alpha_s) ** 2 * sigma_s**2) ** 0.5
        x = alpha_s * clean + max(sigma_s**2 - fresh**2, 0.0) ** 0.5 * predicted
        if fresh and noise is not None:
            x = x + fresh * noise()
        yield Step(s, x, clean)


def consistency(
    denoise: Denoise, x: Tensor, schedule: Schedule, timesteps: Sequence[float], noise: Noise
) -> Iterator[Step]:
    """Take the predicted image, noise it afresh to the next timestep (Song et al. 2023, algorithm 1).

    For models whose prediction is a sample already; others answer with an average.
    """
    for t, s in pairwise(timesteps):
        clean, _ = denoise(x, t)
        _, _, alpha_s, sigma_s = _levels(schedule, t, s)
        x = alpha_s * clean + sigma_s * noise() if sigma_s > 0 else clean
        yield Step(s, x, clean)


def dpm_solver(denoise: Denoise, x: Tensor, schedule: Schedule, timesteps: Sequence[float]) -> Iterator[Step]:
    """DPM-Solver++(2M), second order (Lu et al. 2022b, algorithm 2); first order on the first and last steps.

    Exponential integration in lambda: the linear part of the ODE is solved exactly, and x_0 is extrapolated
    from this step and the one before.
    """
    before: tuple[Tensor, float] | None = None
    for t, s in pairwise(timesteps):
        clean, _ = denoise(x, t)
        _, sigma, alpha_s, sigma_s = _levels(schedule, t, s)
        width = (schedule.log_snr(s) - schedule.log_snr(t)).item() / 2
        guess = clean
        if before is not None and sigma_s > 0:
            earlier, earlier_width = before
            guess = clean + (clean - earlier) * (width / earlier_width / 2)
        # 1 - exp(-h) with h = width: at the clean end h is infinite and x becomes the predicted image.
        x = sigma_s / sigma * x + alpha_s * -math.expm1(-width) * guess
        before = clean, width
        yield Step(s, x, clean)


def heun(denoise: Denoise, x: Tensor, schedule: Schedule, timesteps: Sequence[float]) -> Iterator[Step]:
    """Heun's second-order method on the probability-flow ODE (Karras et al. 2022, algorithm 1).

    In the angle of (alpha, sigma), where the slope is v (Salimans & Ho 2022, appendix D) and stays bounded at
    the noisy end. It calls `denoise` twice a step, but once for the last, which takes the predicted image.
    """

    def slope(point: Denoised, alpha: float, sigma: float) -> Tensor:
        return (alpha * point.epsilon - sigma * point.x0) / math.hypot(alpha, sigma)

    for t, s in pairwise(timesteps):
        here = denoise(x, t)
        alpha, sigma, alpha_s, sigma_s = _levels(schedule, t, s)
        if sigma_s > 0:
            y, size = x / math.hypot(alpha, sigma), math.hypot(alpha_s, sigma_s)
            turn = math.atan2(sigma_s, alpha_s) - math.atan2(sigma, alpha)
            first = slope(here, alpha, sigma)
            second = slope(denoise(size * (y + turn * first), s), alpha_s, sigma_s)
            x = size * (y + turn * (first + second) / 2)
        else:
            x = here.x0
        yield Step(s, x, here.x0)


def thresholded(denoise: Denoise, schedule: Schedule, quantile: float | None = None) -> Denoise:
    """Keep predicted images within [-1, 1], and the predicted noise in step with them.

    Static: clip. Dynamic, with a `quantile`: first scale each image down so that this quantile of its
    absolute pixels comes to 1 (Saharia et al. 2022, section 2.3).
    """

    def wrapped(x: Tensor, t: float) -> Denoised:
        clean = denoise(x, t).x0
        if quantile is not None:
            size = clean.flatten(1).abs().quantile(quantile, dim=1).clamp_min(1)
            clean = clean / size.view(-1, *(1,) * (clean.ndim - 1))
        clean = clean.clamp(-1, 1)
        return Denoised(clean, (x - schedule.alpha(t).item() * clean) / schedule.sigma(t).item())

    return wrapped


def _levels(schedule: Schedule, t: float, s: float) -> tuple[float, float, float, float]:
    """Return alpha and sigma at t and at s, in float64."""
    both = torch.tensor([t, s], dtype=torch.float64)
    (alpha, alpha_s), (sigma, sigma_s) = schedule.alpha(both).tolist(), schedule.sigma(both).tolist()
    return alpha, sigma, alpha_s, sigma_s
