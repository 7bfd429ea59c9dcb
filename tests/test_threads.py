"""How many threads: the fastest number, found by a look, kept up, and given back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import genmnist
from conftest import CPU
from genmnist import threads
from genmnist.data import Splits
from genmnist.device import autocast, products
from genmnist.runs.documents import StateHeader
from genmnist.runs.folder import Run
from genmnist.threads import Balance, taking, wait_briefly
from genmnist.training import Event, Trainer
from small_runs import train


class Machine:
    """A clock by which a piece of work takes as long as the number of threads makes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> None:
        self.now, self.seconds = 0.0, seconds
        self.turns: list[int] = []
        self.share = 1.0  # of a core is what a thread gets
        monkeypatch.setattr("time.perf_counter", lambda: self.now)
        monkeypatch.setattr("time.thread_time", lambda: self.now * self.share)
        monkeypatch.setattr(threads, "_piece", lambda: self.work)

    def work(self) -> None:
        self.turns.append(torch.get_num_threads())
        self.now += self.seconds[self.turns[-1]]


@pytest.fixture
def two() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ({1: 0.02, 2: 0.01}, 2),
        ({1: 0.02, 2: 0.02}, 2),
        ({1: 0.02, 2: 0.022}, 2),  # not worth a change
        ({1: 0.02, 2: 0.03}, 1),
        ({1: 0.02, 2: 0.4}, 1),
    ],
)
@pytest.mark.usefixtures("two")
def test_the_fastest_number_is_taken(
    seconds: dict[int, float], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, seconds)
    Balance(2).look()
    assert torch.get_num_threads() == taken
    if seconds[2] > 2 * seconds[1]:
        assert machine.turns.count(2) == 1  # what is hopeless costs little


@pytest.mark.usefixtures("two")
def test_where_there_is_no_room_for_two_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.02, 2: 0.01})
    machine.share = 0.5
    Balance(2).look()
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("two")
def test_the_number_follows_the_machine_and_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.02, 2: 0.01})
    seen = []
    with taking():
        for second in range(100):
            machine.seconds[2] = 0.2 if 30 <= second < 60 else 0.01
            with products(CPU, "float32") if second % 2 else autocast(CPU, "float32"):
                seen.append(torch.get_num_threads())
            machine.now = max(machine.now, float(second))
        looked = len(machine.turns)
        with taking(1), autocast(CPU, "float32"):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 2
    assert seen[:25] == [2] * 25
    assert set(seen[50:60]) == {1}
    assert seen[-5:] == [2] * 5
    machine.now += 1000
    with autocast(CPU, "float32"):
        assert len(machine.turns) == looked  # there is nothing left that looks


def test_a_look_changes_no_random_number() -> None:
    balance, before = Balance(2), torch.get_rng_state()
    threads_before = torch.get_num_threads()
    try:
        balance.look()
    finally:
        torch.set_num_threads(threads_before)
    assert torch.equal(torch.get_rng_state(), before)
    assert Balance(8).numbers == [1, 4, 7, 8]


def test_threads_that_wait_sleep_soon_unless_the_user_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    environment: dict[str, str] = {}
    monkeypatch.setattr("os.environ", environment)
    wait_briefly()
    assert environment == {"GOMP_SPINCOUNT": "1000"}
    for given in ({"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}):
        environment.clear()
        environment |= given
        wait_briefly()
        assert environment == given


@pytest.mark.usefixtures("two")
def test_a_run_records_its_threads(tmp_path: Path, few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(self: Balance) -> None:
        torch.set_num_threads(1)

    def disturb(event: Event, trainer: Trainer) -> None:
        torch.set_num_threads(2 if trainer.step >= 4 else 1)

    monkeypatch.setattr(Balance, "look", look)
    monkeypatch.setattr(Balance, "look_if_due", lambda self: None)
    run = train(tmp_path / "run", None, data=few, listen=disturb)
    assert (run.config.threads, run.config.balanced) == (1, True)
    assert run.summary.threads == [(0, 1), (4, 2)]
    header, _ = genmnist.info(run.state_file)
    assert isinstance(header, StateHeader)
    assert header.progress.threads == run.summary.threads
    given = train(tmp_path / "given", None, data=few, threads=2)
    assert (given.config.threads, given.config.balanced, given.summary.threads) == (2, False, [(0, 2)])
    exact = train(tmp_path / "exact", None, data=few, deterministic=True)
    assert (exact.config.threads, exact.config.balanced) == (2, False)


def test_a_resumed_run_takes_the_threads_given(tmp_path: Path, few: Splits) -> None:
    class StopError(Exception):
        pass

    def stop(event: Event, trainer: Trainer) -> None:
        if trainer.step == 5:
            raise StopError

    with pytest.raises(StopError):
        train(tmp_path / "run", None, data=few, threads=1, save_every=0, listen=stop)
    run = genmnist.resume(Run(tmp_path / "run").folder, threads=2, data=few)
    assert run.summary.threads == [(0, 1), (run.summary.threads[1][0], 2)]
    assert 0 < run.summary.threads[1][0] <= 5
