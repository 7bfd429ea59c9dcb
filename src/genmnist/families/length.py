"""How long a training is: a time, or a number of steps that may have been corrected on the way."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from genmnist.errors import UsageError


def duration(given: str | float) -> float:
    """Return the seconds in `90`, `90s`, `10m`, `1h30m`, or in a number. Raises UsageError."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", str(given).strip())
    seconds = (
        sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))
        if match
        else 0
    )
    if not 0 < seconds < 1e8:
        raise UsageError(f"{given!r} is not a time: write 90s, 10m or 1h30m")
    return seconds


@dataclass(frozen=True)
class Plan:
    """How many steps a training takes, and where in it each of them stands.

    A budget corrects the number on the way: a machine that has become slower takes fewer steps. Schedules go
    on from where they are, so the whole of a learning rate's curve is run through, and `str(plan)`, such as
    `5000,5200@1600`, says all that is needed to repeat that exactly: 5,000 steps, from step 1,600 on 5,200.

    Args:
        parts: from which step on there are how many in all; the first part is from step 0.
    """

    parts: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, given: int | str | Plan) -> Plan:
        """Return the plan of a number of steps, or of a text that a plan has written. Raises UsageError."""
        if isinstance(given, Plan):
            return given
        first, *others = str(given).split(",")
        if not re.fullmatch(r"\d{1,13}(,\d{1,13}@\d{1,13})*", str(given)):
            raise _wrong(given)
        parts = [(0, int(first))]
        for other in others:
            number, _, since = other.partition("@")
            parts.append((int(since), int(number)))
        for (before, total), (start, steps) in itertools.pairwise(parts):
            if not before < start < min(total, steps):
                raise _wrong(given)
        if not 1 <= parts[0][1] <= 10**12 or parts[-1][1] > 10**12:
            raise _wrong(given)
        return cls(tuple(parts))

    def __str__(self) -> str:
        (_, first), *others = self.parts
        return ",".join([str(first), *(f"{steps}@{start}" for start, steps in others)])

    @property
    def steps(self) -> int:
        """Return how many steps there are."""
        return self.parts[-1][1]

    @property
    def corrected(self) -> bool:
        """Tell whether that number was another at first."""
        return len(self.parts) > 1

    def correct(self, step: int, steps: int) -> Self:
        """Return the plan in which there are so many in all from `step` on."""
        earlier = [part for part in self.parts if part[0] < step]
        return type(self)((*earlier, (step, steps)))

    def place(self, step: int) -> tuple[float, int]:
        """Return where `step` stands, as a step of so many; between two corrections all are equally long."""
        start, at, steps = 0, 0.0, self.parts[0][1]
        for begin, total in self.parts[1:]:
            if step < begin:
                break
            at = (at + (begin - start) * ((steps - at) / (steps - start))) / steps * total
            start, steps = begin, total
        return at + (step - start) * ((steps - at) / (steps - start)), steps

    def ends_part(self, step: int, parts: int) -> bool:
        """Tell whether one of so many equal parts of the training ends with its step number `step`, from 1.

        The last ends with the last step, whatever was corrected; where steps are fewer each ends one or more.
        """
        if not 0 < step < self.steps:
            return step == self.steps and parts > 0
        before, after = (parts * at / steps for at, steps in map(self.place, (step - 1, step)))
        return math.floor(before) < math.floor(after)


def _wrong(given: object) -> UsageError:
    return UsageError(
        f"`steps` must be a whole number of 1 or more, or what a run wrote as its plan, not {given!r:.60}"
    )
