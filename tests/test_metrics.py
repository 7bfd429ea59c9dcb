"""Distances between sets of images, held against closed forms and a second implementation."""

from __future__ import annotations

import pytest
import torch

from conftest import CPU
from genmnist import metrics
from genmnist.data import Splits
from genmnist.errors import UsageError


def gaussian(n: int, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Return n points whose mean and covariance are exactly these."""
    x = torch.randn(n, len(mean), dtype=torch.float64)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(x.T)), x.T, upper=False).T
    shaped: torch.Tensor = white @ torch.linalg.cholesky(covariance).T
    return shaped + mean


def test_the_distance_of_two_gaussians_is_the_closed_form() -> None:
    torch.manual_seed(0)
    means = torch.randn(2, 8, dtype=torch.float64)
    scales = torch.rand(2, 8, dtype=torch.float64) + 0.5
    sets = [gaussian(500, mean, scale.square().diag()) for mean, scale in zip(means, scales, strict=True)]
    expected = (means[0] - means[1]).square().sum() + (scales[0] - scales[1]).square().sum()
    assert metrics.frechet_distance(*sets) == pytest.approx(expected.item(), rel=1e-6)


def test_the_distance_is_that_of_the_matrix_root() -> None:
    """A second implementation: the symmetric form of the root of the product, by eigenvalues."""
    torch.manual_seed(1)
    ours = torch.randn(400, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    theirs = torch.randn(300, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 1
    first, second = torch.cov(ours.T), torch.cov(theirs.T)
    values, vectors = torch.linalg.eigh(first)
    root = vectors @ values.sqrt().diag() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    mean = (ours.mean(0) - theirs.mean(0)).square().sum()
    expected = mean + first.trace() + second.trace() - 2 * cross
    assert metrics.frechet_distance(ours, theirs) == pytest.approx(expected.item(), rel=1e-4)


def test_a_distance_needs_two_images() -> None:
    with pytest.raises(UsageError, match="two images or more"):
        metrics.frechet_distance(torch.zeros(1, 4), torch.zeros(5, 4))


def test_the_bundled_classifier_tells_digits_apart(mnist: Splits) -> None:
    classifier = metrics.bundled_classifier(CPU)
    wrong = 0
    for images, labels in zip(mnist.test.images.split(500), mnist.test.labels.split(500), strict=True):
        with torch.inference_mode():
            logits = classifier.network.head(classifier.features(images))
        wrong += int((logits.argmax(-1) != labels).sum())
    assert wrong <= 50  # of 10,000


def test_noise_is_farther_than_digits(mnist: Splits) -> None:
    classifier = metrics.bundled_classifier(CPU)
    theirs = metrics.features(classifier, mnist.test.images[:1000])
    assert theirs.shape == (1000, 128)
    digits = metrics.features(classifier, mnist.train.images[:1000])
    noise = metrics.features(classifier, torch.randint(256, (1000, 28, 28), dtype=torch.uint8))
    near, far = (metrics.frechet_distance(images, theirs) for images in (digits, noise))
    assert 0 < near < far / 20
