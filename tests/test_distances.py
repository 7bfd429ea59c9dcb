"""Distances between sets of images, held against closed forms and a second implementation."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch

from conftest import CPU
from genmnist.data import Splits
from genmnist.errors import UsageError
from genmnist.evaluation import distances


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
    assert distances.frechet(*sets) == pytest.approx(expected.item(), rel=1e-6)


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
    assert distances.frechet(ours, theirs) == pytest.approx(expected.item(), rel=1e-4)


def test_a_distance_needs_two_images() -> None:
    with pytest.raises(UsageError, match="2 images or more"):
        distances.frechet(torch.zeros(1, 4), torch.zeros(5, 4))


def test_the_bundled_classifier_tells_digits_apart(mnist: Splits) -> None:
    features = distances.bundled_features(CPU)
    wrong = 0
    for images, labels in zip(mnist.test.images.split(500), mnist.test.labels.split(500), strict=True):
        wrong += int((features.decide(features.features(images)) != labels).sum())
    assert wrong <= 50  # of 10,000


def test_noise_is_farther_than_digits(mnist: Splits) -> None:
    features = distances.bundled_features(CPU)
    theirs = features.features(mnist.test.images[:1000])
    assert theirs.shape == (1000, 128)
    digits = features.features(mnist.train.images[:1000])
    noise = features.features(torch.randint(256, (1000, 28, 28), dtype=torch.uint8))
    near, far = (distances.frechet(images, theirs) for images in (digits, noise))
    assert 0 < near < far / 20


def test_the_kernel_distance_is_the_unbiased_mmd() -> None:
    """A second implementation, on sets small enough that every subset is the whole."""
    torch.manual_seed(2)
    ours, theirs = torch.randn(2, 60, 8, dtype=torch.float64)
    theirs = 0.7 * theirs + 0.3

    def between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a @ b.T / 8 + 1) ** 3

    within = sum(
        (between(part, part).sum() - between(part, part).diagonal().sum()) / (60 * 59)
        for part in (ours, theirs)
    )
    expected = within - 2 * between(ours, theirs).mean()
    assert distances.kernel(ours, theirs) == pytest.approx(float(expected), rel=1e-4)
    assert distances.kernel(ours, theirs) == distances.kernel(ours, theirs)


def test_precision_and_recall_are_those_of_a_second_implementation() -> None:
    """Plainly, point by point, with numpy: the definitions as the papers write them."""
    generator = np.random.default_rng(0)
    theirs = generator.normal(size=(70, 3))
    ours = generator.normal(size=(90, 3)) * 0.6 + 0.4
    k = 5

    def reach(points: npt.NDArray[np.float64]) -> list[float]:
        return [sorted(np.linalg.norm(points - point, axis=1))[k] for point in points]

    our_reach, their_reach = reach(ours), reach(theirs)
    apart = np.array([[np.linalg.norm(our - their) for their in theirs] for our in ours])
    hits = np.array([[apart[i, j] <= their_reach[j] for j in range(70)] for i in range(90)])
    found = np.array([[apart[i, j] <= our_reach[i] for i in range(90)] for j in range(70)])
    expected = (hits.any(1).mean(), found.any(1).mean(), hits.sum() / (k * 90), hits.any(0).mean())
    result = distances.manifold(torch.from_numpy(ours), torch.from_numpy(theirs))
    assert msgspec.structs.astuple(result) == pytest.approx(expected, rel=1e-4)


def test_precision_and_recall_mean_what_they_are_named_for() -> None:
    torch.manual_seed(3)
    theirs = torch.randn(1200, 4)
    same = distances.manifold(torch.randn(1200, 4), theirs)
    assert min(same.precision, same.recall, same.coverage) > 0.9
    assert same.density == pytest.approx(1, abs=0.1)
    narrow = distances.manifold(0.1 * torch.randn(1200, 4), theirs)
    assert narrow.precision > 0.95
    assert narrow.recall < 0.1
    wide = distances.manifold(4 * torch.randn(1200, 4), theirs)
    assert wide.precision < 0.2
    with pytest.raises(UsageError, match="needs 6 images or more"):
        distances.manifold(theirs[:5], theirs)
