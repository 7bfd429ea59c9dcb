"""Five lessons as notebooks, and the checks of their answers.

Each lesson is one Markdown file beside this one, in the form that MyST gives notebooks: text, and cells of
code between fences. That is the only place where it stands; `as_notebook` makes the file that Jupyter opens.
A line of code that ends in `# quick: X` has X at the right of its `=` where a lesson is only to be tried out.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from genmnist.errors import UsageError
from genmnist.files import write_document

if TYPE_CHECKING:
    from genmnist.labs.answers import check
    from genmnist.labs.pictures import plot, scatter, show

__all__ = ["LABS", "Cell", "as_notebook", "cells", "check", "copy", "plot", "scatter", "show"]

LABS = {
    "lab1": "The variational autoencoder",
    "lab2": "Diffusion from scratch",
    "lab3": "Guidance",
    "lab4": "One theory, many names",
    "lab5": "Measuring",
}
_LAZY = {"check": "answers", **dict.fromkeys(("plot", "scatter", "show"), "pictures")}
_FENCE = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_QUICK = re.compile(r"= *[^=\n]*?  # quick: (.*)$", re.MULTILINE)


class Cell(NamedTuple):
    """A cell of a notebook: `markdown` or `code`, and its text."""

    kind: str
    text: str


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for: `genmnist new` does not."""
    if name not in _LAZY:
        raise AttributeError(f"module 'genmnist.labs' has no attribute {name!r}")
    return getattr(import_module(f"genmnist.labs.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return __all__


def cells(name: str, quick: bool = False) -> list[Cell]:
    """Return the cells of a lesson, in order.

    Args:
        name: which lesson.
        quick: only to be tried out, in a few seconds.

    Raises:
        UsageError: there is no such lesson.
    """
    if name not in LABS:
        known = ", ".join(f"{lab} ({title})" for lab, title in LABS.items())
        raise UsageError(f"there is no lab {name!r:.40}: take one of {known}")
    text = Path(__file__).with_name(f"{name}.md").read_text("utf-8")
    found: list[Cell] = []
    for number, part in enumerate(_FENCE.split(text)):  # text and code in turn
        if number % 2:
            part = _QUICK.sub(r"= \1", part) if quick else re.sub(r" *# quick: .*$", "", part, flags=re.M)
        if part.strip():
            found.append(Cell("code" if number % 2 else "markdown", part.strip()))
    return found


def as_notebook(name: str) -> dict[str, Any]:
    """Return a lesson as Jupyter stores it, not yet run. Raises as `cells` does."""
    found: list[dict[str, Any]] = []
    for number, cell in enumerate(cells(name)):
        lines = cell.text.splitlines(keepends=True)
        entry = {"cell_type": cell.kind, "id": f"{name}-{number}", "metadata": {}, "source": lines}
        found.append(entry | ({"execution_count": None, "outputs": []} if cell.kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": found, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def copy(name: str, out: str | Path | None = None) -> Path:
    """Write a lesson as a notebook, beside the user unless `out` says otherwise, and return the file.

    Raises:
        UsageError: there is no such lesson, or the file is there already: it may hold someone's work.
        GenmnistError: it cannot be written.
    """
    content, path = as_notebook(name), Path(out or f"{name}.ipynb")
    if path.exists():
        raise UsageError(f"{path} is there already, and may hold your work: name another `out`")
    write_document(path, content)
    return path
