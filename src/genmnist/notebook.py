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
from typing import TYPE_CHECKING, Any, Protocol

from genmnist.text import printable

if TYPE_CHECKING:
    from PIL import Image
    from rich.progress import Progress

_REFRESH = 0.5  # seconds between two looks of a bar


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

    rich draws it, and the notebook shows it as HTML: its own way needs widgets, and waits for them.
    """
    if not here():
        yield _nothing
        return
    from IPython.display import display
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    progress = Progress(*columns)
    task, looked = progress.add_task(what, total=total), time.monotonic()
    handle: Any = display(  # type: ignore[no-untyped-call]
        {"text/html": _drawn(progress)}, raw=True, display_id=True
    )

    def advance(done: float, remark: str = "", total: float | None = None) -> None:
        nonlocal looked
        progress.update(task, completed=done, total=total, description=f"{what} {remark}".strip())
        if time.monotonic() - looked >= _REFRESH:
            looked = time.monotonic()
            handle.update({"text/html": _drawn(progress)}, raw=True)

    try:
        yield advance
    finally:
        handle.update({"text/html": ""}, raw=True)


def _drawn(progress: Progress) -> str:
    """Return a bar as HTML."""
    from rich.console import Console

    console = Console(file=io.StringIO(), record=True, width=100, force_jupyter=False)
    console.print(progress.get_renderable())
    return console.export_html(inline_styles=True, code_format="<pre style='margin:0'>{code}</pre>")


def _nothing(done: float, remark: str = "", total: float | None = None) -> None:
    """Show nothing."""
