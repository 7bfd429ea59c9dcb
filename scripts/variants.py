"""Parts that genmnist does not have and the searches try: other noise, losses, data and networks.

Each is made as anyone's own would be (docs/your-own.md): a model derived from `Diffusion`, a distribution of
times under a name, a network that sees noisy images and their log-SNR. What a search shows to be better
belongs in the package; the rest stays here, so that it can be tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.utils import parametrize

from genmnist.diffusion.times import logit_normal
from genmnist.families.ddpm import DiffusionOptions
from genmnist.models import ConditionalDiffusion, Diffusion
from genmnist.models.base import Losses
from genmnist.nn import unet
from genmnist.nn.blocks import AdaptiveNorm, Attention, NoiseLevel, ResBlock, normalised, zero_init
from genmnist.registry import TIMES

for _name, _location, _width in (
    ("cleaner", -0.5, 1.0),
    ("noisier", 0.5, 1.0),
    ("noisiest", 1.0, 1.0),
    ("wider", 0.0, 1.5),
):
    TIMES.register(_name)(partial(logit_normal, location=_location, width=_width))


class Immiscible(Diffusion):
    """Noise goes to the images of the batch that it lies near (Li et al. 2024, "Immiscible diffusion")."""

    def noise_for(self, clean: Tensor) -> Tensor:
        """Draw noise, and deal it out."""
        noise = super().noise_for(clean)
        return noise[nearest(clean, noise)] if self.training else noise


def nearest(clean: Tensor, noise: Tensor) -> Tensor:
    """Return the order of the noises in which the sum of their squared distances to the images is least."""
    alike = clean.flatten(1) @ noise.flatten(1).T  # all that differs between one order and another
    return torch.from_numpy(linear_sum_assignment(alike.numpy(), maximize=True)[1])


class Contrastive(ConditionalDiffusion):
    """The velocity is to be far from that of another image, too (Stoica et al. 2025)."""

    strength: ClassVar[float] = 0.05

    def squared_error(
        self, prediction: Tensor, clean: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor
    ) -> Tensor:
        """Return the error, less what a prediction earns by being far from the next image's target."""
        own = super().squared_error(prediction, clean, noise, alpha, sigma)
        other = super().squared_error(prediction, clean.roll(1, 0), noise.roll(1, 0), alpha, sigma)
        return own - self.strength * other


class Augmented(Diffusion):
    """Half of the images are turned, scaled and moved, and the network is told (Karras et al. 2022, app. F).

    Its network has four labels, of which every image has its shares: how it was changed. The null label is
    that of no change, which is what samples are asked for.
    """

    deviations: ClassVar[tuple[float, ...]] = (0.15, 0.15, 1.0, 1.0)  # radians, octaves, pixels, pixels

    def losses(self, images: Tensor, labels: Tensor, progress: float = 1.0) -> Losses:
        """Return the losses of images that were changed, each in its own way; in validation, none."""
        if not self.training:
            return self._losses(images, None)
        change = torch.randn(len(images), 4) * (torch.rand(len(images), 1) < 0.5)
        told = F.pad(change, (0, 1), value=1.0)
        return self._losses(changed(images, change * torch.tensor(self.deviations)), told)


