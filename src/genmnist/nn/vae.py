"""The encoders and decoders of the variational autoencoder."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """The reference network: one hidden layer each way (Kingma & Welling 2014, appendix C)."""

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 784), nn.Unflatten(1, (1, 28, 28))
        )


class Conv(nn.Module):
    """A residual convolutional network: 28 x 28 to 14 x 14 to 7 x 7 and back.

    `hidden` channels at 14 x 14, twice as many at 7 x 7.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        wide, features = 2 * hidden, 2 * hidden * 49
        self.encoder = nn.Sequential(
            nn.Conv2d(1, hidden, 4, stride=2, padding=1),
            Residual(hidden),
            nn.Conv2d(hidden, wide, 4, stride=2, padding=1),
            Residual(wide),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(features, 8 * hidden),
            nn.SiLU(),
            nn.Linear(8 * hidden, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, 8 * hidden),
            nn.SiLU(),
            nn.Linear(8 * hidden, features),
            nn.Unflatten(1, (wide, 7, 7)),
            Residual(wide),
            nn.ConvTranspose2d(wide, hidden, 4, stride=2, padding=1),
            Residual(hidden),
            nn.SiLU(),
            nn.ConvTranspose2d(hidden, 1, 4, stride=2, padding=1),
        )


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
        last = self.branch[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add the branch to its input."""
        branch: Tensor = self.branch(x)
        return x + branch


NETWORKS: dict[str, type[MLP] | type[Conv]] = {"mlp": MLP, "conv": Conv}
