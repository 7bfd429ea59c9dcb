"""Run the labs and write them, outputs included, into notebooks/; the time of each is printed.

python scripts/notebooks.py [lab1 ...]
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from genmnist import labs

FOLDER = Path(__file__).parents[1] / "notebooks"
_TIMEOUT = 900  # seconds a cell


def run(name: str) -> Any:
    """Run a lab in a folder of its own, and return the notebook with its outputs."""
    notebook: Any = nbformat.reads(json.dumps(labs.as_notebook(name)), 4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as scratch:
        NotebookClient(
            notebook, timeout=_TIMEOUT, kernel_name="python3", resources={"metadata": {"path": scratch}}
        ).execute()
        for cell in notebook.cells:
            cell.metadata.clear()  # when it was run, which changes each time
            if cell.cell_type == "code":
                cell.outputs = [_plain(output, scratch) for output in cell.outputs if _is_kept(output)]
    return notebook


def _is_kept(output: Any) -> bool:
    """Tell whether an output stays: of bars nothing is left by the end."""
    return bool(output.get("data", {}).get("text/html") != "")


def _plain(output: Any, scratch: str) -> Any:
    """Return an output that does not say in which folder it came about."""
    return nbformat.from_dict(  # type: ignore[no-untyped-call]
        json.loads(re.sub(re.escape(scratch) + "/?", "", json.dumps(output)))
    )


def main(names: Sequence[str]) -> None:
    """Run labs, all if none is named."""
    FOLDER.mkdir(exist_ok=True)
    started = time.perf_counter()
    for name in names or labs.LABS:
        began = time.perf_counter()
        notebook = run(name)
        (FOLDER / f"{name}.ipynb").write_text(nbformat.writes(notebook) + "\n", "utf-8")  # type: ignore[no-untyped-call]
        print(f"{name} ({labs.LABS[name]}): {time.perf_counter() - began:.0f} s", flush=True)
    print(f"all: {(time.perf_counter() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main(sys.argv[1:])
