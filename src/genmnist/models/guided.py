"""Diffusion that draws what it is asked for: by labels of its own, or steered by a classifier."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from genmnist.diffusion import guidance
from genmnist.diffusion.samplers import Denoise, Gradient
from genmnist.errors import UsageError
from genmnist.models.base import Losses
from genmnist.models.classifier import Classifier
from genmnist.models.diffusion import Diffusion, Images
from genmnist.nn.unet import Labels
from genmnist.presets import ConditionalOptions, DiffusionOptions, GuidedSampling, Sampling


class ConditionalDiffusion(Diffusion):
    """Diffusion with labels, and with a null label for any (Ho & Salimans 2022)."""

    family: ClassVar[str] = "cfg"
    kind: ClassVar[type[DiffusionOptions]] = ConditionalOptions
    how: ClassVar[type[Sampling]] = GuidedSampling
    options: ConditionalOptions

    @property
    def classes(self) -> int:
        """Return how many labels there are besides the null label."""
        return self.options.classes

    def losses(self, images: Images, labels: Int64[Tensor, " b"], progress: float = 1.0) -> Losses:
        """Return the losses of `Diffusion`; training keeps some labels to itself (algorithm 1)."""
        if self.training:
            dropped = torch.rand(len(labels), device=labels.device) < self.options.drop_label
            labels = labels.masked_fill(dropped, self.classes)
        return self._losses(images, labels)

    def guided(self, how: Sampling, labels: Labels | None) -> Denoise:
        """Return the denoiser with classifier-free guidance; without labels, the unconditional one."""
        if labels is None or not isinstance(how, GuidedSampling):
            return self.denoise
        if labels.is_floating_point():
            null = F.one_hot(torch.full((len(labels),), self.classes, device=labels.device)).to(labels.dtype)
        else:
            null = torch.full_like(labels, self.classes)

        def strength(t: float) -> float:
            noise = (-self.schedule.log_snr(t) / 2).sigmoid().item()  # sigma / (alpha + sigma)
            return how.guidance if how.guide_above <= noise <= how.guide_below else 0.0

        return guidance.classifier_free(self.denoise, labels, null, strength)


class ClassifierGuided(Diffusion):
    """An unconditional diffusion model, steered by a classifier of noisy images (Dhariwal & Nichol 2021).

    It shares the model's weights. Every sampler follows algorithm 2; ancestral sampling follows algorithm 1.

    Args:
        model: what draws.
        classifier: what steers; it must know noise.
        scale: s, how much the classifier's gradient counts; 1 is Bayes' rule.

    Raises:
        UsageError: the classifier was trained on clean images alone.
    """

    def __init__(self, model: Diffusion, classifier: Classifier, scale: float = 1.0) -> None:
        if not classifier.options.noisy:
            raise UsageError(
                "this classifier knows clean images only and cannot guide: take one trained with --noisy"
            )
        self.__dict__.update(model.__dict__)
        self._classifier, self.scale = (classifier,), scale  # in a tuple it is no part of the model

    @property
    def classes(self) -> int:
        """Return how many classes the classifier tells apart."""
        return self._classifier[0].options.classes

    def _pull(self, labels: Labels) -> Gradient:
        """Return the gradient of s log p(label | x) by x."""
        (classifier,) = self._classifier

        def gradient(x: Images, t: float) -> Images:
            alpha, sigma = self.schedule.alpha(t).item(), self.schedule.sigma(t).item()
            return self.scale * classifier.gradient(x, alpha, sigma, labels)

        return gradient

    def guided(self, how: Sampling, labels: Labels | None) -> Denoise:
        """Return the denoiser whose noise the classifier moves; ancestral sampling keeps the plain one."""
        if labels is None or how.sampler == "ancestral":
            return self.denoise
        return guidance.by_classifier(self.denoise, self._pull(labels), self.schedule)

    def gradient(self, how: Sampling, labels: Labels | None) -> Gradient | None:
        """Return the gradient that moves each mean."""
        return None if labels is None else self._pull(labels)
