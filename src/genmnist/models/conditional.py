"""Diffusion with labels, and with a null label for any (Ho & Salimans 2022)."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from genmnist.families.cfg import ConditionalOptions
from genmnist.families.sampling import GuidedSampling, Sampling
from genmnist.models.base import Losses
from genmnist.models.diffusion import Diffusion
from genmnist.models.guidance import ClassifierFree, Guidance
from genmnist.shares import for_batch


class ConditionalDiffusion(Diffusion):
    """Diffusion with labels, and with a null label for any (Ho & Salimans 2022)."""

    family: ClassVar[str] = "cfg"
    options: ConditionalOptions

    def losses(
        self, images: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"], progress: float = 1.0
    ) -> Losses:
        """Return the losses of `Diffusion`; training keeps some labels to itself (algorithm 1)."""
        if self.training:
            drawn = for_batch(len(labels), lambda whole: torch.rand(whole, device=labels.device))
            dropped = drawn < self.options.drop_label
            labels = labels.masked_fill(dropped, self.classes)
        return self._losses(images, labels)

    def guidance(self, how: Sampling) -> Guidance | None:
        """Return classifier-free guidance of the strength asked for."""
        how = cast("GuidedSampling", how)  # as `how` has seen to
        return ClassifierFree(self.classes, how.guidance, how.guide_above, how.guide_below)
