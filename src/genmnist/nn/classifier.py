"""The network of the classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from genmnist.nn.blocks import NoiseLevel, ResBlock, normalised


class ClassifierNet(nn.Module):
    """A small residual network, two levels of half the side each, that knows how noisy its images are.

    Its features, 128 numbers an image at the default width, are what distances between sets of images are
    measured in.
    """

    def __init__(self, classes: int, width: int = 32, channels: int = 1, condition: int = 64) -> None:
        super().__init__()
        self.noise_level = NoiseLevel(condition)
        self.stem = nn.Conv2d(channels, width, 5, stride=2, padding=2)
        self.block1 = ResBlock(width, width, condition)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.block2 = ResBlock(2 * width, 2 * width, condition)
        self.block3 = ResBlock(2 * width, 4 * width, condition)
        self.head = nn.Linear(4 * width, classes)

    def features(self, x: Float[Tensor, "b c h w"], log_snr: Float[Tensor, " #b"]) -> Float[Tensor, "b f"]:
        """Return what the last layer decides by."""
        condition = F.silu(self.noise_level(log_snr))
        h = self.stem(x).contiguous(memory_format=torch.channels_last)
        h = self.block1(h, condition)
        h = self.block2(self.down(h), condition)
        h = self.block3(h, condition)
        return F.silu(normalised(h)).mean((2, 3))

    def forward(
        self, x: Float[Tensor, "b c h w"], log_snr: Float[Tensor, " b"]
    ) -> Float[Tensor, "b classes"]:
        """Return the logits of each class."""
        logits: Tensor = self.head(self.features(x, log_snr))
        return logits