def changed(images: Tensor, change: Tensor) -> Tensor:
    """Return images turned clockwise by radians, enlarged by octaves, moved right and down by pixels."""
    angle, octaves, right, down = change.unbind(1)
    cos, sin = angle.cos() / octaves.exp2(), angle.sin() / octaves.exp2()
    height, width = images.shape[-2:]
    x, y = -2 * right / width, -2 * down / height  # where to look, so that what is there comes here
    ways = torch.stack((cos, sin, cos * x + sin * y, -sin, cos, cos * y - sin * x), 1).view(-1, 2, 3)
    grid = F.affine_grid(ways, [*images.shape], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def told_of_changes(options: DiffusionOptions) -> nn.Module:
    """Return the U-Net with four labels for what was done to an image; at first it does not listen."""
    network = unet.UNet(unet.SIZES[options.size], classes=4)
    zero_init(cast("nn.Module", network.label))
    return network


def with_dropout(options: DiffusionOptions) -> nn.Module:
    """Return the U-Net with dropout of a tenth between the convolutions of each block."""
    network = unet.build(options)
    for block in network.modules():
        if isinstance(block, ResBlock):
            block.norm.register_forward_hook(lambda norm, _, h: F.dropout(h, 0.1, norm.training))
    return network


def shaped(*factors: float, middle: int = 1) -> Callable[[DiffusionOptions], nn.Module]:
    """Return what builds a U-Net with levels so many times as wide, and so many blocks at the bottom."""

    def build(options: DiffusionOptions) -> nn.Module:
        size = unet.SIZES[options.size]
        channels = tuple(round(c * factor) for c, factor in zip(size.channels, factors, strict=True))
        network = unet.UNet(replace(size, channels=channels))
        last = channels[-1]
        network.middle = Chain(*(ResBlock(last, last, size.condition) for _ in range(middle)))  # type: ignore[assignment]
        return network

    return build


class Chain(nn.ModuleList):
    """Blocks one after another."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__(blocks)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Go through them all."""
        for block in self:
            x = block(x, condition)
        return x


class Transformer(nn.Module):
    """Patches of 4 x 4 that look at one another, and nothing else (Peebles & Xie 2023), as maps of 7 x 7.

    Their networks are convolutions of one place, so that Muon trains them.
    """

    def __init__(self, options: DiffusionOptions, width: int = 64, depth: int = 4, patch: int = 4) -> None:
        super().__init__()
        _, height, across = options.shape
        self.patch = patch
        self.noise_level = NoiseLevel(width)
        self.stem = nn.Conv2d(patch**2, width, 1)
        self.places = nn.Parameter(0.1 * torch.randn(1, width, height // patch, across // patch))
        self.attention = nn.ModuleList(Attention(width) for _ in range(depth))
        self.think = nn.ModuleList(Think(width) for _ in range(depth))
        self.head = nn.Conv2d(width, patch**2, 1)
        zero_init(self.head)

    def forward(self, x: Tensor, log_snr: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the prediction for images of these noise levels."""
        condition = F.silu(self.noise_level(log_snr))
        h = self.stem(F.pixel_unshuffle(x, self.patch)) + self.places
        for look, think in zip(self.attention, self.think, strict=True):
            h = think(look(h), condition)
        return F.pixel_shuffle(self.head(F.silu(normalised(h))), self.patch)


class Think(nn.Module):
    """The network of each place in a transformer, which listens to the condition; at first, nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = AdaptiveNorm(width, width)
        self.wide = nn.Conv2d(width, 4 * width, 1)
        self.narrow = nn.Conv2d(4 * width, width, 1)
        zero_init(self.narrow)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Add what it makes of each place."""
        added: Tensor = self.narrow(F.silu(self.wide(self.norm(x, condition))))
        return x + added


class Unit(nn.Module):
    """Weights of which only the direction counts, for each output (Karras et al. 2024, section 2.3)."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return them at the length at which an output has the variance of the inputs."""
        return F.normalize(weight.flatten(1), dim=1).view_as(weight)


class Preserving(nn.Module):
    """A block that keeps magnitudes by its make instead of by normalising (Karras et al. 2024, figure 21)."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            parametrize.register_parametrization(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False), "weight", Unit()
            )
            for _ in range(2)
        )
        self.gain = nn.Linear(condition, channels)
        zero_init(self.gain)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Mix what two convolutions make of x, at three tenths, with x at length 1."""
        x = x * (x.square().mean(1, keepdim=True) + 1e-4).rsqrt()
        gain = 1 + self.gain(condition)[..., None, None]
        h = self.conv2(_silu(self.conv1(_silu(x)) * gain))
        mixed: Tensor = (0.7 * x + 0.3 * h) / (0.7**2 + 0.3**2) ** 0.5
        return mixed


def _silu(x: Tensor) -> Tensor:
    return F.silu(x) / 0.596  # its root mean square for normal x


def preserving(options: DiffusionOptions) -> nn.Module:
    """Return the U-Net with blocks that keep magnitudes."""
    network = unet.build(options)
    condition = unet.SIZES[options.size].condition
    for blocks in (network.down, network.up):
        for number, block in enumerate(blocks):
            blocks[number] = Preserving(block.conv1.in_channels, condition)  # type: ignore[union-attr, arg-type]
    network.middle = Preserving(network.middle.conv1.in_channels, condition)  # type: ignore[assignment]
    return network
