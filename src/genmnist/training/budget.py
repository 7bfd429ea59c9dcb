"""Keeping a training to a time: how many steps fit is measured at first, and corrected on the way.

A machine is not as fast later as it was at first: other programs come and go. So the number of steps follows
the time that is left, and schedules go on from where they are (`genmnist.families.length.Plan`). To settle
the number once, early on, would keep what comes after from being corrected.

A process may be stopped for a while (Ctrl-Z, a paused container), during which the clock goes on. That time
is gone, but says nothing of the pace; and however little is left, the learning rate falls to its end in it.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

from genmnist.families.length import Plan
from genmnist.training.trainer import StepEnd, Trainer

_WARMUP_STEPS = 2
_LONGEST_START = 60.0  # seconds that imports may take, on a busy machine with a cold disk
_CLOSING = 0.02  # of a budget, for the last save and the figures
_AGAIN = 5  # looks after a fifth of the time that is left, or half of the steps
_LEAST = 0.01  # of a budget, between two looks
_TOLERANCE = 0.02  # of the steps that are left, or of half of all: a plan so near is kept
_HALT = 5  # times the longest that there was between two steps: the process did not run
_FALL = 0.04  # of a budget: the end, which stays as planned, and what there is at least after a halt


def process_began() -> float:
    """Return the `time.perf_counter()` at which this process began, start-up and imports included.

    Linux alone tells (field 22 of /proc/self/stat, proc(5)); elsewhere it is now. It is now, too, if that is
    long ago: a shell that has become this process by `exec` may have done other work before.
    """
    now = time.perf_counter()
    try:
        after_name = Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        began = int(after_name[19]) / os.sysconf("SC_CLK_TCK")  # seconds since the machine's start
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError, ValueError, IndexError):
        return now
    return now - age if 0 <= age < _LONGEST_START else now


class Budget:
    """A time within which a training is to end.

    Args:
        seconds: how long it is.
        started: the `time.perf_counter()` at which it began.
    """

    def __init__(self, seconds: float, started: float) -> None:
        self.seconds = seconds
        self._end = started + seconds * (1 - _CLOSING)
        self._next, self._halfway = 0.0, 0.0
        self._last, self._longest = math.inf, 0.0  # look, and time between two
        self._marks: list[tuple[float, int]] = []  # when which steps were taken

    def fit(self, trial: Trainer) -> int:
        """Return how many steps of a run like `trial`, with its validations, fit into what is left.

        Of several processes the first one measures.

        Args:
            trial: a trainer to measure with and to throw away; a thirtieth of the budget goes into that, half
                a second at least.
        """
        measuring = max(self.seconds / 30, 0.5)
        timed, spent = 0, 0.0
        begun = mark = time.perf_counter()
        for event in trial.train():
            now = time.perf_counter()
            if isinstance(event, StepEnd) and event.step > _WARMUP_STEPS:  # validations are counted apart
                timed, spent = timed + 1, spent + now - mark
            mark = now
            enough = timed and (spent > measuring or now - begun > 2 * measuring)
            if any(trial.ranks.vote(bool(enough and trial.ranks.leads))):
                break
        trial.ranks.end_votes()
        trial.check()  # waits for a GPU
        step_seconds = (spent + time.perf_counter() - mark) / max(timed, 1)
        started = time.perf_counter()
        trial.validate()
        validation_seconds = time.perf_counter() - started
        self.reserve(validation_seconds)  # for the last one
        self._last = time.perf_counter()
        self._end = max(self._end, self._last + _FALL * self.seconds)
        left = self._end - self._last
        steps = max(1, int(left / (step_seconds + validation_seconds / trial.steps_per_epoch)))
        return trial.ranks.same(steps, int)

    def reserve(self, seconds: float) -> None:
        """Keep so much time for what comes after the last step."""
        self._end -= seconds
        self._longest += seconds  # the same comes between two steps, too

    def correct(self, trainer: Trainer) -> Plan | None:
        """Return the plan that fits into the time that is left, if it is another than the trainer's.

        To be called after every step. The pace is that of the past, as far back as the end is ahead.
        """
        now, step = time.perf_counter(), trainer.step
        halted = self._pass_over_halt(now)
        if not self._marks or now - self._marks[-1][0] > self.seconds * _LEAST / 4:
            self._marks.append((now, step))
        left = self._end - now
        if not self._next:
            self._next, self._halfway = now + left / _AGAIN, (step + trainer.steps) / 2
        due = left > self.seconds * _FALL and (now >= self._next or step >= self._halfway)
        if step >= trainer.steps or not (due or halted):
            return None
        self._next = now + max(left / _AGAIN, self.seconds * _LEAST)
        self._halfway = (step + trainer.steps) / 2  # or a plan made at a wrong pace may be over by then
        since, first = next((mark for mark in reversed(self._marks) if now - mark[0] >= left), self._marks[0])
        if step == first:
            return None
        more = max(1, int(left * (step - first) / (now - since)))
        if abs(step + more - trainer.steps) <= _TOLERANCE * max(trainer.steps - step, trainer.steps / 2):
            return None
        return trainer.plan.correct(step, step + more)

    def _pass_over_halt(self, now: float) -> bool:
        """Tell whether the process did not run since the last look; the pace is then that of before."""
        gap, self._last = now - self._last, now
        if gap <= max(_HALT * self._longest, self.seconds * _LEAST):
            self._longest = max(self._longest, gap)
            return False
        self._marks = [(when + gap, step) for when, step in self._marks]
        self._end = max(self._end, min(now + self.seconds * _FALL, self._end + gap))
        return True
