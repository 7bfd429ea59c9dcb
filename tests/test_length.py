"""Times and plans: what they are written as, and where in a training a step stands."""

from __future__ import annotations

import pytest

from genmnist.errors import UsageError
from genmnist.families.length import Plan, duration


@pytest.mark.parametrize(
    ("given", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), (2.5, 2.5)]
)
def test_times(given: str | float, seconds: float) -> None:
    assert duration(given) == seconds


@pytest.mark.parametrize("given", ["", "soon", "-3", 0, -1.0, float("nan"), float("inf"), "9" * 400 + "h"])
def test_what_is_no_time(given: str | float) -> None:
    with pytest.raises(UsageError, match="is not a time: write 90s"):
        duration(given)


@pytest.mark.parametrize("text", ["1", "5000", "5000,5200@1600", "100,50@20,200@49,60@59"])
def test_a_plan_is_what_it_is_written_as(text: str) -> None:
    plan = Plan.of(text)
    assert str(plan) == text
    assert Plan.of(plan) is plan
    assert plan.corrected == ("," in text)


@pytest.mark.parametrize(
    "given",
    ["", "0", 0, -1, 2.5, True, None, "1e3", "5,", "100,50", "100,50@", "100,50@0", "100,50@50",
     "100,200@100", "100,50@20,70@20", "100,50@20,70@10", "9" * 14, "10,9999999999999@5"],
)  # fmt: skip
def test_what_is_no_plan(given: object) -> None:
    with pytest.raises(UsageError, match="`steps` must be a whole number of 1 or more, or what a run wrote"):
        Plan.of(given)  # type: ignore[arg-type]


def test_a_plan_that_nobody_corrected_is_exact() -> None:
    plan = Plan.of(7)
    assert [plan.place(step) for step in range(7)] == [(step, 7) for step in range(7)]


def test_a_corrected_plan_goes_on_from_where_it_is() -> None:
    """Of 100 steps 50 are taken; then there are to be 75 in all: each of the 25 left goes twice as far."""
    plan = Plan.of(100).correct(50, 75)
    shares = [place / steps for place, steps in map(plan.place, range(75))]
    assert shares[:51] == pytest.approx([step / 100 for step in range(51)])
    assert shares[51:] == pytest.approx([0.5 + 0.02 * step for step in range(1, 25)])
    assert plan.correct(60, 100).correct(60, 90) == plan.correct(60, 90)
