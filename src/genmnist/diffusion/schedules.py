"""Noise schedules as one idea: the log-SNR of every timestep.

A noisy image is x_t = alpha x_0 + sigma epsilon with log-SNR lambda = log(alpha^2 / sigma^2). A schedule is a
table of lambda, falling from timestep 0 (hardly any noise) to T - 1 (hardly anything else), and a rule that
splits it into alpha and sigma: variance preserving, alpha^2 + sigma^2 = 1, or straight, alpha + sigma = 1.
Between two entries lambda runs linearly, so that a timestep may be any real number from 0 to T - 1; -1 stands
for the clean image. A schedule is one function of the number of timesteps that returns its table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from genmnist.errors import UsageError

CLEAN = -1.0


@dataclass(frozen=True)
class Schedule:
    """A noise schedule; every method takes timesteps of any shape and answers in float64.

    Raises:
        UsageError: on construction, if it is no such table.
    """

    name: str
    log_snrs: Float64[Tensor, " timesteps"]
    straight: bool = False

    def __post_init__(self) -> None:
        table: object = self.log_snrs
        if not isinstance(table, Tensor) or table.dtype != torch.float64 or table.ndim != 1 or len(table) < 2:
            form = f"{table.dtype} {list(table.shape)}" if isinstance(table, Tensor) else type(table).__name__
            raise UsageError(
                f"the noise schedule {self.name} must be a tensor of float64 [timesteps], not {form}"
            )
        if not table.isfinite().all() or not (table.diff() < 0).all():
            raise UsageError(
                f"the log-SNRs of the noise schedule {self.name} must be finite and fall at every timestep"
            )

    def __len__(self) -> int:
        return len(self.log_snrs)

    def log_snr(self, t: Tensor | float) -> Float64[Tensor, ...]:
        """Return lambda at timestep `t`, infinite at `CLEAN`."""
        t = torch.as_tensor(t, dtype=torch.float64)
        table = self.log_snrs.to(t.device)
        below = t.floor().clamp(0, len(self) - 2).long()
        between = torch.lerp(table[below], table[below + 1], t - below)
        return torch.where(t < 0, torch.full_like(between, math.inf), between)

    def slope(self, t: Tensor | float) -> Float64[Tensor, ...]:
        """Return how fast lambda changes with the timestep at `t`, from 0 to T - 1."""
        below = torch.as_tensor(t, dtype=torch.float64).floor().clamp(0, len(self) - 2).long()
        table = self.log_snrs.to(below.device)
        return table[below + 1] - table[below]

    def alpha(self, t: Tensor | float) -> Float64[Tensor, ...]:
        """Return the share of the image in x_t."""
        log_snr = self.log_snr(t)
        return (log_snr / 2).sigmoid() if self.straight else log_snr.sigmoid().sqrt()

    def sigma(self, t: Tensor | float) -> Float64[Tensor, ...]:
        """Return the share of the noise in x_t."""
        log_snr = self.log_snr(t)
        return (-log_snr / 2).sigmoid() if self.straight else (-log_snr).sigmoid().sqrt()

    def timestep(self, log_snr: Tensor | float) -> Float64[Tensor, ...]:
        """Return the timestep at which lambda is `log_snr`, clamped to the table."""
        log_snr = torch.as_tensor(log_snr, dtype=torch.float64)
        rising = -self.log_snrs.to(log_snr.device)
        above = torch.searchsorted(rising, -log_snr).clamp(1, len(self) - 1)
        left, right = rising[above - 1], rising[above]
        return (above - 1) + ((-log_snr - left) / (right - left)).clamp(0, 1)


def linear(timesteps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Schedule:
    """Variances beta that grow linearly (Ho, Jain & Abbeel 2020, section 4).

    `first` and `last` are those of 1000 timesteps; fewer and larger ones come to the same noise.
    """
    betas = torch.linspace(first, last, timesteps, dtype=torch.float64) * (1000 / timesteps)
    return _from_betas("linear", betas.clamp_max(0.999))


def cosine(timesteps: int = 1000, offset: float = 0.008) -> Schedule:
    """alpha-bar that falls as a squared cosine, its betas below 0.999 (Nichol & Dhariwal 2021, eq. 17)."""
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    alpha_bar = ((u + offset) / (1 + offset) * math.pi / 2).cos().square()
    return _from_betas("cosine", (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp_max(0.999))


def arctan(timesteps: int = 1000, most: float = 20.0, least: float = -20.0) -> Schedule:
    """Truncate the arctangent of lambda at 20 and -20, as guidance does (Ho & Salimans 2022, section 3)."""
    u = torch.linspace(0, 1, timesteps, dtype=torch.float64)
    b = math.atan(math.exp(-most / 2))
    a = math.atan(math.exp(-least / 2)) - b
    return Schedule("arctan", -2 * (a * u + b).tan().log())


def log_snr(timesteps: int = 1000, most: float = 13.3, least: float = -8.0) -> Schedule:
    """Let the log-SNR itself fall, evenly from `most` to `least` (Kingma et al. 2021, appendix D).

    At 13.3 noise seldom moves a pixel of 256 values as far as half-way to the next; at -8 nothing is left.
    """
    return Schedule("log-snr", torch.linspace(most, least, timesteps, dtype=torch.float64))


def straight(timesteps: int = 1000) -> Schedule:
    """Straight path of flow matching, sigma = u short of both ends (Lipman et al. 2023, section 4.1)."""
    u = torch.arange(1, timesteps + 1, dtype=torch.float64) / (timesteps + 1)
    return Schedule("straight", 2 * (1 / u - 1).log(), straight=True)


def _from_betas(name: str, betas: Float64[Tensor, " timesteps"]) -> Schedule:
    """Return the schedule whose alpha-bar is the running product of 1 - beta."""
    log_alpha_bar = (-betas).log1p().cumsum(0)
    return Schedule(name, log_alpha_bar - (-log_alpha_bar.expm1()).log())
