"""Walks measured: their ends are the end images, and only one of two ways leads past digits."""

from __future__ import annotations

import math

import pytest
import torch

import genmnist
from conftest import CPU
from genmnist.data import Dataset, Splits, quantise, scale
from genmnist.errors import UsageError
from genmnist.evaluation.distances import bundled_features
from genmnist.evaluation.document import Walks
from genmnist.evaluation.walks import pairs_of_images, walks
from genmnist.families.ddpm import DiffusionOptions
from genmnist.models import VAE, Classifier, Diffusion


@pytest.fixture(scope="module")
def trained() -> VAE:
    return genmnist.load("vae", "bundled", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return bundled_features(CPU).classifier


def seen(images: torch.Tensor, classifier: Classifier, data: Splits) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, one image at a time, what a walk measures."""
    images = scale(quantise(images))
    with torch.inference_mode():
        confidence = torch.cat([classifier.logits(image[None]).softmax(1).max(1).values for image in images])
    train = scale(data.train.images).flatten(1)
    distance = torch.stack([(train - image.flatten()).norm(dim=1).min() for image in images])
    return confidence, distance


def test_a_walk_is_what_interpolation_shows(trained: VAE, classifier: Classifier, few: Splits) -> None:
    *_, last = walks(trained, few, classifier, pairs=6, points=5, batch_size=4, seed=3)
    assert last.pairs == 6
    assert list(last.alphas) == [0, 0.25, 0.5, 0.75, 1]
    start, end = (trained.embed(few.test.images[at]) for at in pairs_of_images(few.test, 6, 3))
    for space, walk in (("latent", last.latent), ("pixel", last.pixel)):
        images = trained.interpolate(end, start, torch.tensor(last.alphas), space, "lerp")
        for point in range(5):
            confidence, distance = seen(images[:, point], classifier, few)
            assert walk.confidence[point] == pytest.approx(confidence.mean().item(), abs=1e-3)
            assert walk.distance[point] == pytest.approx(distance.mean().item(), abs=1e-3)
            error = distance.std().item() / math.sqrt(6)
            assert walk.distance_error[point] == pytest.approx(error, abs=1e-3)
        assert walk.middle == (walk.confidence[2], walk.distance[2])


def test_the_ends_are_the_end_images(trained: VAE, classifier: Classifier, few: Splits) -> None:
    *_, last = walks(trained, few, classifier, pairs=8, points=3)
    start, end = pairs_of_images(few.test, 8)
    for point, at in ((0, end), (2, start)):
        with torch.inference_mode():
            ends = trained.decode(trained.embed(few.test.images[at]))
        confidence, distance = seen(ends, classifier, few)
        for walk in (last.latent, last.pixel):
            assert walk.confidence[point] == pytest.approx(confidence.mean().item(), abs=1e-3)
            assert walk.distance[point] == pytest.approx(distance.mean().item(), abs=1e-3)


def test_half_way_between_digits_is_no_digit_in_pixel_space(
    trained: VAE, classifier: Classifier, few: Splits
) -> None:
    *_, last = walks(trained, few, classifier, pairs=100, points=3)
    (_, latent_distance), (confidence, distance) = last.latent.middle, last.pixel.middle
    assert confidence < min(last.pixel.confidence[0], last.pixel.confidence[2]) - 0.05
    assert latent_distance < distance - 0.2


def test_walks_do_not_depend_on_the_batch(trained: VAE, classifier: Classifier, few: Splits) -> None:
    def measured(ends: str, batch_size: int) -> list[Walks]:
        return list(walks(trained, few, classifier, 5, ends, points=3, batch_size=batch_size, path="slerp"))

    for ends in ("digits", "prior"):
        steps, whole = measured(ends, 2), measured(ends, 5)
        assert [step.pairs for step in steps] == [2, 4, 5]
        for ours, theirs in ((steps[-1].latent, whole[0].latent), (steps[-1].pixel, whole[0].pixel)):
            assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-3)
            assert ours.distance == pytest.approx(theirs.distance, abs=1e-2)


def test_noise_is_walked_through_too(classifier: Classifier, few: Splits) -> None:
    torch.manual_seed(0)
    model = Diffusion(DiffusionOptions(size="tiny")).place(CPU, "float32").eval()
    how = model.how(sampler="dpm-solver", steps=2)
    *_, last = walks(model, few, classifier, pairs=2, ends="prior", points=3, how=how)
    assert last.latent.distance[0] == last.pixel.distance[0]
    assert last.latent.distance[2] == last.pixel.distance[2]
    assert all(error is not None for error in last.latent.confidence_error)
    alone, both = walks(model, few, classifier, pairs=2, ends="prior", points=3, batch_size=1, how=how)
    assert (alone.pairs, both.pairs) == (1, 2)
    assert alone.latent.confidence_error == (None, None, None)


def test_pairs_have_different_labels(few: Splits) -> None:
    start, end = pairs_of_images(few.test, 2000, 1)
    assert (few.test.labels[start] != few.test.labels[end]).all()
    assert not torch.equal(start, pairs_of_images(few.test, 2000, 2)[0])
    ones = few.test.labels == 1
    alone = Dataset("ones", few.test.images[ones], few.test.labels[ones])
    start, end = pairs_of_images(alone, 2000)
    assert (start != end).all()
    with pytest.raises(UsageError, match="no way to another"):
        pairs_of_images(Dataset("one", alone.images[:1], alone.labels[:1]), 3)


@pytest.mark.parametrize("options", [{"pairs": 1}, {"batch_size": 0}, {"points": 4}, {"ends": "letters"}])
def test_walks_that_make_no_sense(
    small_vae: VAE, classifier: Classifier, few: Splits, options: dict[str, int]
) -> None:
    with pytest.raises(UsageError):
        next(walks(small_vae, few, classifier, **options))  # type: ignore[arg-type]
