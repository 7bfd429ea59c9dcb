"""What is typed on the command line, read into values, or answered with the sentence that mends it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from genmnist.errors import UsageError
from genmnist.options import Field


def reader(field: Field) -> Callable[[Any], Any]:
    """Return what reads the text that a field is given.

    It takes what has been read already, such as a default, and raises UsageError as the field does.
    """

    def read(text: Any) -> Any:
        value = text
        if field.type in (int, float):
            with contextlib.suppress(ValueError):  # what is no number is refused by name
                value = field.type(text)
        return field.check(value)

    return read


def text(value: object) -> str:
    """Return a value as help and tables show it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def bounded(argument: str, kind: type, low: float | None, high: float | None) -> Callable[[Any], Any]:
    """Return what reads a number that an argument is given, within its bounds; it raises UsageError."""
    annotation = Annotated[kind, msgspec.Meta(ge=low, le=high)]  # type: ignore[valid-type]
    return reader(Field(argument, annotation, kind, None, "", low, high))


def one_of(argument: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    """Return what reads an argument that is one of `choices`; it raises UsageError."""
    return reader(Field(argument, Literal[choices], str, None, "", None, None, literals=choices))


def joined(words: list[str], options: set[str]) -> list[str]:
    """Return words in which what follows one of `options` is one word: `--label 3 8` becomes `--label 3,8`.

    For commands that take options only, where a word that belongs to none would be an error anyway.
    """
    result: list[str] = []
    taking = False
    for word in words:
        value = not word.startswith("-") or re.match(r"-\.?\d", word)
        if taking and value and result[-1] not in options:
            result[-1] = f"{result[-1].rstrip(',')},{word.lstrip(',')}"
            continue
        taking = (taking and bool(value)) or word in options or word.partition("=")[0] in options
        result.append(word)
    return result


def labels(text: str, argument: str) -> list[int | str]:
    """Return the labels in `7`, `3,1,4`, `0-9`, `cat,dog` or any mixture. Raises UsageError."""
    found: list[int | str] = []
    for piece in map(str.strip, text.split(",")):
        if not piece or re.match(r"-|.*\d-\d", piece) or piece.isdigit():
            found += whole_numbers(piece, argument)
        else:
            found.append(piece)
    return found


def whole_numbers(text: str, argument: str) -> list[int]:
    """Return the numbers in `7`, `3,1,4`, `0-9` or any mixture. Raises UsageError."""
    part = r" *\d{1,9}( *- *\d{1,9})? *"
    if not re.fullmatch(f"{part}(,{part})*", text):
        raise UsageError(f"`{argument}` takes whole numbers, such as 7 or 0,5,9 or 0-9, not {text!r}")
    numbers: list[int] = []
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        low, high = int(first), int(last or first)
        if not low <= high < low + 10_000:
            raise UsageError(f"`{argument}` counts upwards, and not too far: {piece.strip()!r} does not")
        numbers += range(low, high + 1)
    return numbers


def label(text: str, argument: str) -> int | str:
    """Return the label in `7` or `cat`. Raises UsageError."""
    found = labels(text, argument)
    if len(found) != 1:
        raise UsageError(f"`{argument}` takes one label, such as 7, not {text!r}")
    return found[0]


def pair(text: str, argument: str) -> tuple[int | str, int | str]:
    """Return the two labels in `6,1`, which `6 1` has become. Raises UsageError."""
    found = labels(text, argument)
    if len(found) != 2:
        raise UsageError(f"`{argument}` takes two labels to walk between, such as 6,1, not {text!r}")
    return found[0], found[1]


def numbers(text: str, argument: str) -> list[float]:
    """Return the numbers in `0,0.5,1`. Raises UsageError."""
    try:
        return [float(piece) for piece in text.split(",")]
    except ValueError:
        raise UsageError(
            f"`{argument}` takes numbers with commas between them, such as 0,1,4, not {text!r}"
        ) from None


def spell(seconds: float) -> str:
    """Return seconds as `families.length.duration` reads them."""
    hours, rest = divmod(round(seconds), 3600)
    parts = ((hours, "h"), (rest // 60, "m"), (rest % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def check_out(path: Path, suffixes: tuple[str, ...]) -> Path:
    """Return where a result is to go, if it can go there; an empty suffix stands for a folder.

    Raises:
        UsageError: the kind of file is not one the command writes, or the place cannot be written to.
    """
    kinds = ", ".join(suffix or "a folder" for suffix in suffixes)
    if path.name in suffixes or (path.name.startswith(".") and not path.suffix):
        raise UsageError(
            f"`out` {path} has nothing before its ending: name a file, such as digits{path.name}"
        )
    if path.suffix not in suffixes:
        ends = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UsageError(f"`out` {path} {ends}, and this command writes {kinds}: choose one of them")
    if path.suffix and path.is_dir():
        raise UsageError(f"`out` {path} is a folder: name a file")
    if not path.suffix and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"`out` {path} is not an empty folder: name another")
    check_writable(path)
    return path


def check_writable(path: Path) -> None:
    """Raise UsageError unless a file or folder could be made at `path`."""
    here = [path.absolute()] if path.is_dir() else []
    parent = next((p for p in [*here, *path.absolute().parents] if p.exists()), Path("/"))
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UsageError(f"`out` {path} cannot be written: {parent} is not a folder that you may write to")


def check_folder(path: Path) -> Path:
    """Return where a folder of results is to go. Raises UsageError unless it is one, or can be made."""
    if path.suffix or (path.exists() and not path.is_dir()):
        raise UsageError(f"`out` {path} is to be a folder: name one without an ending")
    check_writable(path)
    return path
