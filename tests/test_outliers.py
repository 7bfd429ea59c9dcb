"""What bench/outliers.py measures by: letters as MNIST has digits, unusual profiles, areas under curves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from conftest import program


@pytest.fixture(scope="module")
def outliers() -> Any:
    return program("bench/outliers.py")


@pytest.mark.parametrize(
    ("half", "sides"), [(False, {16, 18, 20}), (True, {8, 9, 10})], ids=["whole", "half"]
)
def test_letters_are_placed_as_digits(outliers: Any, half: bool, sides: set[int]) -> None:
    drawn = outliers.letters(60, half)
    assert drawn.shape == (60, 28, 28)
    assert len(drawn.flatten(1).unique(dim=0)) > 55
    places = torch.arange(28).double() + 0.5
    for ink in drawn.double():
        rows, columns = ink.sum(1), ink.sum(0)
        assert max(int((rows > 0).sum()), int((columns > 0).sum())) in sides
        assert abs(rows @ places / ink.sum() - 14) < 0.75
        assert abs(columns @ places / ink.sum() - 14) < 0.75
        assert ink.max() > 100


def test_the_area_is_the_share_of_pairs_in_order(outliers: Any) -> None:
    inside, outside = torch.tensor([1e9, 1e9 + 1, -5.0, 3.0]).double(), torch.tensor([1e9 + 2, 3.0]).double()
    pairs = (outside[:, None] > inside).double() + 0.5 * (outside[:, None] == inside).double()
    assert outliers.area(inside, outside) == pytest.approx(pairs.mean().item())


def test_a_profile_of_the_usual_sum_may_be_unusual(outliers: Any) -> None:
    torch.manual_seed(0)
    common = torch.randn(2000, 1).double()
    profiles = 5 + common + 0.1 * torch.randn(2000, 6).double()
    usual = outliers.Usual(profiles[:1000])
    assert usual.distance(profiles[1000:]).mean().item() == pytest.approx(6, rel=0.1)
    off = torch.tensor([0.5, -0.5, 0.5, -0.5, 0.5, -0.5])
    assert usual.distance(profiles[1000:] + off).min() > 50
