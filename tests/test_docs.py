"""The documentation: links that lead somewhere, and pages that say what the program says."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer

from genmnist.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/genmnist/**/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if not re.match(r"https?://", target):
            assert (page.parent / target).exists(), target


def test_the_reference_of_commands_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec
    assert spec.loader
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    assert reference.PAGE.read_text("utf-8") == reference.page(), "run `make docs`"


def _commands() -> list[str]:
    lines = "\n".join(page.read_text("utf-8") for page in PAGES).splitlines()
    return sorted(
        {line.removeprefix("$ ").split("  #")[0] for line in lines if line.startswith("$ genmnist ")}
    )


@pytest.mark.parametrize("line", _commands())
def test_documented_commands_exist(line: str) -> None:
    """Parse each command that the documentation shows, without running it."""
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    while words and (children := getattr(command, "commands", None)) and words[0] in children:
        command = children[words.pop(0)]
    assert not getattr(command, "commands", None), line
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, line
