"""Guidance as an object: given to sampling, it makes a diffusion model draw what was asked for.

`genmnist.diffusion.guidance` has the equations on plain tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genmnist.data import Shape
from genmnist.diffusion import guidance
from genmnist.diffusion.guidance import Conditional
from genmnist.diffusion.samplers import Denoise, Gradient
from genmnist.diffusion.schedules import Schedule
from genmnist.diffusion.targets import Denoised
from genmnist.errors import UsageError


class Guidance(ABC):
    """What steers sampling towards labels, 0 … `classes` - 1."""

    classes: int

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return what the labels are called."""
        return tuple(map(str, range(self.classes)))

    def check(self, shape: Shape) -> None:
        """Raise UsageError unless it can guide models of images of this shape."""
        return

    @abstractmethod
    def denoiser(self, denoise: Conditional, labels: Tensor, schedule: Schedule, ancestral: bool) -> Denoise:
        """Return `denoise` as it is guided; `ancestral` sampling may leave that to `gradient`."""

    def gradient(self, labels: Tensor, schedule: Schedule) -> Gradient | None:
        """Return what moves the means of ancestral sampling, if anything does."""
        return None


@dataclass
class ClassifierFree(Guidance):
    """Classifier-free guidance (Ho & Salimans 2022), by a model with labels and a null label.

    Args:
        classes: labels of the model; the null label comes after them.
        strength: w: 0 is the model with labels, -1 the one without.
        above, below: the share of noise, sigma / (alpha + sigma), between which it is guided
            (Kynkäänniemi et al. 2024); elsewhere w is 0.
    """

    classes: int
    strength: float
    above: float = 0.0
    below: float = 1.0

    def denoiser(self, denoise: Conditional, labels: Tensor, schedule: Schedule, ancestral: bool) -> Denoise:
        """Return the denoiser that goes beyond the difference which the labels make."""
        if labels.is_floating_point():
            null = F.one_hot(torch.full((len(labels),), self.classes, device=labels.device)).to(labels.dtype)
        else:
            null = torch.full_like(labels, self.classes)
        strength = guidance.within(self.strength, schedule, self.above, self.below)
        return guidance.classifier_free(denoise, labels, null, strength)


class ByClassifier(Guidance):
    """Guidance by a classifier of noisy images (Dhariwal & Nichol 2021), of a model without labels.

    Every sampler follows algorithm 2; ancestral sampling follows algorithm 1.

    Args:
        classifier: what steers; it must know noise.
        scale: s, how much the classifier's gradient counts; 1 is Bayes' rule.

    Raises:
        UsageError: the classifier was trained on clean images alone.
    """

    def __init__(self, classifier: Any, scale: float = 1.0) -> None:
        if not classifier.options.noisy:
            raise UsageError(
                "this `classifier` knows clean images only and cannot guide: take one trained with `noisy`"
            )
        self.classifier, self.scale, self.classes = classifier, scale, classifier.classes

    def check(self, shape: Shape) -> None:
        """Raise UsageError unless the classifier knows images of this shape."""
        if self.classifier.shape != shape:
            known, wanted = (" x ".join(map(str, form)) for form in (self.classifier.shape, shape))
            raise UsageError(
                f"the `classifier` knows images of {known}, and the model draws {wanted}: train one on "
                "the model's data"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return what the classifier calls them; empty for one that it never saw."""
        names: tuple[str, ...] = self.classifier.class_names
        return names

    def denoiser(self, denoise: Conditional, labels: Tensor, schedule: Schedule, ancestral: bool) -> Denoise:
        """Return the denoiser whose noise the classifier moves; ancestral sampling keeps the plain one."""

        def plain(x: Tensor, t: float) -> Denoised:
            return denoise(x, t, None)

        return (
            plain if ancestral else guidance.by_classifier(plain, self.gradient(labels, schedule), schedule)
        )

    def gradient(self, labels: Tensor, schedule: Schedule) -> Gradient:
        """Return the gradient of s log p(label | x) by x."""

        def gradient(x: Tensor, t: float) -> Tensor:
            alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
            pull: Tensor = self.scale * self.classifier.gradient(x, alpha, sigma, labels)
            return pull

        return gradient
