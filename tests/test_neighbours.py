"""The nearest training digits, held against brute force, and what counts as a copy of them."""

from __future__ import annotations

import pytest
import torch

from genmnist.data import Dataset, Splits
from genmnist.errors import UsageError
from genmnist.evaluation import neighbours
from genmnist.evaluation.neighbours import near_copies, nearest, thresholds


def test_the_nearest_is_that_of_brute_force(few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_ROWS", 70)
    monkeypatch.setattr(neighbours, "_NUMBERS", 130 * 784)
    ours, theirs = few.test.images, few.train.images
    table = torch.cdist(ours.flatten(1).double() / 255, theirs.flatten(1).double() / 255)
    distances, indices = table.min(1)
    shares: list[float] = []
    found = nearest(ours, theirs, shares.append)
    assert torch.equal(found.indices, indices)
    torch.testing.assert_close(found.distances, distances.float())
    assert shares[-1] == 1
    assert shares == sorted(shares)
    assert len(shares) == 8


def test_a_copy_is_at_no_distance(few: Splits) -> None:
    found = nearest(few.train.images[300:500], few.train.images)
    assert found.distances.tolist() == [0] * 200
    assert found.indices.tolist() == list(range(300, 500))
    almost = few.train.images[7].clone()
    almost[14, 14] ^= 1
    assert nearest(almost[None], few.train.images).distances.item() == pytest.approx(1 / 255)


def test_nothing_is_near_nothing(few: Splits) -> None:
    assert len(nearest(few.test.images[:0], few.train.images).distances) == 0
    with pytest.raises(UsageError, match="no images"):
        nearest(few.test.images, few.train.images[:0])


@pytest.fixture(scope="module")
def halves(mnist: Splits) -> Splits:
    """A part of the training digits; half of the test digits, the other half being as good as new."""
    train, _, test = mnist
    return Splits(
        Dataset("mnist", train.images[:8000], train.labels[:8000]),
        mnist.validation,
        Dataset("mnist", test.images[::2], test.labels[::2]),
    )


def test_copies_are_found_and_new_digits_are_not(mnist: Splits, halves: Splits) -> None:
    limits, train = thresholds(halves), halves.train.images
    assert limits.shape == (10,)
    assert limits.argmin() == 1  # ones are all much alike
    copies = near_copies(train[:300], halves.train.labels[:300], train, limits)
    assert copies.share == 1
    known = near_copies(halves.test.images, halves.test.labels, train, limits)
    assert known.share == pytest.approx(neighbours.NEAR, abs=2e-3)
    images, labels = mnist.test.images[1::2], mnist.test.labels[1::2]
    new = near_copies(images, labels, train, limits)
    assert 0.002 < new.share < 0.025
    for label in range(10):  # the definition, class by class
        own = labels == label
        rank = (known.distances[halves.test.labels == label] < new.distances[own, None]).float().mean(1)
        assert (new.near[own] == (rank <= 0.01)).float().mean() > 0.995
    mixed = near_copies(torch.cat((images[:150], train[:50])), torch.zeros(200).long(), train, limits)
    assert mixed.near[150:].all()
    assert mixed.share == mixed.near.double().mean()


def test_copies_need_thresholds_and_samples(few: Splits) -> None:
    limits, train = torch.ones(10), few.train.images
    with pytest.raises(UsageError, match="labels 0 to 9"):
        near_copies(few.test.images[:2], torch.tensor([1, 10]), train, limits)
    with pytest.raises(UsageError, match="no samples"):
        near_copies(few.test.images[:0], torch.tensor([]).long(), train, limits)
    # A class that the test digits lack has the threshold of them all.
    ones = few.test.labels == 1
    alone = Splits(few.train, few.validation, Dataset("ones", few.test.images[ones], few.test.labels[ones]))
    assert torch.equal(thresholds(alone), thresholds(alone)[1].expand(10))
    assert thresholds(alone, 12).shape == (12,)
