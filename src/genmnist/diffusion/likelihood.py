"""How likely a diffusion model holds an image to be: a bound, and the exact density of its ODE.

Both depend on a schedule through its log-SNR alone: y = x / hypot(alpha, sigma) = cos x_0 + sin epsilon, with
the angle theta = atan2(sigma, alpha), preserves variance whatever the schedule, and its SNR is cot^2 theta.
Every function answers in nats per image, summed over all dimensions but the first, in the precision of the
tensors that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from genmnist.diffusion import samplers
from genmnist.diffusion.samplers import Denoise, Noise
from genmnist.diffusion.schedules import Schedule

Images = Float[Tensor, "b ..."]
Nats = Float[Tensor, " b"]

BIN = 2 / 255  # from one of the 256 values that a pixel in [-1, 1] has to the next


class Transition(NamedTuple):
    """One step of the reverse process, from timestep `t` to `s`, and how many of them it stands for."""

    t: int
    s: int
    weight: float = 1.0


def transitions(schedule: Schedule, u: Float64[Tensor, " n"] | None = None) -> list[Transition]:
    """Return all T - 1 steps between neighbouring timesteps, or a few that stand for them all.

    The terms of the bound per unit of log-SNR change little from one to the next, so that is where to look:
    `u` says how far along the range of log-SNR, 0 at the clean end and 1 at the noisy one, and the step found
    there, d wide, weighs range / (n d). With one number in each of n equal parts of (0, 1), as drawn by
    `genmnist.diffusion.times.stratified`, the weighted sum is an unbiased estimate of the whole.
    """
    if u is None:
        return [Transition(t, t - 1) for t in range(1, len(schedule))]
    first, last = schedule.log_snrs[[0, -1]].tolist()
    found = schedule.timestep(first + u * (last - first)).ceil().clamp_min(1).long()
    weights = (first - last) / len(u) / (schedule.log_snrs[found - 1] - schedule.log_snrs[found])
    return [Transition(t, t - 1, weight) for t, weight in zip(found.tolist(), weights.tolist(), strict=True)]


def prior(x0: Images, schedule: Schedule) -> Nats:
    """Return KL(q(y_T | x_0) || N(0, I)), what is left of an image in the noisiest timestep.

    The term L_T of Ho, Jain & Abbeel 2020, eq. 5, in closed form.
    """
    log_snr = schedule.log_snrs[-1]
    signal, log_noise = log_snr.sigmoid().item(), F.logsigmoid(-log_snr).item()  # cos^2 and log sin^2
    divergence: Tensor = (signal * (x0.square() - 1) - log_noise) / 2
    return divergence.flatten(1).sum(1)


def transition(denoise: Denoise, x0: Images, schedule: Schedule, step: Transition, noise: Tensor) -> Nats:
    """Return one draw of KL(q(x_s | x_t, x_0) || p(x_s | x_t)), with x_t drawn from q by `noise`.

    Both have the variance beta-tilde, so that it comes to half the SNR lost on the step times the squared
    error of the predicted image (Kingma et al. 2021, "Variational diffusion models", eq. 13; with this
    variance the same as Ho, Jain & Abbeel 2020, eq. 8). It counts as often as the step's weight says.
    """
    log_snr, log_snr_s = schedule.log_snr(step.t).item(), schedule.log_snr(step.s).item()
    lost = math.exp(log_snr) * math.expm1(log_snr_s - log_snr)
    error = (x0 - denoise(noisy(x0, schedule, step.t, noise), step.t).x0).square().flatten(1).sum(1)
    return step.weight * lost / 2 * error


def reconstruction(denoise: Denoise, x0: Images, schedule: Schedule, noise: Tensor) -> Nats:
    """Return one draw of -log p(x_0 | x_t) at timestep 0, for pixels that have one of 256 values in [-1, 1].

    The decoder is a Gaussian about the predicted image, integrated over each pixel's bin (Ho, Jain & Abbeel
    2020, eq. 13). Its deviation is sigma / alpha, the noise of timestep 0 in units of the image: that is how
    far x_0 lies from x_t / alpha, and from the best prediction wherever the density of images is flat on
    this scale. Where it is not flat a prediction may be better than that; the bound holds, but less tightly.
    """
    deviation = math.exp(-schedule.log_snr(0).item() / 2)
    mean = denoise(noisy(x0, schedule, 0, noise), 0).x0
    return -log_bin(x0, mean, deviation).flatten(1).sum(1)


def log_bin(x0: Images, mean: Images, deviation: float) -> Images:
    """Return the log-probability of every pixel's bin under a Gaussian; the bins at -1 and 1 are open.

    Args:
        x0: pixels with the 256 values 2 v / 255 - 1.
        mean: those of the Gaussian, of the same shape.
        deviation: its standard deviation.
    """
    centre = x0 - mean
    low = torch.where(x0 < -1 + BIN / 2, -math.inf, (centre - BIN / 2) / deviation)
    high = torch.where(x0 > 1 - BIN / 2, math.inf, (centre + BIN / 2) / deviation)
    # Mirrored into the lower tail, where the logarithm of a probability keeps its digits however small it is;
    # in the upper one both ends of the bin would round to 1.
    mirrored = low + high > 0
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    log_probability: Tensor = above + (-(below - above).expm1()).log()
    return log_probability


def noisy(x0: Images, schedule: Schedule, t: float, noise: Tensor) -> Images:
    """Return x_t = alpha x_0 + sigma noise."""
    return schedule.alpha(t).item() * x0 + schedule.sigma(t).item() * noise


@torch.no_grad()
def log_density(
    denoise: Denoise, x: Images, schedule: Schedule, timesteps: Sequence[float], probe: Noise
) -> Nats:
    """Return log p(x_t) at the first timestep, by the probability-flow ODE (Song et al. 2021, section 4.3).

    In the angle dy/dtheta = cos epsilon - sin x_0 = cot y - x_0 / sin. On the way to N(0, I) at the noisy end
    log p changes by minus the integral of the divergence, dim cot - tr(dx_0/dy) / sin. The integral of its
    first part is known, dim log sin. The second is integrated over log tan(theta / 2) instead, where it is
    the bare trace: neither a pixel that is certain (trace 0) nor one that could be anything (trace 1) then
    costs any accuracy near the clean end, where the divergence itself grows without bound. The path is that
    of Heun's method, the integral by the trapezium rule along it: both of second order.

    Args:
        denoise: what the model makes of x at a timestep; it must be differentiable in x.
        x: noisy images at `timesteps[0]`.
        schedule: whose timesteps they are.
        timesteps: from clean to noisy, the last of them so noisy that N(0, I) is what is left.
        probe: draws vectors of the shape of x with covariance I, such as random signs. Each timestep sees a
            new one. Its product with the vector-Jacobian product is an unbiased estimate of the trace
            (Hutchinson 1990; Grathwohl et al. 2019, "FFJORD", section 3.1), for random signs exact where
            dx_0/dy is diagonal.
    """
    times = torch.tensor(timesteps, dtype=torch.float64)
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    angle, sizes = torch.atan2(sigma, alpha), torch.hypot(alpha, sigma).tolist()
    widths = (angle / 2).tan().log().diff()
    weights = ((F.pad(widths, (1, 0)) + F.pad(widths, (0, 1))) / 2).tolist()

    # What the known part of the divergence adds to log p(y), and x = size y takes from it, per dimension.
    each = (angle.sin()[-1] / angle.sin()[0]).log().item() - math.log(sizes[0])
    log_p = torch.full_like(x.flatten(1)[:, 0], each * x[0].numel())
    path = chain((x,), (step.x for step in samplers.heun(denoise, x, schedule, timesteps)))
    for x_t, t, size, weight in zip(path, timesteps, sizes, weights, strict=True):
        y = x_t / size
        log_p -= weight * size * _trace(denoise, x_t, t, probe())
    noise: Tensor = (y.square() + math.log(2 * math.pi)).flatten(1).sum(1) / 2
    return log_p - noise


def _trace(denoise: Denoise, x: Images, t: float, probe: Tensor) -> Nats:
    """Return an estimate of tr(dx_0/dx), also where a caller has switched gradients off."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        x, probe = x.clone().requires_grad_(), probe.clone()
        (product,) = torch.autograd.grad(denoise(x, t).x0, x, probe)
    return (product * probe).flatten(1).sum(1)
