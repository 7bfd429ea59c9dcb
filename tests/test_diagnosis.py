"""Why output looks like noise: each of the seven causes, in a run that has it; and a run that has none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genmnist
from conftest import Command, one_sentence
from genmnist.data import Dataset, Splits
from genmnist.diffusion import schedules
from genmnist.errors import GenmnistError
from genmnist.registry import SCHEDULES
from genmnist.runs import checkpoint
from genmnist.runs.documents import ModelHeader
from genmnist.training.diagnosis import CAUSES, Diagnosis, diagnose

SAMPLER, AVERAGE, LENGTH, PIXELS, EXPLODED, NORMALISED, WEIGHTS = CAUSES


def found(diagnosis: Diagnosis) -> set[str]:
    return {finding.cause for finding in diagnosis.causes}


def short(data: Splits, out: Path, **more: Any) -> genmnist.Run:
    """Train a small diffusion model for a few steps."""
    options = {"size": "tiny", **more.pop("options", {})}
    given = {"steps": 3, "sample_every": 0, "device": "cpu", **more}
    return genmnist.train("ddpm", data=data, options=options, out=out, **given)


@pytest.fixture(scope="module")
def brief(few: Splits, tmp_path_factory: pytest.TempPathFactory) -> genmnist.Run:
    """A run of three steps, with an average that is long enough."""
    options, folder = {"noise_schedule": "cosine"}, tmp_path_factory.mktemp("brief") / "run"
    return short(few, folder, options=options, recipe={"ema": 0.99})


@pytest.fixture
def copied(brief: genmnist.Run, tmp_path: Path) -> genmnist.Run:
    return genmnist.Run.open(shutil.copytree(brief.folder, tmp_path / "run"))


def spoil(run: genmnist.Run) -> None:
    """Move the weights of a run, and nothing else."""
    model, header = checkpoint.load(run.model_file, None)
    assert isinstance(header, ModelHeader)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3)
    checkpoint.save(run.model_file, model, header.preset, header.training, header.metrics)


def images(data: Splits, change: Callable[[Tensor], Tensor], *parts: str) -> Splits:
    """Return data with the images of some parts changed."""
    changed: dict[str, Dataset] = {
        name: replace(part, images=change(part.images))
        for name, part in data._asdict().items()
        if name in parts
    }
    return data._replace(**changed)


def test_a_sound_run_has_none(few: Splits, tmp_path: Path) -> None:
    run = genmnist.train("vae", data=few, options={"hidden": 64, "latent": 4}, recipe={"epochs": 24},
                         out=tmp_path / "run", sample_every=0, device="cpu")  # fmt: skip
    diagnosis = diagnose(run, data=few)
    assert not diagnosis.causes
    assert not diagnosis.left_out
    assert "not found" in diagnosis._repr_html_()


def test_a_sampler_that_the_model_cannot_follow(few: Splits, brief: genmnist.Run) -> None:
    assert found(diagnose(brief, data=few)) == {LENGTH}
    hasty = diagnose(brief, data=few, sampler="ancestral", steps=16)
    assert SAMPLER in found(hasty)
    assert "16 steps are too few" in hasty.causes[0].found
    assert SAMPLER not in found(diagnose(brief, sampler="ancestral", steps=1000))
    assert SAMPLER in found(diagnose(brief, spacing="leading", steps=8))


def test_a_schedule_that_does_not_end_in_noise(
    few: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SCHEDULES, "_entries", {**SCHEDULES._entries})
    SCHEDULES.register("gentle")(lambda timesteps: schedules.linear(timesteps, last=0.002))
    run = short(few, tmp_path / "run", options={"noise_schedule": "gentle"})
    finding = diagnose(run, data=few).causes[0]
    assert finding.cause == SAMPLER
    assert "the noise schedule gentle leaves" in finding.found


def test_an_average_of_next_to_nothing(few: Splits, tmp_path: Path) -> None:
    assert AVERAGE in found(diagnose(short(few, tmp_path / "run", recipe={"ema": 0.5}), data=few))


def test_weights_that_are_not_what_was_measured(few: Splits, copied: genmnist.Run) -> None:
    """Such an average is worse than the weights that it averages, too."""
    spoil(copied)
    assert found(diagnose(copied, data=few)) == {AVERAGE, LENGTH, WEIGHTS}
    assert "and the run recorded" in diagnose(copied, data=few).causes[-1].found


def test_too_little_training(few: Splits, brief: genmnist.Run) -> None:
    (finding,) = diagnose(brief, data=few).causes
    assert "has seen 192 images, less than each of them once" in finding.found


@pytest.mark.slow
def test_dim_images(few: Splits, tmp_path: Path) -> None:
    dim = images(few, lambda bright: bright // 5, "train", "validation", "test")
    run = short(dim, tmp_path / "run")
    assert PIXELS in found(diagnose(run, data=dim))
    assert PIXELS not in found(diagnose(run, data=few))


def test_a_loss_that_exploded(few: Splits, tmp_path: Path) -> None:
    """The learning rate rises for the whole training, until it is too high."""
    recipe = {"epochs": 8, "lr": 10.0, "optimizer": "adamw", "warmup": 1.0}
    run = genmnist.train("vae", data=few, options={"hidden": 32, "latent": 4}, recipe=recipe,
                         out=tmp_path / "run", sample_every=0, device="cpu")  # fmt: skip
    assert EXPLODED in found(diagnose(run, data=few))


def test_a_loss_that_exploded_before_anything_was_saved(few: Splits, tmp_path: Path) -> None:
    with pytest.raises(GenmnistError, match="no longer finite"):
        short(few, tmp_path / "run", steps=200,
              recipe={"lr": 10.0, "clip": 0.0, "warmup": 0.0, "optimizer": "adamw"})  # fmt: skip
    diagnosis = diagnose(tmp_path / "run", data=few)
    assert found(diagnosis) == {EXPLODED}
    assert "no weights" in diagnosis.left_out


class Normalised(nn.Module):
    """A network whose batch normalisation learns its statistics far too slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8, momentum=1e-5)
        self.out = nn.Conv2d(8, 1, 3, padding=1)
        nn.init.constant_(self.scale.bias, 30.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor, log_snr: Tensor, labels: Tensor | None = None) -> Tensor:
        answer: Tensor = self.out(self.norm(self.scale(x)))
        return answer


