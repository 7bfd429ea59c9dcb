"""How commands speak: sentences, bars, thumbnails, or one JSON document.

All that people read goes through here, and here alone it is made safe to show: what came from files is no
command to their terminal, no markup and no emoji.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmnist.distributed import leads
from genmnist.text import printable

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console
    from rich.text import Text

_MOST_ROWS = 1_000  # of a table
_LINE_EVERY = 30.0  # seconds between lines of progress where there is no terminal to draw a bar on


class Output:
    """Where one command speaks. Sentences go to standard output, or to standard error beside `--json`."""

    def __init__(self, command: str, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = (as_json, quiet) if leads() else (False, True)  # one of a job speaks
        self.document: dict[str, Any] = {"command": command}
        self._started = time.perf_counter()
        self._live: Console | None = None  # that of a bar while one is drawn

    @cached_property
    def errors(self) -> Console:
        """Return standard error; made late, because a usage error should not wait for rich."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, quiet=self.quiet)

    @cached_property
    def console(self) -> Console:
        """Return where sentences go."""
        from rich.console import Console

        return self.errors if self.as_json else Console(highlight=False, quiet=self.quiet)

    def say(self, text: str, apart: bool = False) -> None:
        """Say a line to people, after an empty one if it stands `apart`; above the bar, if one is drawn."""
        console = self._live if self._live and self.console.is_terminal else self.console
        try:
            console.print(_shown(text, "\n" if apart else ""), soft_wrap=True)
        except (OSError, SystemExit):
            console.quiet = True  # the reader has left, or a log's disk is full; what is being done goes on
            with contextlib.suppress(OSError, ValueError):  # or what could not be written would fail again
                os.dup2(os.open(os.devnull, os.O_WRONLY), console.file.fileno())

    def note(self, **facts: Any) -> None:
        """Add facts to the JSON document."""
        self.document |= facts

    def wrote(self, path: Path, picture: Image.Image | None = None) -> None:
        """Show a thumbnail where the terminal can, then the path and the time it all took."""
        seconds = time.perf_counter() - self._started
        self.note(out=str(path), seconds=round(seconds, 3))
        colours = self.console.is_terminal and self.console.color_system and not self.console.no_color
        if picture is not None and colours and not self.quiet:
            self.console.print(thumbnail(picture, self.console.width, self.console.height))
        self.say(f"wrote {path} in {seconds:.1f} s")

    def table(self, rows: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> None:
        """Show a table to people; beside `--json` there is nothing that the document does not say."""
        from rich.table import Table

        if self.as_json:
            return

        listed = [*rows]
        table = Table(show_header=bool(heads), box=None, padding=(0, 2, 0, 0))
        for head in heads or [""] * len(listed[0] if listed else ()):
            table.add_column(_shown(head), overflow="fold")  # a path cut short is of no use
        for row in listed[:_MOST_ROWS]:
            table.add_row(*map(_shown, row))
        self.console.print(table)
        if (more := len(listed) - _MOST_ROWS) > 0:
            self.say(f"and {more:,} rows more")

    def finish(self) -> None:
        """Print the JSON document, if one was asked for."""
        if self.as_json and sys.stdout is not None:
            sys.stdout.write(json.dumps(_finite(self.document), indent=2, allow_nan=False) + "\n")
            sys.stdout.flush()

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[..., None]]:
        """Show progress; yields a function to call with how much is done, a remark, and another total."""
        if not self.errors.is_terminal or self.quiet:
            yield _lines(self.errors, what, total)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        words = TextColumn("{task.description}", markup=False)
        columns = (words, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.errors, transient=True) as progress:
            task = progress.add_task(printable(what), total=total)

            def advance(done: int, remark: str = "", total: int = total) -> None:
                description = printable(f"{what} {remark}".strip())
                progress.update(task, completed=done, total=total, description=description)

            self._live = progress.console
            try:
                yield advance
            finally:
                self._live = None


def _lines(console: Console, what: str, total: int) -> Callable[..., None]:
    """Return progress for logs and pipes: a plain line every few seconds."""
    last = time.monotonic()

    def advance(done: int, remark: str = "", total: int = total) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY:
            last = time.monotonic()
            console.print(_shown(f"{what} {done:,}/{total:,} {remark}".rstrip()), soft_wrap=True)

    return advance


def _shown(text: str, before: str = "") -> Text:
    """Return what may be shown of a text; as such it is neither markup nor emoji to the console."""
    from rich.text import Text

    return Text(before + printable(text))


def _finite(value: Any) -> Any:
    """Return a document as JSON has it: where a number is not finite there is null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def thumbnail(picture: Image.Image, width: int, height: int) -> Text:
    """Draw a picture in half blocks, two pixels to a character, within `width` x `height` characters."""
    from PIL import Image
    from rich.text import Text

    columns = min(width, 96, picture.width, max(8, int(2 * (height - 4) * picture.width / picture.height)))
    rows = max(2, 2 * round(columns * picture.height / picture.width / 2))
    pixels = picture.convert("RGB").resize((columns, rows), Image.Resampling.BOX).load()
    if pixels is None:
        return Text()
    text = Text(no_wrap=True, end="")
    for y in range(0, rows, 2):
        for x in range(columns):
            style = "rgb({},{},{}) on rgb({},{},{})".format(*pixels[x, y], *pixels[x, y + 1])  # type: ignore[misc]
            text.append("▀", style)
        text.append("\n")
    return text
