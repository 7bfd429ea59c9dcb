"""The labs: each runs, its exercises are asked and judged, and its copy opens."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from conftest import Command, one_sentence, slow
from genmnist import labs
from genmnist.errors import UsageError
from genmnist.labs import answers

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["lab4", *slow(*(name for name in labs.LABS if name != "lab4"))])
def test_labs_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every cell, with few steps, as a notebook would; and have every last line show itself."""
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": "__main__"}
    shown = 0
    for cell in labs.cells(name, quick=True):
        if cell.kind == "code":
            tree = ast.parse(cell.text)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec"), space)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), name, "eval"), space)
                for method in ("_repr_png_", "_repr_html_"):
                    if look := getattr(value, method, None):
                        shown += bool(look())
    assert shown >= 3


def test_every_exercise_is_asked_once_and_in_its_lab() -> None:
    for name in labs.LABS:
        text = "\n".join(cell.text for cell in labs.cells(name))
        asked = re.findall(r'check\("([\d.]+)"', text)
        assert asked == [number for number in answers.EXERCISES if number[0] == name[-1]]
        assert [*map(str, re.findall(r"\*\*Exercise ([\d.]+)\.\*\*", text))] == asked


def test_what_is_only_for_trying_out_is_not_shown() -> None:
    assert "# quick" not in json.dumps([labs.as_notebook(name) for name in labs.LABS])
    assert "EPOCHS = 5\n" in labs.cells("lab1")[1].text
    assert "EPOCHS = 0.1\n" in labs.cells("lab1", quick=True)[1].text


def test_solutions_are_right() -> None:
    """The teachers' page solves every exercise, and each answer is needed."""
    page = (ROOT / "docs" / "teachers.md").read_text("utf-8")
    space: dict[str, object] = {}
    checks: list[str] = []
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        tree = ast.parse(block)
        for node in tree.body:
            if isinstance(node, ast.Expr):
                verdict = eval(compile(ast.Expression(node.value), "teachers.md", "eval"), space)
                assert verdict, verdict
                checks.append(verdict.exercise)
            else:
                exec(compile(ast.Module([node], []), "teachers.md", "exec"), space)
    assert checks == [*answers.EXERCISES]


@pytest.mark.parametrize("exercise", answers.EXERCISES)
def test_wrong_answers_get_a_hint(exercise: str) -> None:
    waiting = labs.check(exercise)
    assert not waiting
    assert answers.EXERCISES[exercise].question in repr(waiting)
    for wrong in (-7.5, "z", lambda *given: given[0] * 0 - 3, lambda: 1):
        verdict = labs.check(exercise, wrong)
        assert not verdict
        assert answers.EXERCISES[exercise].hint in repr(verdict)


def test_a_function_that_was_not_written_yet_is_no_answer() -> None:
    assert "waiting" in repr(labs.check("1.1", lambda mean, log_variance: ...))
    with pytest.raises(UsageError, match=r"no exercise '9\.9'"):
        labs.check("9.9", 1)


def test_a_lab_is_copied_beside_the_user(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("new", "lab1", importing=False)
    assert done.status == 0, done.err
    assert "jupyter lab lab1.ipynb" in done.out
    notebook = json.loads((tmp_path / "lab1.ipynb").read_text("utf-8"))
    assert notebook == labs.as_notebook("lab1")
    assert "may hold your work" in one_sentence(genmnist("new", "lab1"), 2)
    assert "no lab 'lab9'" in one_sentence(genmnist("new", "lab9"), 2)
    assert "lab4 (One theory" in one_sentence(genmnist("new", "lab9"), 2)
    assert genmnist("new", "lab5", "--out", "course/five.ipynb").status == 0


def test_copies_are_notebooks() -> None:
    nbformat = pytest.importorskip("nbformat")
    for name in labs.LABS:
        nbformat.validate(nbformat.from_dict(labs.as_notebook(name)))


@pytest.mark.parametrize("name", labs.LABS)
def test_notebooks_are_those_of_the_labs(name: str) -> None:
    """What `make notebooks` wrote is what the labs say today, and it ran clean."""
    kept = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8"))
    sources = ["".join(cell["source"]) for cell in kept["cells"]]
    assert sources == [cell.text for cell in labs.cells(name)], "run `make notebooks`"
    outputs = [output for cell in kept["cells"] for output in cell.get("outputs", [])]
    assert outputs
    assert {output["output_type"] for output in outputs} <= {"execute_result", "display_data", "stream"}
    assert not [output for output in outputs if output.get("name") == "stderr"]
