"""Run folders: what a training leaves on disk, and what it does not overwrite."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import pytest
import torch

import genmnist
from conftest import CPU, weight
from genmnist.data import Splits
from genmnist.errors import GenmnistError, UsageError
from genmnist.families import Recipe
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE
from genmnist.runs import checkpoint
from genmnist.runs.find import find
from genmnist.runs.folder import Run, check_vacant
from genmnist.training import Trainer, recorder
from small_runs import SMALL, broken_off, same, train


def test_a_run_folder_has_what_it_should(tmp_path: Path, idx_folder: Path) -> None:
    run = train(tmp_path / "run", idx_folder)
    assert {path.name for path in run.folder.iterdir()} - {".lock"} == {
        "config.json", "metrics.jsonl", "model.safetensors", "state.safetensors", "samples", "losses.png",
        "samples-by-epoch.png", "summary.json",
    }  # fmt: skip
    assert run.pictures == [(number, run.samples / f"epoch_00{number}.png") for number in range(3)]
    assert sorted(run.samples.iterdir()) == [path for _, path in run.pictures]
    assert [line.epoch for line in run.metrics] == [1, 2]
    assert run.finished
    assert run.summary.metrics == run.metrics[-1].flat()
    assert run.config.steps == run.summary.steps == 16
    assert run.summary.options == run.config.options == VAEOptions.of(SMALL).asdict() | {"shape": [1, 28, 28]}
    model, header = checkpoint.load(run.model_file)
    assert run.summary.parameters == sum(weight.numel() for weight in model.parameters())
    assert header.metrics == run.metrics[-1].flat()
    config, training = run.config, header.training
    for name in (
        "recipe",
        "seed",
        "dataset",
        "data_dir",
        "validation",
        "data_checksum",
        "versions",
        "machine",
    ):
        assert getattr(training, name) == getattr(config, name), name
    assert (training.device, training.precision, training.step, training.steps) == ("cpu", "float32", 16, 16)
    assert model.trained == training
    loaded = genmnist.load("vae", run, device="cpu")
    assert loaded.sample(1).shape == (1, 28, 28)
    assert same(dict(model.state_dict()), dict(checkpoint.load(find(None, run.folder).path)[0].state_dict()))


def test_pictures_are_drawn_as_often_as_is_said(tmp_path: Path, few: Splits) -> None:
    recipe = {"epochs": 3, "batch_size": 500}
    seldom = train(tmp_path / "seldom", None, data=few, recipe=recipe, sample_every=2)
    assert [epoch for epoch, _ in seldom.pictures] == [0, 2, 3]  # the first, every other one, and the last
    never = train(tmp_path / "never", None, data=few, recipe=recipe, sample_every=0)
    assert never.pictures == []
    assert not never.by_epoch_file.exists()
    assert never.finished


def test_a_run_on_the_same_seed_is_the_same_run(tmp_path: Path, few: Splits) -> None:
    runs = [
        train(tmp_path / name, None, data=few, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    first, second, other = (checkpoint.read(run.model_file)[1] for run in runs)
    assert same(first, second)
    assert not same(first, other)


def test_a_taken_folder_is_not_trained_into(tmp_path: Path, idx_folder: Path) -> None:
    train(tmp_path / "run", idx_folder, steps=1)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="holds a run already: `resume` it, or name another `out`"):
        train(tmp_path / "run", idx_folder)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises(UsageError, match="not an empty folder: name another `out`"):
        train(tmp_path / "other", idx_folder)
    with pytest.raises(UsageError, match="not an empty folder"):
        check_vacant(tmp_path / "other" / "file")
    check_vacant(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    check_vacant(tmp_path / "empty")


@pytest.mark.parametrize("there", [False, True])
def test_a_disk_that_fills_at_the_first_file_leaves_no_folder_that_is_taken(
    there: bool, tmp_path: Path, few: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    if there:
        folder.mkdir()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_bytes", full)
        with pytest.raises(GenmnistError, match="no space left on device"):
            train(folder, None, data=few, steps=1)
    assert folder.exists() == there
    assert not there or not [*folder.iterdir()]
    assert train(folder, None, data=few, steps=1).finished


def test_a_folder_that_cannot_be_made_gets_a_sentence(tmp_path: Path, few: Splits) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GenmnistError, match="cannot write"):
        train(tmp_path / "file" / "below", None, data=few, steps=1)


def test_runs_of_one_second_have_folders_of_their_own(
    tmp_path: Path, few: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [train(None, None, data=few, steps=1, sample_every=0) for _ in range(3)]
    assert len({run.folder for run in runs}) == 3
    assert {run.folder.parent for run in runs} == {Path("runs/vae")}


def test_what_is_no_run_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run folder"):
        Run.open(tmp_path)
    with pytest.raises(UsageError, match="not a run folder"):
        Run.unfinished(tmp_path / "absent")
    with pytest.raises(GenmnistError, match="cannot read"):
        _ = Run(tmp_path).summary
    assert Run(tmp_path).metrics == []


def test_a_lock_is_free_again_after_an_error(tmp_path: Path, idx_folder: Path) -> None:
    run = broken_off(tmp_path / "run", idx_folder)
    with run.locked():
        assert run.config.seed == 0
    with run.locked(), pytest.raises(GenmnistError, match="another process"), run.locked():
        pass


def test_metrics_stand_on_disk_a_line_an_epoch(tmp_path: Path, few: Splits) -> None:
    run = train(tmp_path / "run", None, data=few)
    lines = [json.loads(line) for line in run.metrics_file.read_text("utf-8").splitlines()]
    assert [line.flat() for line in run.metrics] == lines
    assert [*lines[0]] == [
        "epoch", "step", "train_loss", "val_loss", "val_reconstruction", "val_kl", "lr", "seconds",
        "images_per_second",
    ]  # fmt: skip
    assert [[*line.flat()] for line in run.metrics] == [[*line] for line in lines]


def test_the_last_good_model_stays_when_the_weights_go_bad(tmp_path: Path, few: Splits) -> None:
    run = broken_off(tmp_path / "run", None, data=few)
    good = run.model_file.read_bytes(), run.state_file.read_bytes()
    torch.manual_seed(0)
    trainer = Trainer(VAE(VAEOptions.of(SMALL)).place(CPU, "float32"), few, Recipe())
    weight(trainer.model, "decoder.0.weight").fill_(math.inf)
    with pytest.raises(GenmnistError, match="no longer finite"):
        recorder.save(run, trainer, run.config)
    assert (run.model_file.read_bytes(), run.state_file.read_bytes()) == good
