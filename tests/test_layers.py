"""Imports run downwards only, in the order of CONTRIBUTING's map; and what answers at once needs no torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "genmnist"
LAYERS = re.findall(
    r"^  (\w+)(?:/|\.py) ",
    (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("src/genmnist/\n")[2].partition("```")[0],
    re.MULTILINE,
)
# The package's own names, which everything may have, and its entry point, which is above everything.
_OUTSIDE = {"__init__", "__main__", "weights"}


def imports(path: Path) -> Iterator[str]:
    """Yield the layers that a module imports from, but for types."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "genmnist":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("genmnist."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_run_downwards(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if layer in _OUTSIDE:
        return
    upwards = [other for other in imports(path) if LAYERS.index(other) < LAYERS.index(layer)]
    assert not upwards


@pytest.mark.parametrize(
    "module", ["families", "options", "registry", "runs.find", "runs.folder", "data", "evaluation.document"]
)
def test_what_answers_at_once_needs_no_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import genmnist.{module}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nothing_is_unpickled() -> None:
    """Neither from files nor from another process: no call that unpickles stands in the package."""
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.Attribute) and re.search(r"_object(_list)?$", ast.unparse(node)))
        or (isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load")
        or (isinstance(node, ast.Import | ast.ImportFrom) and "pickle" in ast.unparse(node))
        or (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and ast.unparse(node.value) != "False"
        )
    ]
    assert found == []
