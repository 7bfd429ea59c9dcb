"""The classifier: what tells digits apart, and whose features distances between images are measured in."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from genmnist.data import scale
from genmnist.models.base import Losses, Model
from genmnist.nn.classifier import ClassifierNet
from genmnist.presets import ClassifierOptions

Images = Float[Tensor, "b 1 28 28"]


class Classifier(Model):
    """A small residual network, trained on digits a little turned, shifted and stretched."""

    family: ClassVar[str] = "classifier"
    unit: ClassVar[str] = "nats an image"
    options: ClassifierOptions

    def __init__(self, options: ClassifierOptions | None = None) -> None:
        super().__init__()
        self.options = options or ClassifierOptions()
        self.network = ClassifierNet(self.options.classes, self.options.width)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Self:
        """Build an untrained classifier. Raises UsageError for options that do not fit."""
        return cls(ClassifierOptions.of(options))

    def logits(self, images: Images) -> Float[Tensor, "b classes"]:
        """Return the logits of each class, for pixels in [0, 1]."""
        with self.computing():
            logits: Tensor = self.network(2 * images - 1, _clean(images))
        return logits.float()

    @torch.inference_mode()
    def features(self, images: UInt8[Tensor, "b 28 28"]) -> Float[Tensor, "b features"]:
        """Return the features by which the last layer decides, in float32 whatever the precision."""
        pixels = scale(images.to(self.device))
        features: Tensor = self.network.features(2 * pixels - 1, _clean(pixels))
        return features

    def losses(self, images: Images, labels: Int64[Tensor, " b"], progress: float = 1.0) -> Losses:
        """Return the cross-entropy in nats, and the share of the labels that are not the likeliest."""
        if self.training:
            images = self.disturbed(images)
        logits = self.logits(images)
        error = (logits.argmax(-1) != labels).float().mean()
        return {"loss": F.cross_entropy(logits, labels), "error": error}

    def disturbed(self, images: Images) -> Images:
        """Turn, stretch and shift each image by a little of its own."""
        options, n, device = self.options, len(images), images.device

        def spread(width: float) -> Float[Tensor, " n"]:
            return width * (2 * torch.rand(n, device=device) - 1)

        angle = spread(math.radians(options.turn))
        wide, high = (1 + spread(options.stretch) for _ in range(2))
        right, down = (spread(options.shift / 14) for _ in range(2))
        rows = (
            torch.stack((wide * angle.cos(), -high * angle.sin(), right), -1),
            torch.stack((wide * angle.sin(), high * angle.cos(), down), -1),
        )
        places = F.affine_grid(torch.stack(rows, 1), [n, 1, 28, 28], align_corners=False)
        return F.grid_sample(images, places, align_corners=False)


def _clean(images: Images) -> Float[Tensor, " b"]:
    return images.new_full((len(images),), math.inf)
