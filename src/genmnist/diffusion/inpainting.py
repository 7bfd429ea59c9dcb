"""From a part of an image to the whole (RePaint), and from an image to others like it (SDEdit)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from genmnist.diffusion.likelihood import noisy
from genmnist.diffusion.samplers import Noise, Step
from genmnist.diffusion.schedules import CLEAN, Schedule

Images = Float[Tensor, "b c h w"]


def repaint(
    advance: Callable[[Tensor, Sequence[float]], Iterator[Step]],
    x: Images,
    schedule: Schedule,
    timesteps: Sequence[float],
    clean: Images,
    hidden: Bool[Tensor, "#b #c h w"],
    noise: Noise,
    resample: int,
) -> Iterator[Step]:
    """Draw what is hidden of images, given the rest (Lugmayr et al. 2022, "RePaint", algorithm 1).

    After each step what is known takes its place, under noise of that level. Then noise is added again, up to
    where the step began, and the step is repeated, so that what is drawn can agree with what is known. One
    step is as far as it goes back: of a few dozen, each is as long as the paper's jumps.

    Args:
        advance: the sampler, between the timesteps that it is given.
        x: the noise to start from.
        schedule, timesteps: as samplers take them.
        clean: the images, in [-1, 1]; what is hidden of them is not looked at.
        hidden: which pixels to draw.
        noise: fresh noise at each call.
        resample: how often each step is taken.

    Yields:
        Every step; in the last, what is known is exactly as it was.
    """
    for t, s in pairwise(timesteps):
        for turn in reversed(range(resample if s != CLEAN else 1)):
            *_, step = advance(x, (t, s))
            known = noisy(clean, schedule, s, noise()) if s != CLEAN else clean
            drawn = torch.where(hidden, step.x, known)
            if turn:
                x = forward(drawn, schedule, s, t, noise())
        x = drawn
        yield Step(s, x, torch.where(hidden, step.x0, clean))


def forward(x: Images, schedule: Schedule, s: float, t: float, noise: Tensor) -> Images:
    """Add the noise that lies between timesteps s < t (Ho, Jain & Abbeel 2020, eq. 2)."""
    ratio = (schedule.alpha(t) / schedule.alpha(s)).item()
    deviation = (schedule.sigma(t).square() - (ratio * schedule.sigma(s)).square()).clamp_min(0).sqrt().item()
    return ratio * x + deviation * noise


def sooner(timesteps: Sequence[float], strength: float) -> list[float]:
    """Return timesteps that begin at a share of the way, as densely spaced as those given (SDEdit's t_0).

    Where an image is edited it gets the noise of the first (Meng et al. 2022, "SDEdit", algorithm 1).
    """
    return [*(t * strength for t in timesteps if t != CLEAN), CLEAN]
