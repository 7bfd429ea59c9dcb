"""The documentation: links that lead somewhere, and pages that say what the program says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import genmnist
from conftest import program, slow
from genmnist import data
from genmnist.cli.app import build
from genmnist.evaluation import document, tables
from genmnist.runs.find import WEIGHTS

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/genmnist/**/*.md")]


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST (three levels deep) make them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,3} +(.+?)[ #]*$", prose(page), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {slug if n == 0 else f"{slug}-{n}" for slug, count in found.items() for n in range(count + 1)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor:
            assert target.suffix == ".md", link
            assert anchor in anchors(target), link


def test_anchors_are_those_of_headings(tmp_path: Path) -> None:
    """Guard the guard: what GitHub makes of a heading, and nothing else."""
    page = tmp_path / "page.md"
    page.write_text("# Say it: `genmnist`, 28 × 28\n\n## A [link](x.md)_\n\n### Twice\n\n### Twice\n\n"
                    "#### Too deep\n\n```\n# a comment\n```\n")  # fmt: skip
    assert anchors(page) == {"say-it-genmnist-28--28", "a-link_", "twice", "twice-1"}


def test_the_map_of_the_house_is_true() -> None:
    """CONTRIBUTING names every module and folder of src/genmnist, and none that is not there."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.S | re.M)
    (drawn,) = (block for block in blocks if block.startswith("src/genmnist/\n"))
    named = [line.split()[0] for line in drawn.splitlines()[1:] if line.strip()]
    package = [path for path in (ROOT / "src" / "genmnist").iterdir() if path.name != "__pycache__"]
    there = [path.name for path in package if path.suffix == ".py"]
    there += [f"{path.name}/" for path in package if path.is_dir()]
    assert sorted(named) == sorted(there)


def test_the_reference_of_commands_is_up_to_date() -> None:
    reference = program("scripts/reference.py")
    assert reference.PAGE.read_text("utf-8") == reference.page(), "run `make docs`"


def test_one_headline_wherever_it_is_quoted() -> None:
    for family in ("vae", "ddpm", "cfg"):
        found = document.read(WEIGHTS / f"{family}.json")
        distance = tables.interval(found.samples.images.frechet)
        assert found.samples.num == 10_000
        for page in (ROOT / "README.md", ROOT / "docs" / "results.md"):
            assert f"| `{family}` | {distance} |" in page.read_text("utf-8"), f"{page}: run `make results`"
        assert tables.headline(found) in (WEIGHTS / f"{family}.md").read_text("utf-8")
    for page in PAGES:
        assert "times the floor" not in page.read_text("utf-8"), page


def test_formulas_are_shown_without_a_network() -> None:
    mathml = program("docs/mathml.py", needs="latex2mathml")
    text = "\n".join(prose(page) for page in ROOT.glob("docs/*.md"))
    displayed = re.findall(r"\$\$(.+?)\$\$", text, re.S)
    inline = re.findall(r"\$([^$\n]+)\$", re.sub(r"\$\$.+?\$\$", "", text, flags=re.S))
    assert len(displayed) > 4
    assert len(inline) > 50
    for tex in displayed + inline:
        assert mathml.mathml(tex.strip(), display=True).startswith(
            "<math"
        )  # or it says what it does not know
    assert "𝒩" in mathml.mathml(r"\mathcal N", display=False)
    with pytest.raises(ValueError, match="cannot set"):
        mathml.mathml(r"\nonsense", display=False)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/labs.md",
        *slow("docs/guide.md"),  # it trains two models
    ],
)
def test_code_runs_as_it_stands(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the blocks of Python of a page, one after another, with the names that a reader has by then.

    Those of "Your own" have tests of their own, and so has what is exported.
    """
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    digits = data.load().test.images[:2]
    space: dict[str, object] = {"genmnist": genmnist, "torch": torch, "image": digits[0], "images": digits}
    assert blocks
    for block in blocks:
        if "onnx" not in block:
            exec(compile(block, page, "exec"), space)


def _commands() -> list[str]:
    # Those of "Your own" know a plugin's family; tests/test_your_own.py runs them all.
    pages = (page for page in PAGES if page.name != "your-own.md")
    lines = "\n".join(page.read_text("utf-8") for page in pages).splitlines()
    return sorted(
        {line.removeprefix("$ ").split("  #")[0] for line in lines if line.startswith("$ genmnist ")}
    )


@pytest.fixture(scope="module")
def tree() -> Any:
    return typer.main.get_command(build())


@pytest.mark.parametrize("line", _commands())
def test_documented_commands_exist(tree: Any, line: str) -> None:
    """Parse each command that the documentation shows, without running it."""
    words, command = shlex.split(line)[1:], tree
    while words and (children := getattr(command, "commands", None)) and words[0] in children:
        command = children[words.pop(0)]
    assert not getattr(command, "commands", None), line
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    known = {name for parameter in shown for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, line
