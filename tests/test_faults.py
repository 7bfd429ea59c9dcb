"""The fault matrix: trainings that are killed at any moment, and go on as if nothing had been.

A run is killed again and again, resumed each time by the same command, and compared at its end with one that
nobody touched. Some kills come at a random moment, some a little after a save, and some while a file is being
written, which the half-written file that they leave behind proves.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

import forked
from conftest import environment, picture, slow, write_digits
from genmnist.data import Dataset, Splits
from genmnist.errors import GenmnistError
from genmnist.files import TEMPORARY
from genmnist.runs import checkpoint
from genmnist.runs.folder import Run
from small_runs import same, saved_step, timeless

_LONGEST = 120.0  # seconds that a command may take
_A_CHAIN = 8  # kills of one run
_PATIENCE = "8"  # seconds that a process waits for another

FAMILIES = {
    "vae": ("--hidden", "16", "--latent", "4", "--steps", "600", "--save-every", "0.05s",
            "--sample-every", "20"),
    "ddpm": ("--size", "tiny", "--width", "8", "--blocks", "1", "--steps", "60", "--save-every", "0.1s",
             "--sample-every", "0"),
}  # fmt: skip
SENTENCES = (
    "another process of the job has ended or no longer answers",
    "the processes of the job do not find each other",
)


@dataclass
class Figures:
    """What came of the kills.

    Attributes:
        kills, survived: how many, and after how many of them the folder held all that it had before.
        inside: how many of them hit a process that was writing a file.
        resumes, exact: how many, and how many of them belong to a run that ended as the untouched one did.
        lost: bytes of files that were there before, or have their name, and cannot be read.
    """

    kills: int = 0
    survived: int = 0
    inside: int = 0
    resumes: int = 0
    exact: int = 0
    lost: int = 0

    def add(self, other: Figures) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def row(self, family: str, ranks: int) -> str:
        """Return the line that stands at the end of the tests' output (tests/conftest.py)."""
        return (
            f"{family:4}  {ranks} rank{'s' if ranks > 1 else ' '}  kills survived {self.survived:3} of "
            f"{self.kills:3}, {self.inside:2} inside a write   resumes exact to the bit {self.exact:3} of "
            f"{self.resumes:3}   bytes lost {self.lost}"
        )


class Killed:
    """A run that is killed and resumed until it has finished."""

    def __init__(self, command: Sequence[str], run: Run, ranks: int, place: Path) -> None:
        self.words, self.run, self.ranks, self.place = [*command], run, ranks, place
        self.step, self.sizes = 0, dict[str, int]()

    def start(self) -> list[BaseProcess]:
        words = [*self.words, "--out", self.run.folder.name, "--resume", "auto"]
        return forked.start_job(
            [words] * self.ranks, self.place, environment(self.place), GENMNIST_RANK_TIMEOUT=_PATIENCE
        )

    def end(self, processes: Sequence[BaseProcess]) -> list[int | None]:
        """Wait for the end of a job: nobody waits for ever for one that is dead."""
        return forked.end(processes, _LONGEST, self.said)

    def said(self) -> list[str]:
        """Return the sentences that the processes ended with."""
        texts = [Path(f"{self.place}.{rank}.err").read_text("utf-8") for rank in range(self.ranks)]
        assert not any("Traceback" in text for text in texts), texts
        return [line for text in texts for line in text.splitlines() if line.startswith("genmnist: ")]

    def lost(self, whole: Run) -> int:
        """Return how many bytes a kill has cost: of files that are gone or cannot be read, or went back."""
        run, lost = self.run, 0
        readers: dict[Path, Callable[[], object]] = {
            run.config_file: lambda: run.config,
            run.summary_file: lambda: run.summary,
            run.metrics_file: self._check_metrics(whole),
            run.model_file: lambda: checkpoint.load(run.model_file),
            run.state_file: self._check_step,
            run.former_state_file: lambda: checkpoint.read(run.former_state_file),
            run.curves_file: lambda: picture(run.curves_file),
            run.by_epoch_file: lambda: picture(run.by_epoch_file),
        }
        readers |= {path: lambda path=path: picture(path) for _, path in run.pictures}  # type: ignore[misc]
        before = {run.folder / name for name in self.sizes if name.startswith(run.averages.name)}
        averages = before | {*run.averages.glob("*.safetensors")}
        readers |= {path: lambda path=path: checkpoint.load(path) for path in averages}  # type: ignore[misc]
        if self.step and not run.state_file.exists():
            lost += 1
        for path, read in readers.items():
            name = str(path.relative_to(run.folder))
            if path.exists():
                try:
                    read()
                except (GenmnistError, AssertionError, OSError):
                    lost += max(path.stat().st_size, 1)
                self.sizes[name] = path.stat().st_size
            else:
                lost += self.sizes.get(name, 0)
        known = {*readers, run.samples, run.averages, run.folder / ".lock"}
        strange = [path for path in run.folder.rglob("*") if path not in known and TEMPORARY not in str(path)]
        assert not strange
        return lost

    def _check_metrics(self, whole: Run) -> Callable[[], None]:
        def check() -> None:
            lines = timeless(self.run.metrics)
            assert lines == timeless(whole.metrics)[: len(lines)]

        return check

    def _check_step(self) -> None:
        step = saved_step(self.run)
        assert step >= self.step
        self.step = step

    def equals(self, whole: Run) -> bool:
        """Tell whether it has ended as another run did: weights, averages, optimisers, metrics, pictures."""
        run = self.run
        ours, theirs = (sorted(each.averages.iterdir()) for each in (run, whole))
        if [path.name for path in ours] != [path.name for path in theirs]:
            return False
        pairs = zip(ours, theirs, strict=True)
        kept = ((run.model_file, whole.model_file), (run.state_file, whole.state_file), *pairs)
        return (
            all(same(checkpoint.read(ours)[1], checkpoint.read(theirs)[1]) for ours, theirs in kept)
            and timeless(run.metrics) == timeless(whole.metrics)
            and [number for number, _ in run.pictures] == [number for number, _ in whole.pictures]
        )


