"""What `--help` shows, and what a shell completes."""

from __future__ import annotations

import functools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from conftest import Command
from genmnist.cli.app import build
from genmnist.cli.values import joined
from genmnist.families.vae import VAE

TREE: Any = typer.main.get_command(build())
PATHS = [
    (name, *([child] if child else []))
    for name, command in TREE.commands.items()
    for child in getattr(command, "commands", {"": None})
]


def command(path: tuple[str, ...]) -> Any:
    found = TREE
    for name in path:
        found = found.commands[name]
    return found


def run(*words: str, **environment: str) -> Result:
    done = CliRunner(env={"COLUMNS": "200", **environment}).invoke(
        build(words or None), words, prog_name="genmnist"
    )
    assert done.exception is None, str(done.exception)
    return done


@functools.cache
def help_of(*path: str) -> str:
    """Return what the help of a command shows, which several tests look at."""
    return run(*path, "--help").output


def test_help_has_a_short_name() -> None:
    assert run("sample", "cfg", "-h").output == help_of("sample", "cfg")
    assert run("-h").output == help_of()


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_help_shows_all_that_was_written_and_no_types(path: tuple[str, ...]) -> None:
    page = help_of(*path)
    assert not re.search(
        r"<(bool|int|float)|range[>\\]]|x<=|x>=|default: \(|default: [0-9]+\.0\b|\[/?dim", page
    )
    shown = re.sub(r"[│\s]+", "", page)  # texts are broken over lines, but in their order
    for parameter in command(path).params:
        if not getattr(parameter, "hidden", False):
            # Beside a name in another column a text of several lines is not in one piece; its words are.
            for word in parameter.help.replace("\\[", "[").split():
                assert word in shown


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_examples_can_be_typed(path: tuple[str, ...]) -> None:
    page = help_of(*path)
    examples = command(path).callback.examples
    assert examples
    for example in examples:
        assert f"genmnist {example}\n" in page
        words = shlex.split(example)
        assert tuple(words[: len(path)]) == path
        known = {name for p in command(path).params for name in (*p.opts, *p.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, example


def test_what_people_come_for_stands_first() -> None:
    page = help_of("sample", "cfg")
    places = [page.index(f"--{name} ") for name in ("label", "guidance", "num", "sampler", "model", "device")]
    assert places == sorted(places)
    names = re.findall(r"^│ ([a-z-]+) ", help_of(), re.MULTILINE)
    assert [name for name in names if not name.startswith("-")] == [
        "train", "sample", "reconstruct", "traverse", "interpolate", "reverse-trace", "complete",
        "edit", "evaluate", "average", "export", "score", "report", "explore", "compare",
        "info", "data", "doctor", "new",
    ]  # fmt: skip


def test_help_shows_the_values_of_the_default_preset() -> None:
    page = help_of("train", "vae")
    for option, value in (("latent", 20), ("lr", 0.001), ("epochs", 20)):
        assert re.search(rf"--{option} .*default: {value}\]", page), option
    assert "default: report]" in page
    assert "default: 10m]" in help_of("train", "ddpm")
    assert "the preset's" not in page


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("sample cfg", {"sampler": "ddim", "eta": "the sampler's", "guidance": "0.5", "temperature": "1"}),
        ("interpolate cfg", {"sampler": "dpm-solver", "eta": "0", "guidance": "0"}),
        ("train cfg", {"dataset": "mnist"}),
        ("evaluate cfg", {"dataset": "what the model saw", "likelihood-steps": "500"}),
    ],
)
def test_help_shows_the_defaults_of_that_command(path: str, shown: dict[str, str]) -> None:
    page = help_of(*path.split())
    for option, default in shown.items():
        assert re.search(rf"--{option} [^\[]*\[default: {re.escape(default)}\]", page), option
    assert "--likelihood-steps" not in help_of("evaluate", "vae")


def test_a_preset_shows_all_its_values(genmnist: Command) -> None:
    show = ("train", "vae", "--preset", "conv", "--show")
    document = genmnist(*show, "--lr", 0.5, "--json", importing=False).json
    _, preset = VAE.preset("conv")
    assert document["options"] == json.loads(json.dumps(preset.options.asdict()))
    assert document["recipe"] == preset.recipe.asdict() | {"lr": 0.5}
    assert (document["preset"], document["epochs"]) == ("conv", 13)
    assert re.search(r"--latent +32 +Latent factors", genmnist(*show).out)
    shown = [genmnist("train", "ddpm", "--show", "--json", *words).json for words in ((), ("--epochs", 3))]
    assert [document.get("budget") for document in shown] == ["10m", None]
    assert [document.get("epochs") for document in shown] == [None, 3]


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("train ddpm --preset ", ["fast", "best", "likelihood", "report"]),
        ("sample ddpm --sampler d", ["dpm-solver", "ddim"]),
        ("train vae --dataset k", ["kmnist"]),
        ("train vae --optimizer ", ["adam", "adamw", "muon"]),
        ("interpolate cfg --space l", ["latent", "label"]),
        ("sample vae --model ", ["latest", "bundled", "runs/vae/one", "mine.safetensors"]),
        ("report ", ["runs/vae/one"]),
        ("train vae --resume r", ["runs/vae/one"]),
        ("info c", ["cfg", "classifier"]),
        ("sample ", ["vae", "ddpm", "cfg", "few"]),
        ("evaluate vae --features ", ["latest", "bundled", "runs/vae/one", "mine.safetensors"]),
    ],
)
def test_values_are_completed(
    line: str, among: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "vae" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "vae" / "one" / "config.json").write_text("{}")
    (tmp_path / "mine.safetensors").write_text("")
    words = f"genmnist {line}"
    done = run(
        _GENMNIST_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
    )
    assert done.output.split() == among


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--label 3 8", "--label 3,8"),
        ("--label 3, 8 --num 2", "--label 3,8 --num 2"),
        ("--label=3 8", "--label=3,8"),
        ("--num 2 --label 3", "--num 2 --label 3"),
        ("--guidance-sweep -1 0 .5", "--guidance-sweep -1,0,.5"),
        ("--label", "--label"),
        ("--num 2 3", "--num 2 3"),
        ("--label 3 -q", "--label 3 -q"),
    ],
)
def test_several_values_are_typed_with_commas_or_spaces(typed: str, read: str) -> None:
    assert joined(typed.split(), {"--label", "--guidance-sweep"}) == read.split()
