"""The encoders and decoders of the variational autoencoder.

An autoencoder is a module with an `encoder`, from images [b, c, h, w] to means and log-variances
[b, 2 latent], and a `decoder`, from latent codes [b, latent] to the logits of pixels [b, c, h, w].
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from genmnist.errors import UsageError
from genmnist.families.vae import VAEOptions
from genmnist.nn.blocks import zero_init


class MLP(nn.Module):
    """The reference network: one hidden layer each way (Kingma & Welling 2014, appendix C)."""

    # So small that converting its activations costs more than it saves: faster products are all that pays.
    products_only = True

    def __init__(self, options: VAEOptions) -> None:
        super().__init__()
        pixels, hidden, latent = math.prod(options.shape), options.width, options.latent
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels), nn.Unflatten(1, options.shape)
        )


class Conv(nn.Module):
    """A residual convolutional network: to half the side, to a quarter, and back.

    `hidden` channels at half the side, twice as many at a quarter.

    Raises:
        UsageError: a side is less than four pixels.
    """

    def __init__(self, options: VAEOptions) -> None:
        super().__init__()
        (channels, *sides), hidden = options.shape, options.width
        if min(sides) < 4:
            raise UsageError("the `network` conv is for images of 4 x 4 pixels or more: take mlp")
        halves = [side // 2 for side in sides]
        quarters = [half // 2 for half in halves]
        wide = 2 * hidden
        features = wide * math.prod(quarters)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, hidden, 4, stride=2, padding=1),
            Residual(hidden),
            nn.Conv2d(hidden, wide, 4, stride=2, padding=1),
            Residual(wide),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(features, 8 * hidden),
            nn.SiLU(),
            nn.Linear(8 * hidden, 2 * options.latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(options.latent, 8 * hidden),
            nn.SiLU(),
            nn.Linear(8 * hidden, features),
            nn.Unflatten(1, (wide, *quarters)),
            Residual(wide),
            _grow(wide, hidden, halves),
            Residual(hidden),
            nn.SiLU(),
            _grow(hidden, channels, sides),
        )


def _grow(channels: int, out: int, sides: list[int]) -> nn.ConvTranspose2d:
    """Return a convolution that doubles the side; where it was odd before it was halved, a pixel more."""
    height, width = (side % 2 for side in sides)
    return nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, output_padding=(height, width))


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))), starting as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        zero_init(self.branch[-1])

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add the branch to its input."""
        branch: Tensor = self.branch(x)
        return x + branch
