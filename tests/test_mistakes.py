"""The natural mistakes of a new user, in `mistakes.txt`: each gets its sentence, and leaves nothing behind.

All of them run in one process, through the program's own `main`, because starting it is what takes the time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genmnist.runs.find import WEIGHTS

TABLE = Path(__file__).with_name("mistakes.txt").read_text("utf-8")
COMMANDS = re.findall(r"^\$ genmnist (.*)\n(\d) (.*)$", TABLE, re.MULTILINE)
CODE = re.findall(r"^>>> (.*)\n(.*)$", TABLE, re.MULTILINE)

_EACH = """
import contextlib, io, json, shlex, sys
import numpy, torch
import genmnist
from genmnist.cli import main
commands, code = json.load(sys.stdin)
answers = []
for line in commands:
    sys.argv = ["genmnist", *shlex.split(line)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main()
        except SystemExit as end:
            status = end.code
    *before, last = err.getvalue().splitlines() or [""]
    answers.append([str(status), last.removeprefix("genmnist: ")])
model = genmnist.load("cfg", device="cpu")
images, labels = numpy.zeros((20, 28, 28), numpy.uint8), numpy.arange(20)
for line in code:
    try:
        exec(line)
        answers.append("nothing")
    except genmnist.UsageError as error:
        answers.append(str(error))
    except Exception as error:
        answers.append(repr(error))
print(json.dumps(answers))
"""


def _around(folder: Path) -> None:
    """Put what the mistakes are made with into a folder."""
    for name, side in (
        ("letters/a", 8),
        ("letters/b", 8),
        ("letters/c", 8),
        ("letters/d", 8),
        ("sizes/a", 9),
    ):
        (folder / name).mkdir(parents=True)
        for number in range(4 if side == 8 else 12):
            picture = np.full((8, side - number % 2 if side == 9 else side), number, np.uint8)
            Image.fromarray(picture).save(folder / name / f"{number:02d}.png")
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("x")
    shutil.copy(WEIGHTS / "ddpm.safetensors", folder)
    np.savez(folder / "scores.npz", scores=np.zeros(3))
    np.savez(folder / "centred.npz", images=np.linspace(-1, 1, 5 * 784).reshape(5, 28, 28))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[list[str] | str]:
    """Make every mistake in one folder, to which none of them adds anything."""
    folder = tmp_path_factory.mktemp("mistakes")
    _around(folder)
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", _EACH],
        input=json.dumps([[line for line, *_ in COMMANDS], [line for line, _ in CODE]]), cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
        check=True,
    )  # fmt: skip
    assert sorted(folder.rglob("*")) == before
    found: list[list[str] | str] = json.loads(done.stdout)
    return found


def is_said(said: str, expected: str) -> bool:
    """Tell whether a sentence is the one expected, or begins as it does before its three dots."""
    beginning, dots, _ = expected.partition("…")
    return said.startswith(beginning) if dots else said == expected


def test_the_table_is_read_whole() -> None:
    mistakes = len(re.findall(r"^(\$|>>>) ", TABLE, re.MULTILINE))
    assert len(COMMANDS) + len(CODE) == mistakes
    assert mistakes > 85


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=lambda number: COMMANDS[number][0][:60])
def test_a_mistake_on_the_command_line(answers: list[list[str] | str], number: int) -> None:
    _, status, sentence = COMMANDS[number]
    assert answers[number][0] == status
    assert is_said(answers[number][1], sentence)


@pytest.mark.parametrize("number", range(len(CODE)), ids=lambda number: CODE[number][0][:60])
def test_a_mistake_in_python(answers: list[list[str] | str], number: int) -> None:
    said = answers[len(COMMANDS) + number]
    assert isinstance(said, str)
    assert is_said(said, CODE[number][1])
