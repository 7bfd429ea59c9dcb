"""Where training draws its noise levels: quantile functions from (0, 1) to timesteps.

Each is a function of a schedule and of numbers u in (0, 1), and so can be fed numbers spread evenly over it,
one in each of n equal parts, which makes the loss of a batch less noisy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from genmnist.diffusion.schedules import Schedule
from genmnist.shares import for_batch, is_shared

Times = Float64[Tensor, " n"]


def uniform(schedule: Schedule, u: Times) -> Times:
    """Draw every timestep alike (Ho, Jain & Abbeel 2020, algorithm 1)."""
    return u * (len(schedule) - 1)


def logit_normal(schedule: Schedule, u: Times, location: float = 0.0, width: float = 1.0) -> Times:
    """Favour the middle of the path (Esser et al. 2024, "Scaling rectified flow transformers", eq. 19)."""
    share: Times = (location + width * torch.special.ndtri(u)).sigmoid()
    return share * (len(schedule) - 1)


def log_normal(schedule: Schedule, u: Times, location: float = -1.2, width: float = 1.2) -> Times:
    """Draw the logarithm of sigma / alpha from a normal distribution (Karras et al. 2022, table 1)."""
    return schedule.timestep(-2 * (location + width * torch.special.ndtri(u)))


def broad(schedule: Schedule, u: Times, location: float = -1.1, width: float = 2.0) -> Times:
    """Draw the same from a wider normal distribution, for few steps (Geng et al. 2024, table 6)."""
    return log_normal(schedule, u, location, width)


class Spread(nn.Module):
    """How large the loss is along the path, as training finds it: its root mean square in equal parts of it.

    Drawing noise levels in proportion to it, and dividing the loss by their density, estimates the same loss
    with the least variance. (Kingma et al. 2021, appendix I, learn the noise schedule for the same end.) A
    tenth of the draws is spread evenly, so that no part is ever forgotten.
    """

    squares: Float[Tensor, " parts"]

    def __init__(self, parts: int = 64, decay: float = 0.98, even: float = 0.1) -> None:
        super().__init__()
        self.decay, self.even = decay, even
        self.register_buffer("squares", torch.ones(parts))
        self._seen: list[tuple[Tensor, Tensor]] = []

    def densities(self) -> Float64[Tensor, " parts"]:
        """Return how densely to draw in each part; their mean is 1."""
        size = self.squares.double().cpu().sqrt()
        return self.even + (1 - self.even) * size / size.mean()

    def density(self, share: Times) -> Times:
        """Return the density at these shares of the path."""
        return self.densities()[self._part(share)]

    def quantile(self, u: Times) -> Times:
        """Return the share of the path below which a share `u` of the draws lies."""
        densities = self.densities()
        below = densities.cumsum(0) - densities
        part = (torch.searchsorted(below, u * len(below), right=True) - 1).clamp(0, len(below) - 1)
        return ((part + (u * len(below) - below[part]) / densities[part]) / len(below)).clamp(0, 1)

    def see(self, share: Times, loss: Float[Tensor, " n"]) -> None:
        """Learn from a batch, or, of a share of one, keep in mind what `settle` is to learn from."""
        if is_shared():
            self._seen.append((share, loss))
        else:
            self.learn(share, loss)

    def settle(self, join: Callable[[Sequence[Tensor]], Tensor]) -> None:
        """Learn from the whole batch, which `join` puts together from its shares."""
        if not self._seen:
            return
        shares, losses = zip(*self._seen, strict=True)
        self._seen.clear()
        self.learn(join(shares), join(losses))

    @torch.no_grad()
    def learn(self, share: Times, loss: Float[Tensor, " n"]) -> None:
        """Remember the losses, as they are before they are divided by the density, at shares of the path."""
        part = self._part(share).to(self.squares.device)
        count = torch.zeros_like(self.squares).index_add_(0, part, torch.ones_like(loss))
        total = torch.zeros_like(self.squares).index_add_(0, part, loss.square())
        mean = torch.where(count > 0, total / count.clamp_min(1), self.squares)
        self.squares.lerp_(mean, 1 - self.decay)

    def _part(self, share: Times) -> Tensor:
        parts = len(self.squares)
        return (share * parts).long().clamp(0, parts - 1)


def adaptive(schedule: Schedule, u: Times, spread: Spread) -> Times:
    """Draw timesteps where the loss is large; its weight makes up for it (see `Spread`)."""
    return spread.quantile(u) * (len(schedule) - 1)


def stratified(n: int) -> Times:
    """Draw one number from each of `n` equal parts of (0, 1), by torch's own generator."""

    def draw(n: int) -> Times:
        return (torch.arange(n, dtype=torch.float64) + torch.rand(n, dtype=torch.float64)) / n

    return for_batch(n, draw)
