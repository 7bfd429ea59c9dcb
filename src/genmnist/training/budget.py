"""How many steps fit into a time: measured first, fixed then, and repeated exactly by `--steps`."""

from __future__ import annotations

import time

from genmnist.training.trainer import Step, Trainer

_WARMUP_STEPS = 5
_RESERVE = 0.97  # a machine is rarely faster later than it was at first


def fit_steps(trial: Trainer, seconds: float, deadline: float) -> int:
    """Return how many steps of a run like `trial`, with its validations, fit before `deadline`.

    Args:
        trial: a trainer to measure with and to throw away.
        seconds: the whole budget; a thirtieth of it goes into measuring, half a second at least.
        deadline: the `time.perf_counter()` at which the budget ends.
    """
    measuring = max(seconds / 30, 0.5)
    started, timed = time.perf_counter(), 0
    for event in trial.train():
        if not isinstance(event, Step):
            continue
        if event.step == _WARMUP_STEPS:
            started = time.perf_counter()
        timed = event.step - _WARMUP_STEPS
        if timed > 0 and time.perf_counter() - started > measuring:
            break
    trial.check()  # waits for a GPU
    step_seconds = (time.perf_counter() - started) / max(timed, 1)
    started = time.perf_counter()
    trial.validate()
    validation_seconds = time.perf_counter() - started
    left = (deadline - time.perf_counter()) * _RESERVE - validation_seconds
    return max(1, int(left / (step_seconds + validation_seconds / trial.steps_per_epoch)))
