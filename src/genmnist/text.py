"""Text that came from anywhere: what may be shown of it, to a terminal or on a page. Needs no torch."""

from __future__ import annotations

import re

_MOST = 2_000  # characters; what is longer nobody reads

# What a terminal would obey, and marks that change how their neighbours read; no line breaks.
_CONTROLS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def printable(text: str, most: int = _MOST) -> str:
    """Return text as one line that may be shown, without what a terminal would obey.

    Args:
        text: from anywhere: the name or the content of a file, a class, an option.
        most: so many characters are shown; of a longer text it is said how many it has.
    """
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:most])
    return shown if len(text) <= most else f"{shown}… ({len(text):,} characters)"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or what kind it is where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def without_controls(page: str) -> str:
    """Return a page of many lines without such characters: in their places stands how Python writes them."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], page)
