"""Options: what a user may set, each declared once with its bounds, whoever sets it. Needs no torch.

A class of options is a frozen msgspec struct. The annotation of a field says all there is to say of it: its
type, its bounds or choices, and the sentence that `--help` shows. The command line, Python, presets and the
headers of files that nobody should trust are held to the same declaration.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import msgspec

from genmnist.errors import UsageError
from genmnist.registry import Registry


def about(text: str, low: float | None = None, high: float | None = None, most: str = "") -> msgspec.Meta:
    """Annotate a field with what `--help` says of it, and the least and the greatest value it takes.

    `most` says in words what bounds a value that has to fit something else, too.
    """
    return msgspec.Meta(description=text, ge=low, le=high, extra={"most": most})


def named(registry: Registry[Any], text: str) -> msgspec.Meta:
    """Annotate a field that holds a name in a registry."""
    return msgspec.Meta(description=text, extra={"registry": registry})


def internal(low: float | None = None, high: float | None = None) -> msgspec.Meta:
    """Annotate a field that follows from the data, and that nobody types."""
    return msgspec.Meta(ge=low, le=high, extra={"internal": True})


class Field(msgspec.Struct, frozen=True):
    """What a field's annotation says."""

    name: str
    annotation: Any  # what msgspec converts to
    type: type  # of the value: int, float, str, bool or tuple
    default: Any
    about: str
    low: float | None
    high: float | None
    most: str = ""  # what else bounds it, in words
    literals: tuple[Any, ...] = ()
    registry: Registry[Any] | None = None
    internal: bool = False

    @property
    def choices(self) -> tuple[Any, ...]:
        """Return the values it may have, if they can be listed."""
        return self.registry.names() if self.registry else self.literals

    def check(self, value: Any) -> Any:
        """Return the value, in the field's type. Raises UsageError if it is not one the field may have."""
        if self.registry is not None and isinstance(value, str):
            self.registry.check(value)
        try:
            return msgspec.convert(value, self.annotation)
        except (msgspec.ValidationError, OverflowError) as error:
            raise UsageError(f"`{self.name}` must be {self._expected()}, not {value!r:.60}") from error

    def _expected(self) -> str:
        if self.literals:
            return f"one of {', '.join(map(str, self.literals))}"
        if self.type is bool:
            return "either true or false"
        if self.type not in (int, float):
            return "a name" if self.type is str else f"a {self.type.__name__} like {self.default}"
        kind = "a whole number" if self.type is int else "a number"
        if self.high is None or self.high > 1e12:
            return kind if self.low is None else f"{kind}, {self.low:g} or more"
        return f"{kind} between {self.low:g} and {self.most or _number(self.high)}"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """A set of options, checked wherever its values come from.

    Raises:
        UsageError: on construction, if a value is out of its bounds or none of its choices.
    """

    # What fields were called before, so that old files and scripts go on working.
    renamed: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        for field in fields(type(self)):
            value = getattr(self, field.name)
            checked = field.check(value)
            if checked is not value:
                msgspec.structs.force_setattr(self, field.name, checked)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Build from a mapping that may come from a file. Raises UsageError for what does not fit."""
        current = cls._current(values)
        known = {field.name for field in fields(cls)}
        if stray := sorted(current.keys() - known):
            raise UsageError(
                f"there is no option {stray[0]!r:.60} here; there are {', '.join(sorted(known))}"
            )
        return cls(**current)

    def asdict(self) -> dict[str, Any]:
        """Return the fields by name, as plain values."""
        return msgspec.structs.asdict(self)

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with those fields changed that are not None. Raises UsageError as `of` does."""
        given = self._current({name: value for name, value in changes.items() if value is not None})
        return self.of(self.asdict() | given)

    @classmethod
    def _current(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values by the names of today. Raises UsageError if one is given by its old name too."""
        for old, new in cls.renamed.items():
            if old in values and new in values:
                raise UsageError(f"`{old}` is the old name of `{new}`: give one of them")
        return {cls.renamed.get(name, name): value for name, value in values.items()}

    @classmethod
    def choose(cls, **changes: Any) -> Self:
        """Build from those changes that are not None. Raises UsageError as `of` does."""
        return cls().replace(changes)

    def named(self) -> Iterator[tuple[Registry[Any], str]]:
        """Yield the registry and the name of every named part that these options choose."""
        for field in fields(type(self)):
            if field.registry is not None:
                yield field.registry, getattr(self, field.name)


@functools.cache
def fields(options: type[Options]) -> tuple[Field, ...]:
    """Return the fields of a class of options, in order."""
    hints = get_type_hints(options, include_extras=True)
    return tuple(
        _field(info.name, hints[info.name], info.default) for info in msgspec.structs.fields(options)
    )


def _field(name: str, annotation: Any, default: Any) -> Field:
    kind, *metas = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    literals = get_args(kind) if get_origin(kind) is Literal else ()
    meta = next((meta for meta in metas if isinstance(meta, msgspec.Meta)), msgspec.Meta())
    about = meta.description or ""
    extra = meta.extra or {}  # what `about`, `named` and `internal` have said besides
    return Field(
        name, annotation, type(default), default, about, meta.ge, meta.le, literals=literals, **extra
    )


def _number(value: float) -> str:
    return f"{value:g}" if value < 1e6 else f"{value:,.0f}"
