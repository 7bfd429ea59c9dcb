"""Numbers and names that a user may set, each declared once. Needs no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from genmnist.errors import UsageError


def knob(
    default: Any, about: str, low: float = 0, high: float = math.inf, choices: tuple[str, ...] = ()
) -> Any:
    """Declare a field of a `Knobs` class: its default, what `--help` says of it, and what it may be."""
    if choices:
        about += f": {', '.join(choices[:-1])} or {choices[-1]}."
    return field(default=default, metadata={"about": about, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class Knobs:
    """A frozen dataclass of numbers and names, checked wherever they come from.

    The one declaration of each serves the options that a user types, the presets below, and the header of a
    file that nobody should trust.
    """

    def __post_init__(self) -> None:
        for knob in dataclasses.fields(self):
            value: Any = getattr(self, knob.name)
            kind: type = type(knob.default)
            choices = knob.metadata["choices"]
            option = "--" + knob.name.replace("_", "-")
            if choices:
                if value not in choices:
                    raise UsageError(f"{option} must be one of {', '.join(choices)}, not {value!r}")
                continue
            if kind is bool:
                if not isinstance(value, bool):
                    raise UsageError(f"{option} is either true or false, not {value!r}")
                continue
            if isinstance(value, bool) or not isinstance(value, (int, kind)):
                raise UsageError(f"{option} must be a {'whole ' * (kind is int)}number, not {value!r}")
            low, high = knob.metadata["low"], knob.metadata["high"]
            if not low <= value <= high or value in (math.inf, -math.inf):
                span = f"between {low:g} and {high:g}" if math.isfinite(high) else f"{low:g} or more"
                raise UsageError(f"{option} must be {span}, not {value!r}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Build from a mapping that may come from a file. Raises UsageError for what does not fit."""
        names = {knob.name for knob in dataclasses.fields(cls)}
        if stray := sorted(values.keys() - names):
            raise UsageError(f"there is no option {stray[0]!r}")
        return cls(**values)

    def asdict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with those fields changed that are not None. Raises UsageError as `of` does."""
        return self.of(self.asdict() | {name: value for name, value in changes.items() if value is not None})

    @classmethod
    def choose(cls, **changes: Any) -> Self:
        """Build from those changes that are not None. Raises UsageError as `of` does."""
        return cls().replace(changes)

    def suited(self, device: str) -> Self:
        """Return a copy in which whatever was left to the kind of device, `cpu` or `cuda`, is decided."""
        return self