def half_written(run: Run) -> set[Path]:
    """Return what a run is writing; a running one may take it away while we look."""
    return {
        path for folder in (run.folder, run.samples, run.averages) for path in folder.glob(f"{TEMPORARY}*")
    }


def wait_for(moment: str, killed: Killed, processes: Sequence[BaseProcess], chance: random.Random) -> None:
    """Let a job run to a moment at which it is to be killed, or to its end."""
    run, deadline = killed.run, time.monotonic() + _LONGEST

    def until(reached: Callable[[], bool]) -> None:
        while not reached() and all(process.is_alive() for process in processes):
            assert time.monotonic() < deadline, killed.said()
            time.sleep(0.0003)

    def saved() -> int:
        try:
            return run.state_file.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    before = saved()
    if moment == "any":
        time.sleep(chance.random() * (1.5 if killed.ranks == 1 else 3.0))
        return
    until(lambda: saved() != before)
    if moment == "saved":
        time.sleep(chance.random() * 0.2)
        return
    # What is being written is new each time; one of the first few is hit.
    seen, nth = half_written(run), chance.randint(1, 4)
    first = len(seen)

    def writes() -> bool:
        seen.update(half_written(run))
        return len(seen) >= first + nth

    until(writes)
    time.sleep(chance.random() * 0.002)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, mnist: Splits) -> Path:
    """Few and small digits, so that steps are short."""

    def small(part: Dataset, count: int) -> Dataset:
        return Dataset(part.name, part.images[:count, 10:18, 10:18].contiguous(), part.labels[:count])

    few = Splits(small(mnist.train, 160), small(mnist.validation, 40), small(mnist.test, 40))
    return write_digits(tmp_path_factory.mktemp("few") / "digits", few)


@pytest.mark.parametrize(
    ("family", "ranks", "kills"),
    [
        ("vae", 1, 1),
        *slow(("vae", 1, 80), ("ddpm", 1, 60), ("vae", 2, 40), ("ddpm", 2, 30)),
    ],
)
def test_no_kill_costs_more_than_what_was_not_saved_yet(
    family: str,
    ranks: int,
    kills: int,
    digits: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    command = (
        "train", family, *FAMILIES[family], "--data-dir", str(digits), "--batch-size", "8", "--ema", "0.9",
        "--snapshots", "6",
        "--threads", "1", "--precision", "float32", "--device", "cpu", "--quiet",
    )  # fmt: skip
    whole = Killed(command, Run(tmp_path / "whole"), ranks, tmp_path)
    assert whole.end(whole.start()) == [0] * ranks, whole.said()
    chance, found, number = random.Random(f"{family} {ranks} {kills}"), Figures(), 0
    while found.kills < kills:
        number += 1
        killed = Killed(command, Run(tmp_path / f"killed-{number}"), ranks, tmp_path)
        here = kill_and_resume(killed, whole.run, min(_A_CHAIN, kills - found.kills), chance)
        found.add(here)
    record_property("faults", found.row(family, ranks))
    assert found.survived == found.kills == kills
    assert found.exact == found.resumes
    assert found.lost == 0


def kill_and_resume(killed: Killed, whole: Run, kills: int, chance: random.Random) -> Figures:
    """Kill a run so many times, unless it finishes before, and let it finish."""
    found = Figures()
    while found.kills < kills and not killed.run.finished:
        processes = killed.start()
        wait_for(chance.choice(("any", "saved", "writing", "writing")), killed, processes, chance)
        victims = chance.sample(processes, chance.randint(1, killed.ranks))
        for victim in victims:
            victim.kill()
        statuses = killed.end(processes)
        died = [process for process in victims if process.exitcode == -signal.SIGKILL]
        survivors = [status for status in statuses if status != -signal.SIGKILL]
        if died:
            found.kills += 1
            found.inside += bool(half_written(killed.run))
            lost = killed.lost(whole)
            found.lost += lost
            told = len(died) == killed.ranks or killed.run.finished or is_one_sentence(killed.said())
            found.survived += not lost and told and set(survivors) <= {0, 1}
            found.resumes += 1
        else:
            assert killed.run.finished, killed.said()
    if not killed.run.finished:
        assert killed.end(killed.start()) == [0] * killed.ranks, killed.said()
    assert not half_written(killed.run)
    found.exact = found.resumes if killed.equals(whole) else 0
    return found


def is_one_sentence(said: Sequence[str]) -> bool:
    return len(said) == 1 and any(sentence in said[0] for sentence in SENTENCES)
