"""Which model, and which data, a request means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import genmnist
from genmnist.data import Splits
from genmnist.errors import GenmnistError, UsageError
from genmnist.models import ByClassifier, Classifier, Diffusion
from genmnist.runs.documents import Training
from genmnist.runs.find import WEIGHTS, bundled, find, find_data, latest
from genmnist.runs.folder import Run
from small_runs import SMALL, broken_off


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without any run, in which the test works."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def quickly(family: str, few: Splits, **options: Any) -> Run:
    small = {"vae": SMALL, "classifier": {"width": 8}}[family]
    return genmnist.train(family, data=few, options=small | options, steps=1, device="cpu", sample_every=0)


def finished_at(run: Run, seconds: float) -> None:
    """Let a run have finished at a certain time."""
    os.utime(run.summary_file, (seconds, seconds))


def test_which_model_a_request_means(work: Path, few: Splits) -> None:
    assert find("vae").origin == "the bundled vae"
    with pytest.raises(GenmnistError, match=r"no finished run of vae under runs.vae: `genmnist train vae`"):
        find("vae", "latest")
    first, second = (quickly("vae", few) for _ in range(2))
    finished_at(first, 1000)
    assert first.folder != second.folder
    found = find("vae")
    assert (found.path, found.origin) == (second.model_file, f"run {second.folder}")
    assert find("vae", "latest") == found
    assert found.run is not None
    assert found.run.folder == second.folder
    finished_at(first, 2_000_000_000)  # what counts is which finished last
    assert find("vae").path == first.model_file
    first.summary_file.unlink()  # as if it had not finished
    assert find("vae").path == second.model_file
    assert latest("ddpm") is None
    assert find("vae", "bundled").origin == "the bundled vae"
    assert find("vae", "bundled").run is None


def test_a_path_is_a_run_or_a_file(work: Path, few: Splits) -> None:
    run = quickly("vae", few)
    for given in (run, run.folder, str(run.folder)):
        found = find("vae", given)
        assert (found.path, found.origin) == (run.model_file, f"run {run.folder}")
        assert find(None, given) == found
    file = find("vae", run.model_file)
    assert (file.path, file.origin) == (run.model_file, f"file {run.model_file}")
    assert file.run is not None
    assert find(None, WEIGHTS / "vae.safetensors").run is None


def test_a_run_that_has_not_finished_says_so(work: Path, few: Splits) -> None:
    run = broken_off(work / "run", None, data=few)
    assert find("vae", run).origin == f"run {work / 'run'}, which has not finished"
    run.model_file.unlink()
    with pytest.raises(GenmnistError, match="has saved no model yet: `resume` it"):
        find("vae", run)


def test_what_is_not_there(work: Path) -> None:
    with pytest.raises(UsageError, match="no family 'gan'"):
        find("gan")
    with pytest.raises(UsageError, match=r"there is no absent\.safetensors: a `model` is a "):
        find("vae", "absent.safetensors")
    with pytest.raises(UsageError, match="not a run folder"):
        find("vae", work)
    with pytest.raises(UsageError, match="name a family"):
        find()
    with pytest.raises(UsageError, match="there is no bundled vae called 'large'"):
        find("vae", "bundled:large")
    with pytest.raises(
        UsageError, match=r"there is no bundled classifier called 'loud'.*there is bundled:noisy"
    ):
        find("classifier", "bundled:loud")


def test_the_noisy_classifier_is_a_variant(work: Path) -> None:
    clean, noisy = WEIGHTS / "classifier.safetensors", WEIGHTS / "classifier-noisy.safetensors"
    assert bundled("classifier") == find("classifier").path == find("classifier", "bundled").path == clean
    assert bundled("classifier", "noisy") == find("classifier", "bundled:noisy").path == noisy
    assert find("classifier", variant="noisy").path == noisy
    assert find("classifier", "bundled", variant="noisy").path == noisy
    assert find("classifier", variant="noisy").origin == "the bundled classifier noisy"
    loaded = [genmnist.load("classifier", name, device="cpu") for name in ("bundled", "bundled:noisy")]
    assert [model.options.noisy for model in loaded] == [False, True]
    with pytest.raises(UsageError, match="knows clean images only"):
        ByClassifier(loaded[0])
    model = genmnist.load("ddpm", "bundled", device="cpu")
    drawn = model.sample(4, labels=[7], guide=ByClassifier(loaded[1], 5.0), steps=8)
    assert loaded[0].decide(loaded[0].features(drawn)).tolist() == [7] * 4


def test_the_latest_classifier_is_of_the_variant_asked_for(work: Path, few: Splits) -> None:
    clean = quickly("classifier", few)
    assert find("classifier").path == clean.model_file
    assert find("classifier", variant="noisy").path == WEIGHTS / "classifier-noisy.safetensors"
    with pytest.raises(GenmnistError, match="no finished run of classifier noisy"):
        find("classifier", "latest", "noisy")
    noisy = quickly("classifier", few, noisy=True)
    finished_at(clean, 1000)
    for model in (None, "latest"):
        assert find("classifier", model).path == clean.model_file  # though the noisy one is newer
        assert find("classifier", model, "noisy").path == noisy.model_file
    for run in (clean, noisy):
        found = latest("classifier", "noisy" if run is noisy else "")
        assert found is not None
        assert found.folder == run.folder


def test_the_data_of_a_model_are_those_it_was_trained_on(mnist: Splits) -> None:
    trained = genmnist.load("vae", "bundled", device="cpu").trained
    before = find_data(trained)  # as it was before images were held out
    assert [len(part) for part in before] == [60_000, 10_000, 10_000]
    assert torch.equal(before.validation.images, mnist.test.images)
    today = find_data(Training(validation="held-out"))
    assert [len(part) for part in today] == [55_000, 5_000, 10_000]
    assert torch.equal(today.validation.images, mnist.validation.images)
    assert [len(part) for part in find_data(None)] == [55_000, 5_000, 10_000]
    assert before.checksum() == today.checksum() == trained.data_checksum


def test_data_that_cannot_be_found_again_are_asked_for(idx_folder: Path) -> None:
    folder = Training(data_dir=str(idx_folder), validation="held-out")
    with pytest.raises(UsageError, match="was trained on a folder of images: name it by `data_dir`"):
        find_data(folder)
    assert len(find_data(folder, data_dir=idx_folder).train) == 900
    assert len(find_data(folder, "mnist").train) == 55_000
    with pytest.raises(UsageError, match="was trained on data 'own': name a `dataset` or a `data_dir`"):
        find_data(Training(dataset="own"))


def test_what_is_loaded_is_what_was_named(work: Path, few: Splits) -> None:
    run = quickly("vae", few)
    model = genmnist.load("vae", run, device="cpu", precision="bfloat16")
    assert model.precision == "bfloat16"
    assert not model.training
    assert model.trained is not None
    assert (model.trained.dataset, model.trained.data_checksum) == ("own", few.checksum())
    assert type(genmnist.load(None, run, device="cpu")) is type(model)
    with pytest.raises(
        GenmnistError, match="holds a vae, not a ddpm: take the command for vae, or another file"
    ):
        genmnist.load("ddpm", run, device="cpu")
    header, tensors = genmnist.info(run.folder)
    assert header.family == "vae"
    assert tensors.keys() == model.state_dict().keys()
    assert isinstance(genmnist.load("ddpm", "bundled", device="cpu"), Diffusion)
    assert isinstance(genmnist.load("classifier", "bundled", device="cpu"), Classifier)