def test_batch_normalisation_that_does_not_fit(few: Splits, tmp_path: Path) -> None:
    run = genmnist.train("ddpm", data=few, network=Normalised(), steps=20, recipe={"optimizer": "adamw"},
                         out=tmp_path / "run", sample_every=0, device="cpu")  # fmt: skip
    assert NORMALISED in found(diagnose(run, data=few, network=Normalised()))


def test_images_that_were_prepared_in_different_ways(few: Splits, tmp_path: Path) -> None:
    mixed = images(few, lambda dark: 255 - dark, "validation")
    run = short(mixed, tmp_path / "run")
    assert NORMALISED in found(diagnose(run, data=mixed))
    assert NORMALISED not in found(diagnose(run, data=few))


def test_weights_of_another_run(few: Splits, copied: genmnist.Run, tmp_path: Path) -> None:
    other = short(few, tmp_path / "other", seed=1)
    shutil.copy(other.model_file, copied.model_file)
    (finding,) = (one for one in diagnose(copied, data=few).causes if one.cause == WEIGHTS)
    assert "other seed" in finding.found


def test_the_doctor_says_so(genmnist: Command, copied: genmnist.Run) -> None:
    done = genmnist("doctor", copied.folder, "--sampler", "ancestral", "--steps", 16, "--json")
    assert done.status == 0, done.err
    assert [cause["cause"] for cause in done.json["causes"]] == [SAMPLER, LENGTH]
    assert "1 of the 7 usual causes were found" in genmnist("doctor", copied.folder).out
    assert "not a run folder" in one_sentence(genmnist("doctor", "absent", importing=False), 2)
    assert "name the run" in one_sentence(genmnist("doctor", "--steps", 3, importing=False), 2)


def test_without_its_data_a_run_is_looked_at_as_far_as_that_goes(brief: genmnist.Run) -> None:
    diagnosis = diagnose(brief)
    assert "not here" in diagnosis.left_out
    assert LENGTH in found(diagnosis)
