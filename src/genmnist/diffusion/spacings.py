"""Which timesteps a sampler visits: functions of a schedule and a number of steps, from noisy to clean."""

from __future__ import annotations

import torch

from genmnist.diffusion.schedules import CLEAN, Schedule
from genmnist.errors import UsageError
from genmnist.registry import SPACINGS

_SHIFT = 8.0


def leading(schedule: Schedule, steps: int) -> list[float]:
    """Return multiples of T // steps, which leave out the noisiest (as named by Lin et al. 2024, table 2)."""
    return [float(k * (len(schedule) // steps)) for k in reversed(range(steps))]


def trailing(schedule: Schedule, steps: int) -> list[float]:
    """Return even steps that begin at T - 1 (as named by Lin et al. 2024, table 2)."""
    return [float(round(len(schedule) * k / steps) - 1) for k in range(steps, 0, -1)]


def shifted(schedule: Schedule, steps: int) -> list[float]:
    """Return steps that are denser where it is noisy and the digit is decided (Esser et al. 2024, eq. 23)."""
    shares = [k / steps for k in range(steps, 0, -1)]
    return [(len(schedule) - 1) * _SHIFT * u / (1 + (_SHIFT - 1) * u) for u in shares]


def log_snr(schedule: Schedule, steps: int) -> list[float]:
    """Return steps evenly spaced in lambda (Lu et al. 2022)."""
    ends = schedule.log_snrs[-1].item(), schedule.log_snrs[0].item()
    return schedule.timestep(torch.linspace(*ends, steps, dtype=torch.float64)).tolist()


def spaced(schedule: Schedule, steps: int, spacing: str = "trailing", last: int = 0) -> list[float]:
    """Return `steps` timesteps from noisy to clean, and `CLEAN` after them.

    Args:
        schedule: whose timesteps they are.
        steps: how many.
        spacing: which ones.
        last: takes the place of the last of them, from where a sampler jumps to the predicted image, which is
            the greyer the more noise there still is; 0 leaves it as it is.

    Raises:
        UsageError: there are no steps, or more than timesteps, or no such spacing, or `last` comes too early.
    """
    if not 1 <= steps <= len(schedule):
        raise UsageError(
            f"`steps` must lie between 1 and {len(schedule)}, the timesteps of the model, not {steps}"
        )
    chosen: list[float] = SPACINGS[spacing](schedule, steps)
    if last:
        before = chosen[-2] if steps > 1 else float(len(schedule))
        if last >= before:
            raise UsageError(f"`last_timestep` must be less than {before:g}, where the step before it is")
        chosen[-1] = float(last)
    return [*chosen, CLEAN]
