"""Where training draws its noise levels: quantile functions from (0, 1) to timesteps.

Each is a function of a schedule and of numbers u in (0, 1), and so can be fed numbers spread evenly over it,
one in each of n equal parts, which makes the loss of a batch less noisy.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from genmnist.diffusion.schedules import Schedule

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


def stratified(n: int) -> Times:
    """Draw one number from each of `n` equal parts of (0, 1), by torch's own generator."""
    return (torch.arange(n, dtype=torch.float64) + torch.rand(n, dtype=torch.float64)) / n
