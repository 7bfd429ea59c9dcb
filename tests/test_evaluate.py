"""What is measured of models and of images from anywhere."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import CPU, Command, metadata, one_sentence, picture
from genmnist.data import Dataset, Splits, arrays
from genmnist.errors import GenmnistError
from genmnist.evaluation import distances, samples, suite, tables
from genmnist.evaluation.suite import Effort
from genmnist.families.cfg import ConditionalOptions
from genmnist.models import VAE, ConditionalDiffusion
from genmnist.runs.folder import Run


@pytest.mark.slow
def test_real_digits_are_as_far_as_real_digits(mnist: Splits) -> None:
    features = distances.bundled_features(CPU)
    stages: list[str] = []
    images, labels = mnist.train.images[:600], mnist.train.labels[:600]
    found = samples.measure(images, mnist, features, labels, stages.append)
    assert stages == ["features", "distances", "distances of real images"]
    assert (found.num, found.real_num, found.test_num) == (600, 600, 10_000)
    assert 0.4 < found.images.frechet.value / found.real.frechet.value < 2.5
    assert found.images.frechet.low < found.images.frechet.value < found.images.frechet.high
    assert abs(found.images.kernel) < 0.005
    assert found.images.manifold.precision > 0.85
    assert found.label_agreement is not None
    assert found.label_agreement > 0.99
    assert sum(found.classes) == pytest.approx(1, abs=1e-3)
    assert found.imbalance < 0.1
    assert found.features == "genmnist-classifier-1"


@pytest.mark.slow
def test_one_digit_alone_is_out_of_balance(mnist: Splits) -> None:
    features = distances.bundled_features(CPU)
    sevens = mnist.train.images[mnist.train.labels == 7][:200]
    found = samples.measure(sevens, mnist, features)
    assert found.classes[7] > 0.98
    assert found.imbalance == pytest.approx(1 - 0.1028, abs=0.02)
    assert found.label_agreement is None
    assert found.images.manifold.recall < 0.5


def test_the_bootstrap_is_as_wide_as_the_spread_of_fresh_sets() -> None:
    torch.manual_seed(0)
    theirs = torch.randn(4000, 4)
    values = torch.tensor([distances.frechet(torch.randn(300, 4) + 0.3, theirs) for _ in range(40)])
    interval = samples.bootstrap(torch.randn(300, 4) + 0.3, theirs)
    assert 0.5 < (interval.high - interval.low) / (4 * values.std().item()) < 1.7


def test_an_interval_of_what_cannot_be_negative_does_not_reach_below_0() -> None:
    torch.manual_seed(0)
    theirs = torch.randn(400, 3)
    found = samples.bootstrap(theirs[:300], theirs)
    assert 0 == found.low < found.value < found.high


@pytest.mark.slow
def test_precision_does_not_depend_on_the_order_of_the_test_digits(mnist: Splits) -> None:
    features = distances.bundled_features(CPU)
    few = Splits(
        mnist.train, mnist.validation, Dataset("mnist", mnist.test.images[:2000], mnist.test.labels[:2000])
    )
    order = few.test.labels.argsort()
    by_label = Splits(
        few.train, few.validation, Dataset("mnist", few.test.images[order], few.test.labels[order])
    )
    for data in (few, by_label):
        found = samples.measure(mnist.train.images[:300], data, features)
        assert found.images.manifold.precision > 0.8


# Images from anywhere


def save(path: Path, **contents: object) -> Path:
    np.savez(path, **contents)  # type: ignore[arg-type]
    return path


def test_what_sample_writes_can_be_read(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    path = save(tmp_path / "a.npz", images=images, labels=np.arange(5))
    read, labels, _ = arrays.read(path)
    assert np.array_equal(read.numpy(), images)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert arrays.read(save(tmp_path / "b.npz", images=images))[1] is None


def test_hostile_and_damaged_files_get_one_sentence(tmp_path: Path) -> None:
    images = np.zeros((5, 28, 28), np.uint8)

    def refused(path: Path, match: str) -> None:
        with pytest.raises(GenmnistError, match=match):
            arrays.read(path)

    refused(save(tmp_path / "b.npz", images=images - 0.5), "float64")
    refused(save(tmp_path / "m.npz", images=np.zeros((1, 2000, 2), np.uint8)), "sides up to 1024")
    refused(save(tmp_path / "d.npz", images=images, labels=np.arange(4)), "not a label")
    refused(save(tmp_path / "e.npz", images=images, labels=np.arange(5) - 1), "from 0 to 9,999")
    pickled = np.empty(5, object)
    refused(save(tmp_path / "f.npz", images=pickled), "object")
    (tmp_path / "g.npz").write_bytes(b"PK\x03\x04 nothing")
    refused(tmp_path / "g.npz", "not an .npz file")
    whole = save(tmp_path / "h.npz", images=images).read_bytes()
    (tmp_path / "i.npz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "i.npz", "not an .npz file")
    # A header that promises a million million images, and has none.
    member = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)}
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(tmp_path / "j.npz", "w") as archive:
        archive.writestr("images.npy", member.getvalue())
    refused(tmp_path / "j.npz", "more than 1,000,000")
    with zipfile.ZipFile(tmp_path / "k.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("images.npy", member.getvalue())
    refused(tmp_path / "k.npz", "compressed in a way")
    with pytest.raises(GenmnistError, match="there is no file"):
        arrays.read(tmp_path / "absent.npz")


# The commands


def test_evaluate_samples(genmnist: Command, tmp_path: Path, few: Splits, idx_folder: Path) -> None:
    save(tmp_path / "s.npz", images=few.train.images[:300].numpy(), labels=few.train.labels[:300].numpy())
    done = genmnist("evaluate", "samples", "s.npz", "--data-dir", idx_folder, "--device", "cpu")
    assert done.status == 0, done.err
    assert "precision" in done.out
    folder = tmp_path / "data" / "genmnist" / "evaluations" / "samples-s"
    assert f"wrote {folder}" in done.out
    document = json.loads((folder / "evaluation.json").read_text())
    assert document["num"] == 300
    assert document["samples"]["label_agreement"] > 0.99
    assert document["near_copies"]["share"] == 1  # they are training digits
    picture(folder / "nearest.png")
    assert metadata(folder / "nearest.png")["Model"] == "s.npz"
    assert {path.name for path in tmp_path.iterdir()} == {"s.npz", "digits", "data"}


SMALL = Effort(num=24, bounded=6, levels=4, exact=2, pairs=3, traced=4, guided=20)


def test_all_that_applies_to_a_family_is_measured(few: Splits, small_vae: VAE) -> None:
    features = distances.bundled_features(CPU)
    torch.manual_seed(0)
    cfg = ConditionalDiffusion(ConditionalOptions(size="tiny", timesteps=64)).place(CPU, "float32").eval()
    stages: set[str] = set()

    def watch(stage: str, share: float) -> None:
        assert 0 <= share <= 1
        stages.add(stage)

    found = suite.measure(small_vae, few, features, SMALL, watch).document.asdict()
    assert found.keys() == {"samples", "near_copies", "sharpness", "vae", "walks"}
    assert found["vae"]["importance_weighted"] < found["vae"]["reconstruction"] + found["vae"]["kl"]
    assert len(found["vae"]["kl_by_factor"]) == 4
    document = suite.measure(cfg, few, features, SMALL, watch, how=cfg.how(steps=2)).document
    found = document.asdict()
    assert found["likelihood"]["exact"]["bits"] > 0
    assert len(found["likelihood"]["bound"]["levels"]) == 4
    assert [row["strength"] for row in found["guidance_sweep"]] == [0, 1, 3, 8]
    assert found["samples"]["label_agreement"] is not None
    assert {"sampling", "walks", "exact likelihood", "disentanglement"} <= stages
    json.dumps(found, allow_nan=False)
    names = [line.title for line in tables.lines(document)]
    assert len(set(names)) == len(names)  # or tables of several models would show one for the other


def test_a_quick_look_codes_fewer_images(mnist: Splits, small_vae: VAE) -> None:
    effort = dataclasses.replace(SMALL, coded=40)
    task = suite.Task(
        small_vae, mnist, distances.bundled_features(CPU), effort, lambda stage, share: None, 0, None
    )
    assert len(task.test(40)) == 40
    assert task.test(20_000) is mnist.test
    name, found = suite.MEASURES["autoencoder"](task)
    assert (name, found.images) == ("vae", 40)


@pytest.fixture
def pair(genmnist: Command, idx_folder: Path) -> None:
    """Train two runs that differ in beta."""
    words = (
        "--data-dir",
        idx_folder,
        "--epochs",
        2,
        "--hidden",
        16,
        "--latent",
        3,
        "--quiet",
        "--device",
        "cpu",
    )
    genmnist("train", "vae", *words, "--out", "vae")
    genmnist("train", "vae", *words, "--beta", 4.0, "--out", "beta")


@pytest.mark.usefixtures("pair")
def test_runs_are_compared_where_they_differ(genmnist: Command, tmp_path: Path) -> None:
    genmnist("train", "vae", "--steps", 3, "--latent", 3, "--hidden", 16, "--quiet", "--out", "short")
    ours, theirs = genmnist("compare", "vae", "short", "--json").json["runs"]
    assert (ours["data"], theirs["data"]) == ("folder digits", "mnist")
    assert (ours["steps"], theirs["steps"]) == (16, 3)
    assert "epochs" not in theirs  # which the recipe has, and the run did not
    done = genmnist("compare", "vae", "beta", "--json")
    assert done.status == 0, done.err
    ours, theirs = done.json["runs"]
    assert (ours["beta"], theirs["beta"]) == (1.0, 4.0)  # where they differ, and nothing else
    assert "hidden" not in ours
    assert ours["settings"]["hidden"] == 16
    assert ours["images seen"] == ours["steps"] * 128
    last = Run(tmp_path / "beta").metrics[-1].losses
    # Not the objective, of which KL is 4 parts.
    assert theirs["negative ELBO"] == last["reconstruction"] + last["kl"]
    assert "measured" not in ours
    assert metadata(tmp_path / "compare.png")["Command"] == "genmnist compare vae beta --json"
    assert genmnist("compare", "vae", "beta", "--title", "Two runs", "--out", "c.svg").status == 0
    svg = (tmp_path / "c.svg").read_text("utf-8")
    assert ">Two runs</text>" in svg
    assert "Command: genmnist compare vae beta --title" in svg
    (tmp_path / "vae" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    assert "metrics.jsonl is damaged" in one_sentence(genmnist("compare", "vae"), 1)


@pytest.mark.slow
@pytest.mark.usefixtures("pair")
def test_runs_are_compared_by_what_was_measured(genmnist: Command, idx_folder: Path, tmp_path: Path) -> None:
    for run, num in (("vae", 30), ("beta", 40)):
        quick = ("--num", num, "--quick", "--data-dir", idx_folder, "--device", "cpu", "--style", "dark")
        measure = ("evaluate", "vae", "--model", run, *quick)
        done = genmnist(*measure)
        assert done.status == 0, done.err
        assert "active units (n = 500)" in done.out
        assert f"Fréchet distance (n = {num})" in done.out
        assert f"{num} samples and 500 test images" in done.out  # are few, it says
        for name in ("nearest", "walks"):
            assert np.asarray(picture(tmp_path / run / f"{name}.png"))[0, 0] < 50
            said = metadata(tmp_path / run / f"{name}.png")
            assert said["Command"] == shlex.join(["genmnist", *map(str, measure)])
            assert (said["Model"], said["Seed"]) == (f"run {run}", "0")
    done = genmnist("compare", "vae", "beta")
    assert "no distance of one table compares" in done.out
    for num in (30, 40):
        assert f"{num} samples against" in done.out
    assert "no distance" not in genmnist("compare", "vae", "vae").out
    runs = genmnist("compare", "vae", "beta", "--json").json["runs"]
    assert [run["measured"]["num"] for run in runs] == [30, 40]
    picture(tmp_path / "compare.png")
