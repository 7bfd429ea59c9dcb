"""Guidance: wrappers that turn a denoiser into one that draws what was asked for.

Every sampler works with them and none knows of them. The one exception is ancestral sampling with a
classifier, whose published algorithm moves the mean of each step: `samplers.ancestral` takes the gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genmnist.diffusion.samplers import Denoise, Gradient
from genmnist.diffusion.schedules import Schedule
from genmnist.diffusion.targets import Denoised

Conditional = Callable[[Tensor, float, Tensor | None], Denoised]  # at x, timestep t, with labels or without
Strength = Callable[[float], float]  # at a timestep


def within(strength: float, schedule: Schedule, above: float, below: float) -> Strength:
    """Return a strength for where the share of noise, sigma / (alpha + sigma), lies between two bounds.

    Elsewhere it is 0 (Kynkäänniemi et al. 2024).
    """

    def at(t: float) -> float:
        noise = (-schedule.log_snr(t) / 2).sigmoid().item()
        return strength if above <= noise <= below else 0.0

    return at


def autoguided(denoise: Conditional, weaker: Conditional, strength: Strength) -> Conditional:
    """Predict (1 + w) times what a model says less w times what a weaker one says of the same images.

    What the two have in common are the data, what sets them apart are errors, so it leads away from those
    (Karras et al. 2024, "Guiding a diffusion model with a bad version of itself", eq. 1, whose w is 1 more).
    """

    def guided(x: Tensor, t: float, labels: Tensor | None = None) -> Denoised:
        own, w = denoise(x, t, labels), strength(t)
        if not w:
            return own
        other = weaker(x, t, labels)
        return Denoised((1 + w) * own.x0 - w * other.x0, (1 + w) * own.epsilon - w * other.epsilon)

    return guided


def classifier_free(denoise: Conditional, labels: Tensor, null: Tensor, strength: Strength) -> Denoise:
    """Predict (1 + w) epsilon(x, label) - w epsilon(x), by one call (Ho & Salimans 2022, eq. 6).

    At given x the clean image is linear in the noise, so the same holds for it. Where w is 0 only the model
    with labels is asked, where it is -1 only the one without.

    Args:
        denoise: the model with labels.
        labels: the label of each image.
        null: as many null labels.
        strength: w, which may depend on the timestep (Kynkäänniemi et al. 2024).
    """
    both = torch.cat((labels, null))

    def guided(x: Tensor, t: float) -> Denoised:
        w = strength(t)
        if w in (0, -1):
            return denoise(x, t, null if w else labels)
        x0, epsilon = (part.chunk(2) for part in denoise(torch.cat((x, x)), t, both))
        return Denoised(*((1 + w) * labelled - w * plain for labelled, plain in (x0, epsilon)))

    return guided


def by_classifier(denoise: Denoise, gradient: Gradient, schedule: Schedule) -> Denoise:
    """Move the predicted noise by -sigma times the gradient (Dhariwal & Nichol 2021, algorithm 2).

    `gradient` is that of s log p(label | x) by x at a timestep; sigma is their sqrt(1 - alpha-bar).
    """

    def guided(x: Tensor, t: float) -> Denoised:
        alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
        epsilon = denoise(x, t).epsilon - sigma * gradient(x, t)
        return Denoised((x - sigma * epsilon) / alpha, epsilon)

    return guided
