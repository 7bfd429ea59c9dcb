"""Write docs/commands.md from the commands themselves.

python scripts/reference.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from genmnist.cli.app import build

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
_HEAD = """# Commands

Every command and every option, as `--help` shows them; `make docs` writes this page.

Exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted (what was done is saved). A failure is one
sentence on standard error. With `--json`, standard output carries one JSON document and nothing else.
"""


def page() -> str:
    """Return the page."""
    return _HEAD + "".join(
        _section(path, command) for path, command in _commands("genmnist", typer.main.get_command(build()))
    )


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
    for name, child in (children or {}).items():
        yield from _commands(f"{path} {name}", child)


def _section(path: str, command: Any) -> str:
    arguments = "".join(f" {p.metavar}" for p in command.params if p.param_type_name == "argument")
    shown = (p for p in command.params if p.param_type_name == "option" and not p.hidden)
    options = [p for p in shown if p.name != "help"]
    rows = "".join(f"| {_names(option)} | {option.help or ''} | {_default(option)} |\n" for option in options)
    return (
        f"\n## `{path}{arguments}`\n\n{command.help}\n\n| option | | default |\n| --- | --- | --- |\n{rows}"
    )


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return option.show_default.replace("<", "\\<")
    if option.default is None or isinstance(option.default, bool):
        return ""
    return f"`{option.default}`"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text("utf-8") != page() and "docs/commands.md is out of date: run `make docs`")
    PAGE.write_text(page(), "utf-8")
