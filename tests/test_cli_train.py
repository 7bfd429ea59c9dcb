"""`genmnist train` as a user runs it: in a process of its own, its files opened again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import SMALL_VAE, Command, metadata, picture
from genmnist.runs import checkpoint


def config(folder: Path) -> dict[str, Any]:
    """Return what a run says of how to repeat it."""
    document: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return document


def test_a_run_leaves_what_it_should(vae_run: str, tmp_path: Path) -> None:
    names = sorted(path.name for path in (tmp_path / vae_run).iterdir() if path.name != ".lock")
    assert names == [
        "config.json", "losses.png", "metrics.jsonl", "model.safetensors", "samples", "samples-by-epoch.png",
        "state.safetensors", "summary.json",
    ]  # fmt: skip
    picture(tmp_path / vae_run / "losses.png")
    picture(tmp_path / vae_run / "samples" / "epoch_002.png")
    for name in ("losses.png", "samples-by-epoch.png", "samples/epoch_002.png"):
        told = metadata(tmp_path / vae_run / name)
        assert told["Command"].startswith("genmnist train vae --data-dir")
        assert (told["Model"], told["Seed"]) == ("vae, preset report", "0")
    said = config(tmp_path / vae_run)
    assert said["recipe"]["epochs"] == 2
    assert said["versions"]["torch"]
    assert not said["deterministic"]
    lines = [json.loads(line) for line in (tmp_path / vae_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[1]["val_loss"] < lines[0]["val_loss"]


def test_epochs_are_printed(genmnist: Command, idx_folder: Path) -> None:
    done = genmnist("train", "vae", "--data-dir", idx_folder, "--epochs", 2, *SMALL_VAE)
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "16 steps of 128 images: 2 epochs"
    assert lines[1].startswith("16 steps only, too few to learn anything: ")
    assert [line.split()[:2] for line in lines[2:4]] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert "validation loss" in done.out


def test_the_document_is_all_that_json_prints(genmnist: Command, idx_folder: Path) -> None:
    done = genmnist("train", "vae", "--data-dir", idx_folder, "--steps", 3, "--json", *SMALL_VAE)
    assert done.status == 0, done.err
    assert done.json["steps"] == 3
    assert done.json["metrics"]["val_loss"] > 0
    assert "validation" in done.err
    assert Path(done.json["run"]).parts[:2] == ("runs", "vae")


def test_quiet_prints_nothing(genmnist: Command, idx_folder: Path) -> None:
    done = genmnist("train", "vae", "--data-dir", idx_folder, "--budget", "2s", "--quiet", *SMALL_VAE)
    assert (done.status, done.out, done.err) == (0, "", "")


def test_old_names_of_options_go_on_working(genmnist: Command, idx_folder: Path, tmp_path: Path) -> None:
    """`--noise` and `--schedule` have clearer names now; scripts that say the old ones need not change."""
    words = ("train", "ddpm", "--data-dir", idx_folder, "--size", "tiny", "--steps", 1, "--batch-size", 8,
             "--sample-every", 0, "--device", "cpu")  # fmt: skip
    old = ("--noise", "linear", "--schedule", "steps", "--drop", 0.3, "--drop-every", 0.2)
    new = ("--noise-schedule", "linear", "--lr-schedule", "steps", "--lr-drop", 0.3, "--lr-drop-every", 0.2)
    for name, options in (("old", old), ("new", new)):
        done = genmnist(*words, *options, "--out", name)
        assert done.status == 0, done.err
        said = config(tmp_path / name)
        assert said["options"]["noise_schedule"] == "linear"
        assert (said["recipe"]["lr_schedule"], said["recipe"]["lr_drop"]) == ("steps", 0.3)
        assert said["recipe"]["lr_drop_every"] == 0.2
    shown = genmnist("train", "ddpm", "--help").out
    assert "--noise-schedule" in shown
    assert not {"--noise", "--schedule", "--drop", "--drop-every"} & set(shown.split())


_WATCHED = """
from pathlib import Path
import numpy as np
import torch
from genmnist.registry import DATASETS

@DATASETS.register("watched")
def watched():
    Path("seen").write_text(str(torch.are_deterministic_algorithms_enabled()))
    images = np.random.default_rng(0).integers(0, 256, (120, 28, 28), dtype=np.uint8)
    return images, np.arange(120) % 10
"""


@pytest.mark.parametrize("asked", [True, False])
def test_deterministic_kernels_are_a_choice(genmnist: Command, tmp_path: Path, asked: bool) -> None:
    """As a data set that looks, while it is loaded for a training, finds torch."""
    (tmp_path / "watched.py").write_text(_WATCHED)
    words = ("train", "vae", "--plugin", "watched.py", "--dataset", "watched", "--steps", 3, *SMALL_VAE)
    weights = []
    for name in ("one", "two"):
        done = genmnist(*words, *(["--deterministic"] if asked else []), "--out", name)
        assert done.status == 0, done.err
        assert (tmp_path / "seen").read_text() == str(asked)
        assert config(tmp_path / name)["deterministic"] is asked
        weights.append(checkpoint.read(tmp_path / name / "model.safetensors")[1])
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_a_compiled_step_learns_the_same(genmnist: Command, idx_folder: Path) -> None:
    words = ("train", "vae", "--data-dir", idx_folder, "--epochs", 3, "--precision", "float32", "--json",
             *SMALL_VAE)  # fmt: skip
    eager, compiled = genmnist(*words), genmnist(*words, "--compile")
    assert compiled.status == 0, compiled.err
    losses = [done.json["metrics"]["val_loss"] for done in (eager, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
