"""Ways from one point to another, for interpolation in any space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def lerp(
    start: Float[Tensor, "b ..."], end: Float[Tensor, "b ..."], alphas: Float[Tensor, " steps"]
) -> Float[Tensor, "b steps ..."]:
    """Return (1 - alpha) * start + alpha * end for every alpha, as `torch.lerp` does."""
    alphas = alphas.view(1, -1, *(1,) * (start.ndim - 1))
    return alphas * end.unsqueeze(1) + (1 - alphas) * start.unsqueeze(1)


def slerp(
    start: Float[Tensor, "b ..."], end: Float[Tensor, "b ..."], alphas: Float[Tensor, " steps"]
) -> Float[Tensor, "b steps ..."]:
    """Return the points of the great circle from `start` (alpha 0) to `end` (alpha 1) (Shoemake 1985).

    Where no one circle joins them, because they are parallel or opposite, this is `lerp`.
    """
    cosine = F.cosine_similarity(start.flatten(1), end.flatten(1), dim=-1).clamp(-1, 1)
    angle = cosine.acos()[:, None]
    flat = angle.sin() < 1e-4
    sine = angle.sin().masked_fill(flat, 1)

    def weight(share: Float[Tensor, "1 steps"]) -> Float[Tensor, "b steps ..."]:
        weights = torch.where(flat, share, (share * angle).sin() / sine)
        return weights.view(*weights.shape, *(1,) * (start.ndim - 1))

    return weight(alphas[None]) * end.unsqueeze(1) + weight(1 - alphas[None]) * start.unsqueeze(1)


PATHS = {"lerp": lerp, "slerp": slerp}
