"""The classifier: its loss, and how it disturbs the images that it learns from."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from conftest import CPU
from genmnist.data import Splits, scale
from genmnist.families.classifier import ClassifierOptions
from genmnist.models import Classifier
from genmnist.randomness import reseed


def small(**options: object) -> Classifier:
    torch.manual_seed(0)
    return Classifier(ClassifierOptions.of({"width": 8, **options})).place(CPU, "float32")


def test_the_loss_is_the_cross_entropy_of_the_images_as_they_are(few: Splits) -> None:
    model = small().eval()
    images, labels = few.test.batch(torch.arange(40))
    losses = model.losses(images, labels)
    logits = model.logits(images)
    torch.testing.assert_close(losses["loss"], F.cross_entropy(logits, labels))
    assert losses["error"] == (logits.argmax(-1) != labels).float().mean()


def test_features_are_what_the_logits_are_made_of(few: Splits) -> None:
    model = small().eval()
    images = few.test.images[:5]
    logits = model.network.head(model.features(images).clone())
    torch.testing.assert_close(logits, model.logits(scale(images)))


def test_training_disturbs_images_and_validation_does_not(few: Splits) -> None:
    model = small()
    batch = few.train.batch(torch.arange(40))
    found = []
    for number in range(2):
        reseed(CPU, number)
        found.append(model.train().losses(*batch)["loss"])
        found.append(model.eval().losses(*batch)["loss"])
    assert found[0] != found[2]
    assert found[1] == found[3]


def test_an_image_is_disturbed_by_as_much_as_is_said(few: Splits) -> None:
    images = scale(few.train.images[:64])
    still = small(turn=0.0, shift=0.0, stretch=0.0)
    torch.testing.assert_close(still.disturbed(images), images, rtol=0, atol=1e-4)
    reseed(CPU, 0)
    moved = small(turn=0.0, shift=3.0, stretch=0.0).disturbed(images)

    def middle(x: torch.Tensor) -> torch.Tensor:
        return (x.sum(2) * torch.arange(28.0)).sum(-1) / x.sum((2, 3))

    distance = (middle(moved) - middle(images)).abs()
    assert distance.max() < 3.1
    assert distance.mean() > 1
    reseed(CPU, 0)
    turned = small(turn=20.0, shift=0.0, stretch=0.0).disturbed(images)
    assert (turned - images).abs().mean() > 0.01
    assert (middle(turned) - middle(images)).abs().max() < 2.5
