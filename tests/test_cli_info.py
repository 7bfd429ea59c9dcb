"""What the program says of itself, of files, of data and of the machine: help, `info`, `data`, `doctor`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import Command
from genmnist import GenmnistError, __version__
from genmnist.cli.app import build
from genmnist.options import fields
from genmnist.registry import FAMILIES
from genmnist.runs import find


def test_help_names_every_command(genmnist: Command) -> None:
    done = genmnist("--help", importing=False)
    assert (done.status, done.err) == (0, "")
    known = "train sample reconstruct traverse interpolate reverse-trace evaluate report compare info data"
    for command in (*known.split(), "doctor", "new"):
        assert f"│ {command} " in done.out


def test_the_version_is_that_of_the_package(genmnist: Command) -> None:
    done = genmnist("--version", importing=False)
    assert (done.status, done.out, done.err) == (0, f"genmnist {__version__}\n", "")


@pytest.mark.parametrize("name", ["vae", "ddpm", "cfg", "classifier"])
def test_help_names_every_option_of_a_model(genmnist: Command, name: str) -> None:
    family = FAMILIES[name]
    done = genmnist("train", name, "--help", importing=False)
    assert (done.status, done.err) == (0, "")
    assert family.commands["train"] in done.out
    shown = {field.name for field in fields(family.options) if not field.internal}
    words = set(done.out.replace(",", " ").split())
    assert {f"--{option.replace('_', '-')}" for option in shown} <= words
    assert {"--resume", "--deterministic", "--plugin", "--data-dir"} <= words


def test_info_says_what_a_run_holds(genmnist: Command, vae_run: str) -> None:
    document = genmnist("info", vae_run, "--json").json
    assert document["options"]["latent"] == 4
    assert document["finished"]
    assert document["epochs"] == 2
    assert document["parameters"] == sum(
        np.prod(s) for s in ((784, 16), 16, (16, 8), 8, (4, 16), 16, (16, 784), 784)
    )
    assert re.search(r"options\.shape +1, 28, 28", genmnist("info", vae_run).out)


def test_info_knows_bundled_weights_by_name(genmnist: Command) -> None:
    done = genmnist("info", "vae")
    assert done.status == 0, done.err
    assert "float16" in done.out
    assert genmnist("info", "classifier-noisy", "--json").json["options"]["noisy"]


def test_data_says_which_sets_are_here(genmnist: Command, idx_folder: Path) -> None:
    rows = {row["name"]: row for row in genmnist("data", "--json").json["sets"]}
    mnist = rows["mnist"]
    assert (mnist["train"], mnist["validation"], mnist["test"]) == (55_000, 5_000, 10_000)
    assert (mnist["state"], mnist["shape"]) == ("verified", [1, 28, 28])
    assert rows["kmnist"]["state"] == "absent"
    assert rows["cifar10"]["shape"] == [3, 32, 32]
    (row,) = genmnist("data", "--data-dir", idx_folder, "--json").json["sets"]
    assert (row["train"], row["validation"], row["test"]) == (900, 100, 500)


_WITHOUT_WEIGHTS = """
from genmnist.families.family import Family, Preset
from genmnist.families.vae import PriorSampling, VAEOptions
from genmnist.registry import FAMILIES

FAMILIES.register("plain")(Family(
    name="plain", title="a plain autoencoder", model="genmnist.models.vae:VAE",
    presets={"first": Preset("the only one", VAEOptions())}, commands={"train": "Train it."},
    sampling=PriorSampling,
))
"""


def test_doctor_finds_nothing_wrong(genmnist: Command, tmp_path: Path) -> None:
    """Nor with a family that has no bundled weights: there is nothing to be damaged."""
    (tmp_path / "plain.py").write_text(_WITHOUT_WEIGHTS)
    done = genmnist("doctor", "--json", "--device", "cpu", "--plugin", "plain.py")
    assert done.status == 0, done.err
    health = done.json
    assert (health["mnist"], health["problems"]) == ("verified", 0)
    shipped = {name: state for name, state in health.items() if name.startswith("bundled ")}
    names = (
        "vae",
        "ddpm",
        "ddpm-clusters",
        "ddpm-guide",
        "ddpm-likelihood",
        "cfg",
        "cfg-guide",
        "few",
        "few-clusters",
        "classifier",
        "classifier-noisy",
    )
    assert {*shipped} == {f"bundled {name}" for name in names}
    assert {*shipped.values()} == {"verified"}


def test_doctor_names_weights_that_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vae", "classifier"):
        shutil.copy(find.WEIGHTS / f"{name}.safetensors", tmp_path)
    content = bytearray((tmp_path / "vae.safetensors").read_bytes())
    content[-1000] ^= 1
    (tmp_path / "vae.safetensors").write_bytes(content)
    monkeypatch.setattr(find, "WEIGHTS", tmp_path)
    done = CliRunner().invoke(build(), ["doctor", "--device", "cpu", "--json"], prog_name="genmnist")
    assert isinstance(done.exception, GenmnistError)
    assert "1 of the files that ship with genmnist are damaged" in str(done.exception)
    health = json.loads(done.stdout)
    assert "the sum that it states" in health["bundled vae"]
    assert health["bundled classifier"] == "verified"
