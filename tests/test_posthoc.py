"""Averages whose length is chosen after the training: their mathematics, their snapshots, and wrong use."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import genmnist
from conftest import CPU, Command, one_sentence, slow
from damage import tamper
from genmnist.data import Splits
from genmnist.errors import GenmnistError, UsageError
from genmnist.evaluation import distances
from genmnist.evaluation.distances import FeatureSpace
from genmnist.families import Recipe
from genmnist.families.length import Plan
from genmnist.files import TEMPORARY, write_document
from genmnist.models import VAE
from genmnist.runs import checkpoint
from genmnist.runs.folder import Run
from genmnist.training import Event, StepEnd, Trainer, lengths, profiles
from genmnist.training.averages import PowerAverage
from genmnist.training.posthoc import Snapshots
from genmnist.training.profiles import Profile
from genmnist.training.trainer import validate
from small_runs import broken_off, same, tensors, train

KEPT = {"snapshots": 5}
EVENLY = [Profile(step, length) for step in range(500, 8001, 500) for length in (0.05, 0.1)]


def files(run: Run) -> dict[str, dict[str, Tensor]]:
    """Return all snapshots of a run by the names of their files."""
    return {path.name: checkpoint.read(path)[1] for path in sorted(run.averages.glob("*"))}


def weights(average: PowerAverage) -> Tensor:
    """Return the weights of the average of a layer without a bias, as they are now."""
    (found,) = average.module.parameters()
    return found.data.clone()


# --- The mathematics


@pytest.mark.parametrize(("length", "exponent"), [(0.05, 16.97), (0.10, 6.94)])
def test_exponents_are_those_of_the_paper(length: float, exponent: float) -> None:
    assert profiles.exponent(length) == pytest.approx(exponent, abs=0.005)


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_a_length_is_the_width_of_its_profile(length: float) -> None:
    """Integrated numerically: the standard deviation of p(s) ~ s^gamma over the unit interval."""
    exponent = profiles.exponent(length)
    middle = (np.arange(1_000_000) + 0.5) / 1_000_000
    shares = middle**exponent
    mean = np.average(middle, weights=shares)
    assert math.sqrt(np.average((middle - mean) ** 2, weights=shares)) == pytest.approx(length, rel=1e-5)
    assert profiles.length(exponent) == pytest.approx(length, rel=1e-9)


@pytest.mark.parametrize("length", [0.05, 0.2])
def test_an_average_weighs_steps_by_its_profile(length: float) -> None:
    """The weights of step s are the s-th unit vector: so the average shows how each step was weighed."""
    steps, power = 40, profiles.exponent(length) + 1
    network = nn.Linear(1, steps, bias=False)
    average = PowerAverage(network, length)
    for step in range(steps):
        network.weight.data = torch.eye(steps)[:, step : step + 1]
        average.update_parameters(network)
    edges = (np.arange(steps + 1) / steps) ** power
    found = weights(average).flatten().numpy()
    assert found == pytest.approx(np.diff(edges), abs=1e-6)


@pytest.mark.parametrize("wanted", EVENLY[-2:])
def test_what_was_kept_is_found_again(wanted: Profile) -> None:
    coefficients, error = profiles.combine(EVENLY, wanted)
    assert error < 1e-6
    assert coefficients.tolist() == pytest.approx([float(one == wanted) for one in EVENLY], abs=1e-8)


@pytest.mark.parametrize(("length", "within"), [(0.03, 0.04), (0.08, 0.004), (0.15, 0.01), (0.25, 0.08)])
def test_no_other_sum_of_profiles_is_nearer(length: float, within: float) -> None:
    """Profiles on a fine grid, fitted there by an ordinary solver once one coefficient is eliminated."""
    edges = np.linspace(0, 8000, 40_001)

    def shares(profile: Profile) -> Any:
        powers = np.minimum(edges / profile.step, 1) ** (profiles.exponent(profile.length) + 1)
        return np.diff(powers)

    wanted = shares(Profile(8000, length))
    columns = np.stack([shares(profile) for profile in EVENLY], 1)
    first, others = columns[:, :1], columns[:, 1:]
    fitted = np.linalg.lstsq(others - first, wanted - first[:, 0], rcond=None)[0]
    expected = np.concatenate([[1 - fitted.sum()], fitted])
    coefficients, error = profiles.combine(EVENLY, Profile(8000, length))
    assert coefficients.sum().item() == pytest.approx(1, abs=1e-9)
    assert columns @ coefficients.numpy() == pytest.approx(columns @ expected, abs=2e-3 * wanted.max())
    off = np.linalg.norm(columns @ coefficients.numpy() - wanted) / np.linalg.norm(wanted)
    assert error == pytest.approx(off, rel=0.01)
    assert off <= 1.001 * np.linalg.norm(columns @ expected - wanted) / np.linalg.norm(wanted)
    assert error < within


# --- When snapshots are kept


@pytest.mark.parametrize(
    ("steps", "parts"), [(16, 5), (100, 7), (1000, 128), (7, 7), (3, 32), (1, 1), (9, 1)]
)
def test_snapshots_are_spread_evenly(steps: int, parts: int) -> None:
    plan = Plan.of(steps)
    found = [step for step in range(steps + 1) if plan.ends_part(step, parts)]
    assert len(found) == min(steps, parts)
    assert found[-1] == steps
    assert max(np.diff([0, *found])) <= math.ceil(steps / parts)


def test_a_corrected_plan_has_as_many_snapshots() -> None:
    plan = Plan.of("100,60@40,75@50")
    found = [step for step in range(76) if plan.ends_part(step, 10)]
    assert found[-1] == 75
    assert len(found) == 10


def test_no_snapshots_are_due_where_none_are_asked_for() -> None:
    assert not any(Plan.of(5).ends_part(step, 0) for step in range(6))


# --- Training


def test_an_average_made_afterwards_is_the_one_that_might_have_been_kept() -> None:
    """Of weights that walk at random, as far in each step as in training at a constant rate."""
    steps, source = 480, torch.Generator().manual_seed(0)
    network = nn.Linear(1, 1000, bias=False)
    two = [PowerAverage(network, length) for length in (0.05, 0.1)]
    others = [PowerAverage(network, length) for length in (0.03, 0.05, 0.07, 0.15)]
    kept: dict[Profile, Tensor] = {}
    for step in range(1, steps + 1):
        network.weight.data += torch.randn(network.weight.shape, generator=source)
        for average in (*two, *others):
            average.update_parameters(network)
        if Plan.of(steps).ends_part(step, 24):
            kept |= {Profile(step, one.length): weights(one).double() for one in two}
    for other in others:
        coefficients, _ = profiles.combine([*kept], Profile(steps, other.length))
        made = sum(
            factor * weight for factor, weight in zip(coefficients.tolist(), kept.values(), strict=True)
        )
        apart, far = (from_ - weights(other) for from_ in (made, network.weight.data))
        assert apart.norm() < (1e-5 if other.length == 0.05 else 0.01) * far.norm()


@pytest.mark.slow
def test_a_real_run_has_the_averages_that_might_have_been_kept(tmp_path: Path, few: Splits) -> None:
    others: dict[float, PowerAverage] = {}

    def keep(event: Event, trainer: Trainer) -> None:
        if isinstance(event, StepEnd):
            for length in (0.035, 0.05, 0.07, 0.14):
                other = others.setdefault(length, PowerAverage(trainer.model, length))
                other.update_parameters(trainer.model)

    run = learned(tmp_path / "run", few, recipe={"snapshots": 16, "lr": 0.003}, steps=160, listen=keep)
    last = checkpoint.read(run.state_file)[1]
    for length, other in others.items():
        made = genmnist.average(run, length).state_dict()
        kept = other.module.state_dict()
        apart = sum((made[name] - kept[name]).square().sum() for name in kept) ** 0.5
        far = sum((last[f"model.{name}"] - kept[name]).square().sum() for name in kept) ** 0.5
        assert apart < (1e-5 if length == 0.05 else 0.02) * far


def learned(folder: Path, few: Splits, **options: Any) -> Run:
    """Train a small vae that keeps snapshots, unless `options` say otherwise."""
    return train(folder, None, data=few, sample_every=0, **({"recipe": KEPT, "steps": 16} | options))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, few: Splits) -> Run:
    return learned(tmp_path_factory.mktemp("whole") / "run", few)


def test_snapshots_change_nothing_that_is_learned(tmp_path: Path, few: Splits, whole: Run) -> None:
    plain = learned(tmp_path / "plain", few, recipe={})
    assert same(tensors(plain), tensors(whole))
    assert not plain.averages.exists()
    steps = (4, 7, 10, 13, 16)
    assert [*files(whole)] == [f"{step:08d}-{length}.safetensors" for step in steps for length in (0.05, 0.1)]


@pytest.mark.parametrize("saved", [True, *slow(False)])
def test_a_run_that_died_ends_with_the_same_snapshots(
    tmp_path: Path, few: Splits, whole: Run, saved: bool
) -> None:
    """Also where it died before its first save, with snapshots of later steps there."""
    run = broken_off(tmp_path / "run", None, data=few, sample_every=0, recipe=KEPT, steps=16)
    if not saved:
        run.state_file.unlink()
        run.former_state_file.unlink()
    before, half_written = files(run), run.averages / f"{TEMPORARY}x"
    assert len(before) == 6
    half_written.mkdir()
    genmnist.resume(run.folder, data=few)
    assert not half_written.exists()
    after, expected = files(run), files(whole)
    assert [*after] == [*expected]
    assert all(same(after[name], expected[name]) for name in expected)
    assert all(same(after[name], before[name]) for name in before)
    one, other = (genmnist.average(of, 0.08).state_dict() for of in (run, whole))
    assert same(one, other)


def test_a_run_from_before_there_were_snapshots_is_gone_on_with(
    tmp_path: Path, few: Splits, whole: Run
) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    config = run.config
    for name in ("snapshots", "average_short", "average_long"):
        del config.recipe[name]
    write_document(run.config_file, config)
    assert learned(run.folder, few, recipe={}, resume="auto").finished
    with pytest.raises(UsageError, match=r"was begun otherwise \(`snapshots` is 5, not 0\)"):
        learned(run.folder, few, resume="auto")


@pytest.mark.slow
def test_batches_in_parts_have_snapshots_too(tmp_path: Path, few: Splits, whole: Run) -> None:
    one, other = files(whole), files(learned(tmp_path / "run", few, recipe=KEPT | {"accumulate": 3}))
    assert one.keys() == other.keys()
    for name, kept in one.items():
        for key in kept:
            torch.testing.assert_close(kept[key], other[name][key], rtol=1e-3, atol=1e-4)


# --- Afterwards


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory: pytest.TempPathFactory, few: Splits) -> Run:
    """A run with snapshots, and with validation images of its own."""
    return genmnist.train(
        "vae", "conv", options={"hidden": 4, "latent": 4}, recipe={"snapshots": 6}, steps=12, data=few,
        device="cpu", precision="float32", sample_every=0, out=tmp_path_factory.mktemp("kept") / "run",
    )  # fmt: skip


@pytest.fixture
def run(kept_run: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(kept_run.folder, tmp_path / "run"))


def test_an_average_is_a_model_like_any_other(run: Run, tmp_path: Path) -> None:
    made = genmnist.average(run.folder, 0.08, out=tmp_path / "x.safetensors")
    assert isinstance(made, VAE)
    assert made.origin == f"run {run.folder}, the average of length 0.08"
    loaded = genmnist.load("vae", tmp_path / "x.safetensors", device="cpu")
    assert same(made.state_dict(), loaded.state_dict())
    assert (loaded.trained.average, loaded.trained.step) == (0.08, 12)
    assert torch.equal(made.sample(3, seed=1), loaded.sample(3, seed=1))
    snapshot = genmnist.load("vae", run.snapshot(12, 0.1), device="cpu")
    assert same(snapshot.state_dict(), genmnist.average(run, 0.1).state_dict())


@pytest.mark.slow
def test_lengths_are_judged_on_validation_images(
    run: Run, few: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    features = FeatureSpace.features

    def noted(self: FeatureSpace, images: Tensor) -> Tensor:
        seen.append(images)
        return features(self, images)

    monkeypatch.setattr(FeatureSpace, "features", noted)
    told: list[float] = []
    before = torch.random.get_rng_state()
    found = lengths.compare(
        run, [0.06, 0.1], num=60, data=few, device="cpu", watch=lambda name, share: told.append(share)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    test = {image.numpy().tobytes() for image in few.test.images}
    assert not any(image.numpy().tobytes() in test for images in seen for image in images)
    assert [row.length for row in found.rows] == [None, 0.06, 0.1]
    assert found.rows[0].loss == pytest.approx(run.metrics[-1].val_loss, rel=1e-6)
    space = distances.bundled_features(CPU)
    theirs = features(space, few.validation.images)
    for row in found.rows[1:]:
        assert row.length
        model = genmnist.average(run, row.length)
        assert isinstance(model, VAE)
        assert row.loss == pytest.approx(validate(model, few.validation)["loss"], rel=1e-6)
        expected = distances.frechet(features(space, model.sample(60)), theirs)
        assert row.distance == pytest.approx(expected, rel=1e-4)
    assert told == sorted(told)
    assert told[-1] == 1
    assert found.best.distance == min(row.distance or math.inf for row in found.rows[1:])
    rows, heads = found.table()
    assert [len(row) for row in rows] == [len(heads)] * 3


def test_lengths_nobody_named_are_those_that_can_be_had(
    run: Run, few: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "LENGTHS", (0.02, 0.05, 0.12))
    found = lengths.compare(run, num=0, data=few, device="cpu")
    assert [row.length for row in found.rows[1:]] == [0.05, 0.12]
    assert {row.distance for row in found.rows} == {None}
    assert found.best.loss == min(row.loss for row in found.rows[1:])


@pytest.mark.parametrize("length", [0.0, -1, 0.005, 0.3, 5, math.nan, math.inf, True])
def test_what_is_no_length(kept_run: Run, length: Any) -> None:
    with pytest.raises(UsageError, match=r"`length` must be between 0.01 and 0.28, not"):
        genmnist.average(kept_run, length)


def test_a_length_that_the_snapshots_cannot_express(kept_run: Run) -> None:
    low, high = Snapshots(kept_run).lengths
    assert 0.02 < low < 0.05
    assert 0.1 < high < 0.28
    for length in (low, high):
        genmnist.average(kept_run, length)
    sentence = f"`length` 0.02 is not within what 6 snapshots can express, {low:.3g} to {high:.3g}: take anot"
    with pytest.raises(UsageError, match=sentence):
        genmnist.average(kept_run, 0.02)


def test_a_run_keeps_two_averages_that_differ() -> None:
    assert Recipe().averages == ()
    assert Recipe(snapshots=2, average_short=0.2).averages == (0.1, 0.2)
    assert Recipe(snapshots=2, average_short=0.1).averages == (0.1,)


def test_runs_without_snapshots(run: Run) -> None:
    shutil.rmtree(run.averages)
    with pytest.raises(GenmnistError, match="has kept no average yet: `resume` it"):
        genmnist.average(run, 0.1)
    config = run.config
    config.recipe["snapshots"] = 0
    write_document(run.config_file, config)
    with pytest.raises(UsageError, match="has kept no averages to choose from: train with `snapshots`, such"):
        genmnist.average(run, 0.1)


def test_a_run_validated_on_test_images_is_not_judged(whole: Run) -> None:
    with pytest.raises(
        UsageError, match="only test images could tell lengths apart: train with another pres"
    ):
        lengths.compare(whole, [0.1])


def test_data_must_be_those_that_it_was_trained_on(run: Run, few: Splits) -> None:
    with pytest.raises(UsageError, match="trained on `data` given from Python: compare there"):
        lengths.compare(run, [0.1], num=0)
    other = few._replace(train=few.validation)
    with pytest.raises(GenmnistError, match="have changed since it began"):
        lengths.compare(run, [0.1], num=0, data=other)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def change(**facts: object) -> Callable[[Path], None]:
    return lambda path: tamper(path, lambda document: document["training"].update(facts))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (cut, "or is damaged: it is truncated.*; without that file the other snapshots will do"),
        (flip, "or is damaged: .*; without that file the other snapshots will do"),
        (change(average=None), "does not say which average it is: remove it"),
        (change(average=0.5), "does not say which average it is: remove it"),
        (change(step=0), "does not say which average it is: remove it"),
        (change(average=2), "its header is not one that this genmnist writes; without that file"),
        (change(step=2), "is there by another name, too: remove one of them"),
        (change(seed=7), "is not a snapshot of this run: remove it"),
        (change(recipe={}), "is not a snapshot of this run: remove it"),
        (
            lambda path: tamper(path, lambda document: document["options"].update(latent=5)),
            "is not a snapshot of this run: remove it",
        ),
        (
            lambda path: shutil.copy(path.parent.parent / "state.safetensors", path),
            "is a training state, not",
        ),
    ],
)
def test_a_damaged_snapshot_is_refused_and_can_be_done_without(
    run: Run, harm: Callable[[Path], object], sentence: str
) -> None:
    path = run.snapshot(4, 0.1)
    harm(path)
    with pytest.raises(GenmnistError, match=sentence) as refused:
        genmnist.average(run, 0.08)
    assert len(str(refused.value).splitlines()) == 1
    path.unlink()
    assert isinstance(genmnist.average(run, 0.08), VAE)


def test_more_files_than_any_run_keeps(run: Run) -> None:
    for number in range(600):
        (run.averages / f"x{number}.safetensors").touch()
    with pytest.raises(GenmnistError, match="has 612 files, more than any run keeps"):
        genmnist.average(run, 0.08)


# --- The command


@pytest.mark.slow
def test_the_command_compares_and_writes(genmnist: Command, idx_folder: Path) -> None:
    words = (
        "--hidden",
        4,
        "--latent",
        4,
        "--steps",
        8,
        "--snapshots",
        4,
        "--sample-every",
        0,
        "--out",
        "run",
    )
    cpu = ("--device", "cpu")
    done = genmnist("train", "vae", "--preset", "conv", "--data-dir", idx_folder, *words, *cpu)
    assert done.status == 0, done.err
    done = genmnist("average", "run", "--length", "0.06,0.09", "--num", 40, *cpu)
    assert done.status == 0, done.err
    assert "distance of 40 samples" in done.out
    assert "the run's own" in done.out
    document = genmnist("average", "run", "--length", "0.06,0.09", "--num", 40, "--json", *cpu).json
    assert [row["length"] for row in document["rows"]] == [None, 0.06, 0.09]
    assert document["best"] in (0.06, 0.09)
    assert genmnist("average", "run", "--length", "0.06", "--out", "x.safetensors").status == 0
    assert genmnist("sample", "vae", "--model", "x.safetensors", "--num", 2, *cpu).status == 0
    assert "training.average" in genmnist("info", "x.safetensors").out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--length", "short"), "--length takes numbers with commas between them"),
        (("--length", "0.1,0.2", "--out", "x.safetensors"), "--out is for one average: name its --length"),
        (("--length", "0.1", "--num", 9, "--out", "x.safetensors"), "--num and --features are for comparing"),
        (("--length", "0.1", "--out", "x.png"), "ends in .png, and this command writes .safetensors"),
        (("--num", -1), "--num must be"),
        ((), "nowhere is not a run folder: it has no config.json"),
    ],
)
def test_wrong_use(genmnist: Command, words: tuple[object, ...], sentence: str) -> None:
    assert sentence in one_sentence(genmnist("average", "nowhere", *words), 2)


def test_too_few_samples_and_none_kept(genmnist: Command, run: Run) -> None:
    done = genmnist("average", run.folder, "--length", "0.08", "--num", 3)
    assert "a distance needs 6 images or more, not 3" in one_sentence(done, 2)
    config = run.config
    config.recipe["snapshots"] = 0
    write_document(run.config_file, config)
    shutil.rmtree(run.averages)
    sentence = one_sentence(genmnist("average", run.folder, "--length", "0.1", "--out", "x.safetensors"), 2)
    assert sentence.endswith("has kept no averages to choose from: train with --snapshots, such as 32")


@pytest.mark.slow
def test_a_family_that_draws_nothing_has_a_loss_alone(tmp_path: Path, few: Splits) -> None:
    run = genmnist.train(
        "classifier", recipe={"snapshots": 2}, steps=2, data=few, device="cpu", out=tmp_path / "run"
    )
    with pytest.raises(UsageError, match="a classifier draws nothing to be measured: leave `num` out"):
        lengths.compare(run, [0.1], num=60, data=few)
    found = lengths.compare(run, [0.1], data=few)
    assert [row.distance for row in found.rows] == [None, None]
    assert found.rows[0].loss == pytest.approx(run.metrics[-1].val_loss, rel=1e-6)
