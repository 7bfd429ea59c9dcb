"""How things show themselves in a notebook: tables, pictures and bars, as HTML that asks no server.

Elsewhere nothing here does anything: no bar is drawn in a script, and no object looks different.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from genmnist.text import printable

if TYPE_CHECKING:
    from PIL import Image

_REFRESH = 0.25  # seconds between two looks of a bar


class Advance(Protocol):
    """Called with how much is done, a remark, and another total."""

    def __call__(self, done: float, remark: str = "", total: float | None = None) -> None:
        """Show it."""


def table(rows: Iterable[Sequence[object]], heads: Sequence[str] = ()) -> str:
    """Return a table as HTML."""

    def line(cells: Sequence[object], tag: str) -> str:
        style = "text-align:left;padding:1px 14px 1px 0"
        return "".join(
            f'<{tag} style="{style}">{html.escape(printable(str(cell)))}</{tag}>' for cell in cells
        )

    head = f"<thead><tr>{line(heads, 'th')}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def picture(content: bytes, kind: str = "png", width: int | None = None) -> str:
    """Return a picture as HTML: the bytes of a PNG or GIF file, at most so many pixels wide."""
    shown = f"max-width:{width}px;width:100%" if width else "max-width:100%"
    code = base64.b64encode(content).decode()
    return f'<img alt="" style="{shown}" src="data:image/{kind};base64,{code}">'


def png(image: Image.Image) -> bytes:
    """Return an image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def titled(title: str, *parts: str) -> str:
    """Return parts of HTML under a line of text."""
    return f"<div><p><b>{html.escape(printable(title))}</b></p>{''.join(parts)}</div>"


def here() -> bool:
    """Tell whether this is a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextlib.contextmanager
def bar(what: str, total: float = 1.0) -> Iterator[Advance]:
    """Show a bar in a notebook, which goes when it is done; yields what moves it.

    It is drawn by rich, which needs ipywidgets there (`pip install genmnist[labs]`); without it nothing is.
    """
    if not here() or find_spec("ipywidgets") is None:
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(force_jupyter=True)
    looked = 0.0
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        task = progress.add_task(what, total=total)

        def advance(done: float, remark: str = "", total: float | None = None) -> None:
            nonlocal looked
            progress.update(task, completed=done, total=total, description=f"{what} {remark}".strip())
            if time.monotonic() - looked >= _REFRESH:
                looked = time.monotonic()
                progress.refresh()

        yield advance


def _nothing(done: float, remark: str = "", total: float | None = None) -> None:
    """Show nothing."""
