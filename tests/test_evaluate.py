"""What is measured of models and of images from anywhere."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import CPU, Command, one_sentence, picture
from genmnist.data import Dataset, Splits, arrays
from genmnist.diffusion.samplers import Step
from genmnist.errors import GenmnistError, UsageError
from genmnist.evaluation import bands, claims, distances, samples, whole
from genmnist.evaluation.whole import Effort
from genmnist.figures import evaluated
from genmnist.models import VAE, ConditionalDiffusion
from genmnist.presets import ConditionalOptions


def test_real_digits_are_as_far_as_real_digits(mnist: Splits) -> None:
    classifier = distances.bundled_classifier(CPU)
    stages: list[str] = []
    images, labels = mnist.train.images[:600], mnist.train.labels[:600]
    found = samples.measure(images, mnist, classifier, labels, stages.append)
    assert stages == ["features", "distances", "distances of real digits"]
    assert 0.4 < found.ratio < 2.5
    assert found.images.frechet.low < found.images.frechet.value < found.images.frechet.high
    assert abs(found.images.kernel) < 0.005
    assert found.images.manifold.precision > 0.85
    assert found.label_agreement is not None
    assert found.label_agreement > 0.99
    assert sum(found.classes) == pytest.approx(1, abs=1e-3)
    assert found.imbalance < 0.1
    assert found.features == "genmnist-classifier-1"


def test_one_digit_alone_is_out_of_balance(mnist: Splits) -> None:
    classifier = distances.bundled_classifier(CPU)
    sevens = mnist.train.images[mnist.train.labels == 7][:200]
    found = samples.measure(sevens, mnist, classifier)
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


def test_only_digits_are_measured(mnist: Splits) -> None:
    classifier = distances.bundled_classifier(CPU)
    part = Dataset("letters", mnist.test.images[:50], mnist.test.labels[:50] + 5)
    with pytest.raises(UsageError, match="knows the digits 0 to 9 only"):
        samples.measure(mnist.train.images[:20], Splits(part, part), classifier)
    with pytest.raises(UsageError, match="a cfg with --classes 10"):
        samples.check(mnist, 4)


def test_precision_does_not_depend_on_the_order_of_the_test_digits(mnist: Splits) -> None:
    classifier = distances.bundled_classifier(CPU)
    few = Splits(mnist.train, Dataset("mnist", mnist.test.images[:2000], mnist.test.labels[:2000]))
    order = few.test.labels.argsort()
    by_label = Splits(few.train, Dataset("mnist", few.test.images[order], few.test.labels[order]))
    for data in (few, by_label):
        found = samples.measure(mnist.train.images[:300], data, classifier)
        assert found.images.manifold.precision > 0.8


# Coarse before fine


class Settling:
    """A reverse process that settles the frequencies below a bound which rises step by step."""

    def __init__(self, end: torch.Tensor) -> None:
        self.end = end

    def trace(self, visit: object, num: int, seed: int, **options: object) -> list[Step]:
        cycles = 28 * torch.fft.fftfreq(28)
        radius = torch.hypot(cycles[:, None], cycles[None])
        spectrum = torch.fft.fft2(self.end)
        steps = []
        for t, bound in ((900.0, 1.5), (600.0, 3.5), (300.0, 7.0), (0.0, 20.0), (-1.0, 20.0)):
            clean = torch.fft.ifft2(spectrum * (radius < bound)).real
            steps.append(Step(t, clean, clean))
        return steps


def test_bands_settle_when_they_are_final() -> None:
    torch.manual_seed(0)
    model = Settling(torch.randn(3, 1, 28, 28))
    *_, found = bands.settle(model, 3)  # type: ignore[arg-type]
    assert found.timesteps == [900, 600, 300, 0]
    assert found.half_settled() == [900, 600, 300, 0]
    torch.testing.assert_close(torch.tensor(found.shares), torch.ones(4, 4).tril(), rtol=0, atol=1e-5)


# The claims of the report


def test_claims_are_judged_by_the_numbers() -> None:
    def walks(latent: float) -> dict[str, object]:
        way = {"distance": [0, latent, 0], "distance_error": [0, 0.05, 0]}
        return {"alphas": [0, 0.5, 1], "latent": way, "pixel": way | {"distance": [0, 5.0, 0]}}

    found: dict[str, dict[str, Any]] = {
        "vae": {
            "sharpness": {"images": 0.4, "real": 0.6}, "samples": {"ratio": 30.0}, "walks": walks(4.0),
            "vae": {"active_units": 20, "latent": 20},
        },
        "ddpm": {
            "sharpness": {"images": 0.5, "real": 0.6}, "samples": {"ratio": 2.0},
            "distance_by_epoch": [(0, 2.0), (1, 0.3), (2, 0.1), (3, 0.05)],
            "coarse_before_fine": {"half_settled": [999.0, 800.0, 700.0]},
        },
        "cfg": {"guidance_sweep": [
            {"strength": 0.0, "label_agreement": 0.98, "recall": 0.9},
            {"strength": 3.0, "label_agreement": 0.999, "recall": 0.4},
        ]},
    }  # fmt: skip
    verdicts = [claim.holds for claim in claims.judge(found)]
    assert verdicts == [True, False, True, True, True, True]
    found["vae"]["walks"] = walks(4.95)
    found["ddpm"]["distance_by_epoch"] = [(0, 0.1), (1, 0.3), (2, 0.2)]
    found["ddpm"]["coarse_before_fine"] = {"half_settled": [700.0, 800.0, 999.0]}
    found["cfg"]["guidance_sweep"][1]["recall"] = 0.95
    assert [claim.holds for claim in claims.judge(found)] == [True, False, False, False, False, False]
    assert claims.judge({}) == []


# Images from anywhere


def save(path: Path, **contents: object) -> Path:
    np.savez(path, **contents)  # type: ignore[arg-type]
    return path


def test_what_sample_writes_can_be_read(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    path = save(tmp_path / "a.npz", images=images, labels=np.arange(5))
    read, labels = arrays.read(path)
    assert np.array_equal(read.numpy(), images)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert arrays.read(save(tmp_path / "b.npz", images=images))[1] is None


def test_hostile_and_damaged_files_get_one_sentence(tmp_path: Path) -> None:
    images = np.zeros((5, 28, 28), np.uint8)

    def refused(path: Path, match: str) -> None:
        with pytest.raises(GenmnistError, match=match):
            arrays.read(path)

    refused(save(tmp_path / "a.npz", pictures=images), "no array `images`")
    refused(save(tmp_path / "b.npz", images=images.astype(float)), "float64")
    refused(save(tmp_path / "c.npz", images=images[:, :14]), "not of")
    refused(save(tmp_path / "d.npz", images=images, labels=np.arange(4)), "not a label")
    refused(save(tmp_path / "e.npz", images=images, labels=np.arange(5) - 1), "0 or more")
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
    document = json.loads((tmp_path / "samples-evaluation" / "evaluation.json").read_text())
    assert document["num"] == 300
    assert document["samples"]["label_agreement"] > 0.99
    assert document["near_copies"]["share"] == 1  # they are training digits
    picture(tmp_path / "samples-evaluation" / "nearest.png")


SMALL = Effort(num=24, bounded=6, levels=4, exact=2, pairs=3, traced=4, guided=20)


def test_all_that_applies_to_a_family_is_measured(few: Splits, small_vae: VAE) -> None:
    classifier = distances.bundled_classifier(CPU)
    torch.manual_seed(0)
    cfg = ConditionalDiffusion(ConditionalOptions(size="tiny", timesteps=64)).place(CPU, "float32").eval()
    stages: set[str] = set()

    def watch(stage: str, share: float) -> None:
        assert 0 <= share <= 1
        stages.add(stage)

    found = whole.measure(small_vae, few, classifier, SMALL, watch).document()
    assert found.keys() == {"samples", "near_copies", "sharpness", "vae", "walks"}
    assert found["vae"]["importance_weighted"] < found["vae"]["reconstruction"] + found["vae"]["kl"]
    assert len(found["vae"]["kl_by_factor"]) == 4
    found = whole.measure(cfg, few, classifier, SMALL, watch, steps=2).document()
    assert found["likelihood"]["exact"]["bits"] > 0
    assert len(found["likelihood"]["bound"]["levels"]) == 4
    assert [row["strength"] for row in found["guidance_sweep"]] == [0, 1, 3, 8]
    assert found["samples"]["label_agreement"] is not None
    assert {"sampling", "walks", "exact likelihood", "disentanglement"} <= stages
    json.dumps(found, allow_nan=False)
    names = [name for name, *_ in evaluated.rows(found)]
    assert len(set(names)) == len(names)  # or tables of several models would show one for the other


def test_evaluate_and_compare_runs(genmnist: Command, idx_folder: Path, tmp_path: Path) -> None:
    words = ("--data-dir", idx_folder, "--epochs", 2, "--quiet", "--device", "cpu")
    genmnist("train", "vae", *words, "--hidden", 16, "--latent", 3, "--out", "vae")
    quick = ("--num", 30, "--quick", "--data-dir", idx_folder, "--device", "cpu")
    done = genmnist("evaluate", "vae", "--model", "vae", *quick)
    assert done.status == 0, done.err
    assert "active units" in done.out
    for name in ("nearest", "walks"):
        picture(tmp_path / "vae" / f"{name}.png")
    done = genmnist("compare", "vae", "vae", "--json")
    assert done.status == 0, done.err
    assert [row["family"] for row in done.json["runs"]] == ["vae"]
    assert done.json["runs"][0]["times floor"] > 1
    picture(tmp_path / "compare.png")
    (tmp_path / "vae" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    assert "metrics.jsonl is damaged" in one_sentence(genmnist("compare", "vae"), 1)
