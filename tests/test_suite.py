"""What is measured of models and images of any shape, in the features of whichever classifier knows them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import CPU, picture
from genmnist.data import Dataset, Splits
from genmnist.diffusion.samplers import Step
from genmnist.errors import UsageError
from genmnist.evaluation import bands, distances, document, factors, neighbours, suite, tables
from genmnist.evaluation import likelihood as likelihoods
from genmnist.evaluation.distances import FeatureSpace, bundled_features, own_features
from genmnist.evaluation.suite import Effort
from genmnist.evaluation.vae import disentanglement
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.classifier import ClassifierOptions
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.vae import VAEOptions
from genmnist.figures import evaluated
from genmnist.models import VAE, Classifier, ConditionalDiffusion, Diffusion, Generator, Request
from genmnist.registry import FAMILIES

SMALL = Effort(num=8, bounded=2, levels=2, exact=1, pairs=2, traced=2, guided=6)
COLOUR, GREY = (3, 32, 32), (1, 20, 20)
Shape = tuple[int, int, int]


def drawn(shape: Shape, count: int, classes: int, seed: int, name: str = "shapes") -> Dataset:
    """Return images of blobs: a place, a size and a colour a class."""
    channels, height, width = shape
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    middle = 0.3 + 0.4 * torch.rand(2, count, 1, 1, generator=source)
    spread = 0.02 + 0.03 * (labels / classes).view(-1, 1, 1)
    blob = (-((y - middle[0]).square() + (x - middle[1]).square()) / spread).exp()
    if channels == 1:
        return Dataset(name, (255 * blob).to(torch.uint8), labels)
    tint = 0.3 + 0.7 * torch.rand(classes, 3, generator=torch.Generator().manual_seed(9))
    return Dataset(name, (255 * blob[..., None] * tint[labels][:, None, None]).to(torch.uint8), labels)


def splits(shape: Shape, classes: int, name: str = "shapes") -> Splits:
    parts = (drawn(shape, count, classes, seed, name) for seed, count in enumerate((60, 12, 24)))
    return Splits(*parts)


def classifier(shape: Shape, classes: int) -> Classifier:
    torch.manual_seed(0)
    options = ClassifierOptions.of({"shape": shape, "classes": classes, "width": 8})
    return Classifier(options).place(CPU, "float32").eval()


def vae(shape: Shape) -> VAE:
    torch.manual_seed(0)
    return VAE(VAEOptions.of({"shape": shape, "hidden": 16, "latent": 3})).place(CPU, "float32").eval()


def ddpm(shape: Shape) -> Diffusion:
    torch.manual_seed(0)
    options = DiffusionOptions.of({"shape": shape, "size": "tiny", "timesteps": 64})
    return Diffusion(options).place(CPU, "float32").eval()


def cfg(shape: Shape, classes: int) -> Diffusion:
    torch.manual_seed(0)
    options = {"shape": shape, "size": "tiny", "timesteps": 64, "classes": classes}
    return ConditionalDiffusion(ConditionalOptions.of(options)).place(CPU, "float32").eval()


def ignore(stage: str, share: float) -> None:
    assert 0 <= share <= 1


# The suite


@pytest.mark.slow
@pytest.mark.parametrize("shape", [COLOUR, GREY, (3, 64, 64)], ids=str)
def test_models_of_any_shape_are_measured(shape: Shape, tmp_path: Path) -> None:
    data, classes = splits(shape, 4), 4
    features = own_features(classifier(shape, classes), "shapes")
    models: dict[str, Generator] = {"vae": vae(shape), "ddpm": ddpm(shape), "cfg": cfg(shape, classes)}
    expected = {
        "vae": {"vae", "walks"},
        "ddpm": {"likelihood", "coarse_before_fine", "walks"},
        "cfg": {"likelihood", "coarse_before_fine", "walks", "guidance_sweep"},
    }
    for family, model in models.items():
        how = None if family == "vae" else model.how(steps=2)
        found = suite.measure(model, data, features, SMALL, ignore, how=how)
        plain = found.document.asdict()
        assert plain.keys() == {"samples", "near_copies", "sharpness"} | expected[family]
        json.dumps(plain, allow_nan=False)
        assert len(found.document.samples.classes) == classes
        assert (found.document.samples.label_agreement is None) == (family != "cfg")
        document.write(tmp_path / family / "evaluation.json", found.document)
        assert document.read(tmp_path / family / "evaluation.json") == found.document
        for file in evaluated.save(found, tmp_path / family):
            assert file.is_file()
        names = [line.title for line in tables.lines(found.document)]
        assert len(set(names)) == len(names)  # or tables of several models would show one for the other
    heads, rows = tables.comparison(
        {family: document.read(tmp_path / family / "evaluation.json") for family in models}
    )
    assert heads == ["measure", "vae", "ddpm", "cfg", "real images"]
    assert all(len(row) == len(heads) for row in rows)


def test_labels_are_asked_for_as_often_as_the_training_images_have_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[int]] = []

    class Listed(ConditionalDiffusion):
        def draw(self, request: Request, first: int, count: int) -> Tensor:
            asked.append([*request.labels])
            return torch.rand(count, *GREY)

    guided = dataclasses.replace(FAMILIES["cfg"], measures=("guidance",))
    monkeypatch.setattr(suite, "FAMILIES", {"cfg": guided})
    even, features = splits(GREY, 4), own_features(classifier(GREY, 4), "shapes")
    data = even._replace(train=dataclasses.replace(even.train, labels=even.train.labels.clamp(2, 3)))
    options = ConditionalOptions.of({"shape": GREY, "size": "tiny", "timesteps": 64, "classes": 4})
    effort = dataclasses.replace(SMALL, num=40, guided=20)
    suite.measure(Listed(options).place(CPU, "float32").eval(), data, features, effort, ignore)
    assert len(asked) == 1 + 4  # the samples, and four strengths of guidance
    for labels in asked:
        assert {*labels} == {2, 3}
        assert abs(labels.count(2) / len(labels) - 0.75) <= 0.05


def test_images_from_anywhere_are_measured(tmp_path: Path) -> None:
    data, features = splits(COLOUR, 4), own_features(classifier(COLOUR, 4), "shapes")
    stages: list[str] = []
    found = suite.measure_images(
        data.train.images[:30], data, features, data.train.labels[:30], lambda stage, _: stages.append(stage)
    )
    assert found.document.near_copies.share == 1  # they are training images
    assert torch.equal(found.shown, found.nearest)
    assert found.shown.shape == (12, 32, 32, 3)
    assert {"measuring features", "looking for near-copies"} <= set(stages)
    picture(evaluated.save(found, tmp_path, {"command": "genmnist evaluate"})[0])
    with pytest.raises(UsageError, match="the images are 20 x 20, grey, and those of shapes 32 x 32, colour"):
        suite.measure_images(splits(GREY, 4).test.images, data, features, None, ignore)


def test_models_and_data_must_fit() -> None:
    data, features = splits(COLOUR, 4), own_features(classifier(COLOUR, 4), "shapes")
    with pytest.raises(UsageError, match=r"draws images of 20 x 20, grey.* are 32 x 32, colour"):
        suite.measure(vae(GREY), data, features, SMALL, ignore)
    with pytest.raises(UsageError, match="train a classifier on your data and name it by `features`"):
        suite.measure(cfg(COLOUR, 9), data, features, SMALL, ignore)


def test_measures_that_a_family_lists_must_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = FAMILIES["vae"]
    odd = {"vae": dataclasses.replace(known, measures=("autoencoder", "beauty"))}
    monkeypatch.setattr(suite, "FAMILIES", odd)
    data, features = splits(GREY, 3), own_features(classifier(GREY, 3), "shapes")
    with pytest.raises(UsageError, match="no measure 'beauty'"):
        suite.measure(vae(GREY), data, features, SMALL, ignore)


def test_measures_that_are_no_numbers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(task: suite.Task) -> tuple[str, Any]:
        return "likelihood", document.Exact(1, math.nan, None)

    monkeypatch.setitem(suite.MEASURES, "autoencoder", broken)
    data, features = splits(GREY, 3), own_features(classifier(GREY, 3), "shapes")
    found = suite.measure(vae(GREY), data, features, SMALL, ignore).document
    assert found.undefined == ("autoencoder",)
    assert found.likelihood is None
    assert tables.Line("autoencoder", "not a finite number") in tables.lines(found)


# Feature spaces


def test_a_users_classifier_is_named_by_data_and_weights() -> None:
    first, again, other = (own_features(classifier(COLOUR, classes), "birds") for classes in (4, 4, 5))
    assert first.name == again.name
    assert first.name != other.name
    name, _, digits = first.name.rpartition("-")
    assert name == "birds-classifier"
    assert len(digits) == 8
    int(digits, 16)
    assert (first.shape, first.classes) == (COLOUR, 4)


def test_a_users_classifier_knows_its_shape_and_classes() -> None:
    features = own_features(classifier(COLOUR, 4), "fashion-mnist")
    features.check(splits(COLOUR, 4, "fashion-mnist"))
    features.check(splits(COLOUR, 2), classes=3)
    for data, classes in ((splits(GREY, 4), 0), (splits(COLOUR, 5), 0), (splits(COLOUR, 4), 5)):
        with pytest.raises(UsageError, match="train a classifier on your data and name it by `features`"):
            features.check(data, classes)


def test_the_bundled_classifier_knows_digits_alone(few: Splits) -> None:
    features = bundled_features(CPU)
    features.check(few)
    features.check(few, 10)

    # Letters a to j would have ten labels and the shape of digits, too: what tells is how they are read.
    mixed = dataclasses.replace(few.test, labels=few.test.labels.flip(0))
    letters = Splits(few.train, few.validation, mixed)
    with pytest.raises(UsageError, match=r"and reads 1?\d% of these images as they are labelled"):
        features.check(letters)
    refused = [(letters, 0)]
    more = dataclasses.replace(few.test, labels=few.test.labels + 5)
    refused += [(few, 4), (splits(GREY, 4), 0), (Splits(few.train, few.validation, more), 0)]
    for data, classes in refused:
        with pytest.raises(UsageError, match=r"knows the digits 0 to 9 only.*name it by `features`"):
            features.check(data, classes)
    own = FeatureSpace(features.classifier, "mine")
    own.check(letters)


def test_features_are_those_of_the_classifier() -> None:
    features, images = own_features(classifier(COLOUR, 4), "shapes"), splits(COLOUR, 4).test.images
    found = features.features(images)
    assert torch.equal(found, features.classifier.features(images))
    assert torch.equal(features.decide(found), features.classifier.decide(found))


# Measures of any shape


@pytest.mark.parametrize("shape", [(20, 20), (64, 64), (20, 64), (9, 32)], ids=str)
def test_a_stroke_measures_the_same_in_any_frame(shape: tuple[int, int]) -> None:
    image = torch.zeros(1, *shape, dtype=torch.uint8)
    image[:, 2:7, 3:5] = 200
    image[:, 3:6, 5] = 90
    frame = torch.zeros(1, 28, 28, dtype=torch.uint8)
    frame[:, 2:7, 3:8] = image[:, 2:7, 3:8]
    for factor in (factors.slant, factors.width, factors.thickness, factors.sharpness):
        torch.testing.assert_close(factor(image), factor(frame))


def test_colours_count_by_their_luminance() -> None:
    grey = splits(GREY, 3).test.images
    same = grey.unsqueeze(-1).expand(-1, -1, -1, 3)
    for factor in (factors.slant, factors.width, factors.thickness, factors.sharpness):
        torch.testing.assert_close(factor(same), factor(grey), rtol=1e-4, atol=1e-5)
    green = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    green[..., 1] = 255
    assert factors.ink(green).unique().tolist() == pytest.approx([0.587])


@pytest.mark.parametrize("shape", [COLOUR, GREY, (3, 64, 64)], ids=str)
def test_neighbours_are_those_of_brute_force(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_NUMBERS", 7 * math.prod(shape) + 1)
    data = splits(shape, 3)
    ours, theirs = data.test.images, data.train.images
    table = torch.cdist(ours.flatten(1).double() / 255, theirs.flatten(1).double() / 255)
    found = neighbours.nearest(ours, theirs)
    torch.testing.assert_close(found.distances, table.amin(1).float())
    assert neighbours.thresholds(data, 5).shape == (5,)


class Settling(Diffusion):
    """A reverse process that settles the frequencies below a bound which rises step by step."""

    def __init__(self, end: Tensor) -> None:
        super().__init__(DiffusionOptions.of({"shape": tuple(end.shape[1:]), "size": "tiny"}))
        self.end = end

    def trace(self, request: Request, num: int, visit: Sequence[float] = ()) -> Iterator[Step]:
        assert (request.how.steps, request.how.spacing) == (48, "trailing")
        height, width = self.shape[1:]
        rows, columns = (min(height, width) * torch.fft.fftfreq(side) for side in (height, width))
        radius = torch.hypot(rows[:, None], columns[None])
        spectrum = torch.fft.fft2(self.end)
        for t, bound in ((900.0, 1.5), (600.0, 3.5), (300.0, 7.0), (0.0, 99.0), (-1.0, 99.0)):
            clean = torch.fft.ifft2(spectrum * (radius < bound)).real
            yield Step(t, clean, clean)


@pytest.mark.parametrize("shape", [(1, 28, 28), COLOUR, GREY, (3, 64, 64), (1, 20, 64)], ids=str)
def test_bands_settle_when_they_are_final(shape: Shape) -> None:
    torch.manual_seed(0)
    model = Settling(torch.randn(3, *shape))
    *partial, found = bands.settle(model, 3)
    assert [len(step.timesteps) for step in partial] == [1, 2, 3, 4, 5]
    assert list(found.timesteps) == [900, 600, 300, 0]
    assert list(found.half_settled) == [900, 600, 300, 0]
    torch.testing.assert_close(torch.tensor(found.shares), torch.ones(4, 4).tril(), rtol=0, atol=1e-5)


def test_bands_reach_from_the_whole_to_the_corner() -> None:
    assert bands.bands(28, 28) == ((0, 1.5), (1.5, 3.5), (3.5, 7), (7, 20))
    assert bands.bands(64, 64)[-1] == (7, 46)
    assert bands.bands(20, 64)[-1] == (7, 15)
    assert bands.bands(4, 4) == ((0, 1.5), (1.5, 3))


def test_a_band_that_is_empty_at_the_end_has_no_share() -> None:
    *_, found = bands.settle(Settling(torch.ones(2, 1, 8, 8)), 2)
    assert found.shares[0] == (1.0, None, None)
    assert list(found.half_settled) == [900, -1, -1]
    assert document.is_sound(found)


@pytest.mark.parametrize("shape", [COLOUR, GREY, (1, 64, 64)], ids=str)
def test_a_model_that_knows_nothing_has_the_bits_of_its_noise(shape: Shape) -> None:
    """N(0, 1) at every timestep, whatever the number of dimensions; see test_likelihood."""
    from genmnist.diffusion.targets import Denoised

    model = ddpm(shape)

    def ignorant(x: Tensor, t: float, labels: Tensor | None = None) -> Denoised:
        alpha, sigma = model.schedule.alpha(t).item(), model.schedule.sigma(t).item()
        return Denoised(alpha * x, sigma * x)

    model.denoise = ignorant  # type: ignore[method-assign]
    images = splits(shape, 3).test.images
    power = (((images.double() + 0.5) / 128 - 1).square().mean() + 1 / 128**2 / 12).item()
    expected = (math.log(2 * math.pi) + power) / 2 / math.log(2) + 7
    *_, result = likelihoods.exact(model, images, steps=60)
    assert result.bits == pytest.approx(expected, abs=5e-3)
    with pytest.raises(UsageError, match="the images are 5 x 5, grey"):
        next(likelihoods.bound(model, torch.zeros(1, 5, 5, dtype=torch.uint8)))


def test_a_set_of_one_class_has_no_label_to_know() -> None:
    data = splits(GREY, 1).test
    found = disentanglement(vae(GREY), data)
    assert found.factors == ("slant", "thickness", "width")
    same = Dataset("same", data.images[:1].expand(4, -1, -1), data.labels[:4])
    with pytest.raises(UsageError, match="all images of same are the same"):
        disentanglement(vae(GREY), same)


def test_subsets_are_always_the_same() -> None:
    members = torch.arange(20.0)[:, None]
    chosen = distances.fixed_subset(members, 7)
    assert len(chosen.unique()) == 7
    assert torch.equal(chosen, distances.fixed_subset(members, 7))
