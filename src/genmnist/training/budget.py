"""How many steps fit into a time: measured first, fixed then, and repeated exactly by `--steps`."""

from __future__ import annotations

import time

from genmnist.training.trainer import StepEnd, Trainer

_WARMUP_STEPS = 2
_RESERVE = 0.97  # a machine is rarely faster later than it was at first


def fit_steps(trial: Trainer, seconds: float, deadline: float) -> int:
    """Return how many steps of a run like `trial`, with its validations, fit before `deadline`.

    Args:
        trial: a trainer to measure with and to throw away.
        seconds: the whole budget; a thirtieth of it goes into measuring, half a second at least.
        deadline: the `time.perf_counter()` at which the budget ends.
    """
    measuring = max(seconds / 30, 0.5)
    timed, spent = 0, 0.0
    begun = mark = time.perf_counter()
    for event in trial.train():
        now = time.perf_counter()
        if isinstance(event, StepEnd) and event.step > _WARMUP_STEPS:  # validations are counted apart
            timed, spent = timed + 1, spent + now - mark
        mark = now
        if timed and (spent > measuring or now - begun > 2 * measuring):
            break
    trial.check()  # waits for a GPU
    step_seconds = (spent + time.perf_counter() - mark) / max(timed, 1)
    started = time.perf_counter()
    trial.validate()
    validation_seconds = time.perf_counter() - started
    left = (deadline - time.perf_counter()) * _RESERVE - validation_seconds
    return max(1, int(left / (step_seconds + validation_seconds / trial.steps_per_epoch)))
