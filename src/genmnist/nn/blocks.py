"""What the convolutional networks are built of: blocks that listen to a condition, and attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Maps = Float[Tensor, "b c h w"]
Condition = Float[Tensor, "#b condition"]  # of each image, or one for them all


class NoiseLevel(nn.Module):
    """Turn log-SNRs into a condition: waves of the angle atan(sigma / alpha), then an MLP.

    The angle, unlike the log-SNR, is bounded, and resolves the middle of every schedule alike.
    """

    def __init__(self, width: int, features: int = 64) -> None:
        super().__init__()
        self.waves = features // 2
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, log_snr: Float[Tensor, " b"]) -> Float[Tensor, "b condition"]:
        """Return the condition that the residual blocks listen to."""
        angle = (-log_snr / 2).exp().atan()
        phases = angle[:, None] * 2 ** torch.linspace(0, 8, self.waves, device=angle.device)
        condition: Tensor = self.mlp(torch.cat((phases.sin(), phases.cos()), -1))
        return condition


def zero_init(layer: nn.Module) -> None:
    """Let a layer start by answering zero, so that what it is added to passes unchanged."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)


def normalised(x: Maps) -> Maps:
    """Bring each image to mean 0 and variance 1: group normalisation with one group (Wu & He 2018).

    One group, because in channels-last order, which convolutions like best, an image is then one row: layer
    normalisation of rows is the one kind that has a fast kernel everywhere. In an exported graph channels
    come first, and nothing is gained by turning images round.
    """
    if torch.compiler.is_exporting():
        return F.layer_norm(x, x.shape[1:])
    rows = x.permute(0, 2, 3, 1)
    return F.layer_norm(rows, rows.shape[1:]).to(x.dtype).permute(0, 3, 1, 2)


class AdaptiveNorm(nn.Module):
    """The same, then a scale and shift of each channel by the condition (Dhariwal & Nichol 2021, 3.1)."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.affine = nn.Linear(condition, 2 * channels)
        zero_init(self.affine)

    def forward(self, x: Maps, condition: Condition) -> Maps:
        """Normalise each image."""
        if torch.compiler.is_exporting():
            scale, shift = self.affine(condition)[..., None, None].chunk(2, 1)
            changed: Tensor = normalised(x) * (1 + scale) + shift
            return changed
        b, c, h, w = x.shape
        rows = normalised(x).permute(0, 2, 3, 1).reshape(b, h, w * c)
        scale, shift = self.affine(condition).to(x.dtype).chunk(2, -1)
        # Written out over the width: an inner loop over a few channels would be too short to be fast.
        scale, shift = (part.repeat(1, w).unsqueeze(1) for part in (1 + scale, shift))
        return torch.addcmul(shift, rows, scale).view(b, h, w, c).permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """Two convolutions, each behind a normalisation and a SiLU, added to their input; at first, nothing."""

    def __init__(self, channels: int, out: int, condition: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.norm = AdaptiveNorm(out, condition)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()
        zero_init(self.conv2)

    def forward(self, x: Maps, condition: Condition) -> Float[Tensor, "b out h w"]:
        """Add what the two convolutions make of x."""
        in_place = not torch.is_grad_enabled()  # where nothing is kept for a backward pass
        h = self.conv1(F.silu(normalised(x), in_place))
        h = self.conv2(F.silu(self.norm(h, condition), in_place))
        total: Tensor = h.add_(self.skip(x)) if in_place else self.skip(x) + h
        return total


class Attention(nn.Module):
    """Self-attention between all places, added to its input (Vaswani et al. 2017; Ho et al. 2020)."""

    def __init__(self, channels: int, head: int = 32) -> None:
        super().__init__()
        wanted = max(1, channels // head)
        self.heads = next(heads for heads in range(wanted, 0, -1) if channels % heads == 0)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        zero_init(self.out)

    def forward(self, x: Maps) -> Maps:
        """Let every place look at every other."""
        b, c, h, w = x.shape
        places = normalised(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        parts = self.qkv(places).view(b, h * w, 3, self.heads, c // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind()
        # Spelt out: for 49 places the fused kernel is far slower on a CPU, backwards above all.
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1).to(v.dtype)
        seen = (weights @ v).transpose(1, 2).reshape(b, h, w, c)
        total: Tensor = x + self.out(seen).permute(0, 3, 1, 2)
        return total
