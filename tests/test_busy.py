"""Beside a program that keeps a core busy the defaults are nearly as fast as one thread (bench/busy.py)."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import program


@pytest.fixture(scope="module")
def busy() -> Any:
    return program("bench/busy.py")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3), ids=["train", "sample", "budget"])
def test_a_busy_neighbour_does_not_ruin_the_defaults(
    busy: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # which the tests set, and which leaves no choice
    case = [*busy.cases(1500, 15.0).values()][number]
    with busy.neighbour():
        default, one, _ = busy.compare(case, rounds=2)
    assert default <= 1.3 * one
