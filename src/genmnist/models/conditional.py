"""Diffusion with labels, and with a null label for any (Ho & Salimans 2022)."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from jaxtyping import Int64
from torch import Tensor

from genmnist.families.cfg import ConditionalOptions
from genmnist.families.sampling import GuidedSampling, Sampling
from genmnist.models.base import Images, Losses
from genmnist.models.diffusion import Diffusion
from genmnist.models.guidance import ClassifierFree, Guidance
from genmnist.shares import for_batch


class ConditionalDiffusion(Diffusion):
    """Diffusion with labels, and with a null label for any (Ho & Salimans 2022)."""

    family: ClassVar[str] = "cfg"
    options: ConditionalOptions

    def losses(self, images: Images, labels: Int64[Tensor, " b"], progress: float = 1.0) -> Losses:
        """Return the losses of `Diffusion`, by the labels that are `shown`."""
        return self._losses(images, self.shown(labels))

    def shown(self, labels: Int64[Tensor, " b"]) -> Int64[Tensor, " b"] | None:
        """Return the labels that the network sees, if it knows any; training hides some (algorithm 1)."""
        if not self.classes or not self.training:
            return labels if self.classes else None
        drawn = for_batch(len(labels), lambda whole: torch.rand(whole, device=labels.device))
        return labels.masked_fill(drawn < self.options.drop_label, self.classes)

    def guidance(self, how: Sampling) -> Guidance | None:
        """Return classifier-free guidance of the strength asked for."""
        how = cast("GuidedSampling", how)  # as `how` has seen to
        return ClassifierFree(self.classes, how.guidance, how.guide_above, how.guide_below)
