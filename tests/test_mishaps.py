"""What people and machines do to a running training: it ends in one sentence, and what was saved is kept."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import forked
import genmnist
from conftest import Command, environment, slow
from genmnist import files
from genmnist.errors import GenmnistError, UsageError
from genmnist.runs.documents import Config
from genmnist.runs.folder import Run
from genmnist.training import Event, StepEnd, Trainer, recorder
from small_runs import same, saved_step, tensors, timeless, train

_LONGEST = 120.0  # seconds


def at_step(step: int, act: Callable[[], object]) -> Callable[[Event, Trainer], None]:
    """Return a listener that does something after a step."""

    def listen(event: Event, trainer: Trainer) -> None:
        if isinstance(event, StepEnd) and event.step == step:
            act()

    return listen


def sentence(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


# A folder that goes away


@pytest.mark.parametrize("during", [*slow("a step"), "a save"])
def test_a_folder_that_is_removed_under_a_training_stays_removed(
    during: str, tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")

    def remove() -> None:
        shutil.rmtree(run.folder)

    if during == "a save":
        flush = files._flush
        flushed = itertools.count()

        def remove_first(path: Path) -> None:
            if path.name == run.state_file.name and next(flushed) == 3:
                remove()
            flush(path)

        monkeypatch.setattr(files, "_flush", remove_first)
    listen = at_step(5, remove) if during == "a step" else None
    with pytest.raises(GenmnistError) as caught:
        train(run.folder, idx_folder, listen=listen, save_every=0.0)
    assert sentence(caught.value) == (
        f"{run.config_file} was removed or moved: nothing more is written to {run.folder}"
    )
    assert not run.folder.exists()


@pytest.mark.slow
def test_a_folder_that_is_moved_under_a_training_is_resumed_there(tmp_path: Path, idx_folder: Path) -> None:
    whole = train(tmp_path / "whole", idx_folder)
    move = at_step(6, lambda: (tmp_path / "run").rename(tmp_path / "elsewhere"))
    with pytest.raises(GenmnistError, match="was removed or moved"):
        train(tmp_path / "run", idx_folder, listen=move, save_every=0.0)
    assert not (tmp_path / "run").exists()
    assert saved_step(Run(tmp_path / "elsewhere")) == 5
    run = genmnist.resume(tmp_path / "elsewhere")
    assert same(tensors(run), tensors(whole))


# Two at once


def test_a_run_is_begun_by_one_process_at_a_time(tmp_path: Path, idx_folder: Path) -> None:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    with run.locked(), pytest.raises(GenmnistError, match="another process is training"):
        train(run.folder, idx_folder)
    begun: list[str] = []

    def begin_again() -> None:
        with pytest.raises(UsageError) as caught:
            train(run.folder, idx_folder)
        begun.append(sentence(caught.value))

    train(run.folder, idx_folder, listen=at_step(1, begin_again))
    assert begun == [f"{run.folder} holds a run already: `resume` it, or name another `out`"]
    assert run.finished


def test_what_a_kill_leaves_of_a_beginning_is_no_run(tmp_path: Path, idx_folder: Path) -> None:
    run = Run(tmp_path / "run")
    run.samples.mkdir(parents=True)
    run.lock_file.touch()
    (run.folder / f"{files.TEMPORARY}x").mkdir()
    train(run.folder, idx_folder)
    assert run.finished
    (tmp_path / "other" / "samples").mkdir(parents=True)
    (tmp_path / "other" / "samples" / "mine.png").touch()
    with pytest.raises(UsageError, match="is not an empty folder"):
        train(tmp_path / "other", idx_folder)


# Interruptions


def interrupt(times: int) -> None:
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("during", [*slow("a step"), "a save"])
def test_a_second_interruption_ends_a_training_at_once(
    during: str, tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state before stays, also where the first has begun to save; nothing half written is left."""
    whole, run = train(tmp_path / "whole", idx_folder), Run(tmp_path / "run")
    flush = files._flush

    def interrupt_save(path: Path) -> None:
        if path.name == run.state_file.name and run.state_file.exists():
            interrupt(2)
        flush(path)

    if during == "a save":
        monkeypatch.setattr(files, "_flush", interrupt_save)
    listen = at_step(5, lambda: interrupt(2)) if during == "a step" else None
    with pytest.raises(KeyboardInterrupt):
        train(run.folder, idx_folder, listen=listen, save_every=0.0)
    monkeypatch.undo()
    assert not list(run.folder.rglob(f"{files.TEMPORARY}*"))
    assert saved_step(run) == (4 if during == "a step" else 1)
    genmnist.resume(run.folder)
    assert same(tensors(run), tensors(whole))
    assert timeless(run.metrics) == timeless(whole.metrics)


class Training:
    """A training in a process of its own that lasts until something happens to it."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.common = ("train", "vae", "--data-dir", str(data), "--hidden", "16", "--latent", "4",
                       "--precision", "float32", "--device", "cpu", "--threads", "1",
                       "--sample-every", "0", "--save-every", "0.2s", "--quiet")  # fmt: skip

    def start(self, *words: str, ranks: int = 1) -> list[Any]:
        own = [*self.common, *words]
        return forked.start_job([own] * ranks, self.folder, environment(self.folder))

    def end(self, processes: list[Any]) -> list[int]:
        for process in processes:
            process.join(_LONGEST)
            assert not process.is_alive()
        return [process.exitcode for process in processes]

    def sentences(self, ranks: int = 1) -> list[str]:
        """Return what was said on standard error, which has no traceback in it."""
        texts = [Path(f"{self.folder}.{rank}.err").read_text("utf-8") for rank in range(ranks)]
        assert not any("Traceback" in text for text in texts), texts
        return [line for text in texts for line in text.splitlines() if line.startswith("genmnist: ")]

    def wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + _LONGEST
        while not path.exists():
            assert time.monotonic() < deadline, self.sentences()
            time.sleep(0.01)


@pytest.fixture
def training(tmp_path: Path, idx_folder: Path) -> Training:
    return Training(tmp_path, idx_folder)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_command_whose_folder_is_removed_says_so(ranks: int, training: Training, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    processes = training.start("--epochs", "5000", "--out", "run", ranks=ranks)
    training.wait_for(run.state_file)
    run.folder.rename(tmp_path / "away")  # at once, as no removal is
    shutil.rmtree(tmp_path / "away")
    assert training.end(processes) == [1] * ranks
    assert training.sentences(ranks) == [
        "genmnist: run/config.json was removed or moved: nothing more is written to run"
    ]
    assert not run.folder.exists()


@pytest.mark.slow
def test_of_two_commands_that_begin_in_one_folder_one_trains(training: Training, tmp_path: Path) -> None:
    chance = random.Random(0)
    for number in range(6):
        # Each with files of its own for what it says, which are beside the folder that it begins in.
        homes = [tmp_path / f"home-{number}-{one}" for one in range(2)]
        words = [*training.common, "--steps", "40", "--out", str(tmp_path / f"same-{number}")]
        processes = []
        for home in homes:
            home.mkdir()
            processes.append(forked.start(words, home, environment(tmp_path)))
            time.sleep(chance.random() * 0.05)
        statuses = training.end(processes)
        assert statuses.count(0) == 1, statuses
        loser = statuses.index(max(statuses))
        said = Path(f"{homes[loser]}.err").read_text("utf-8").splitlines()
        assert len(said) == 1
        if statuses[loser] == 2:
            assert "holds a run already" in said[0] or "is not an empty folder" in said[0]
        else:
            assert "another process is training" in said[0]
        run = Run(tmp_path / f"same-{number}")
        assert run.summary.steps == 40


@pytest.mark.slow
@pytest.mark.parametrize("signals", ["INT", "TERM", "INT INT", "TERM INT"])
def test_commands_are_interrupted_and_resumed_to_the_bit(
    signals: str, training: Training, genmnist: Command, tmp_path: Path
) -> None:
    assert training.end(training.start("--epochs", "60", "--out", "whole")) == [0]
    whole, chance = Run(tmp_path / "whole"), random.Random(signals)
    numbers = [signal.Signals[f"SIG{name}"] for name in signals.split()]
    for number in range(4):
        run = Run(tmp_path / f"run-{number}")
        (process,) = training.start("--epochs", "60", "--out", run.folder.name)
        training.wait_for(run.state_file)
        for one in numbers:
            with contextlib.suppress(ProcessLookupError):  # it may have ended after the first
                os.kill(process.pid, one)
            time.sleep(chance.random() * 0.1)
        assert training.end([process]) == [130]
        (said,) = training.sentences()
        if len(numbers) == 1 or "step" in said:
            assert "which is saved" in said
            assert said.endswith(f"go on with `genmnist train vae --resume {run.folder.name}`")
        else:
            assert said == "genmnist: interrupted"
        done = genmnist("train", "vae", "--resume", run.folder.name)
        assert done.status == 0, done.err
        assert same(tensors(run), tensors(whole))
        assert timeless(run.metrics) == timeless(whole.metrics)


# Clocks


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of day may be set, by days; a run goes by clocks that nobody sets."""
    now, jumps, saves = time.time, itertools.cycle((0.0, 3e5, -3e5, 1e8)), list[int]()
    monkeypatch.setattr("time.time", lambda: now() + next(jumps))
    save = recorder.save

    def count(run: Run, trainer: Trainer, config: Config) -> None:
        saves.append(trainer.step)
        save(run, trainer, config)

    monkeypatch.setattr(recorder, "save", count)
    run = train(tmp_path / "run", idx_folder, budget="1s", save_every=1000.0)
    assert saves == [run.summary.steps]  # once, at the end
    assert run.summary.steps > 1
    assert 0 < run.summary.seconds < 60
    assert all(0 < line.seconds < 60 and line.images_per_second > 1 for line in run.metrics)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5.0, 12.0])
def test_a_process_that_is_stopped_under_a_budget_ends_as_planned(
    seconds: float, training: Training, tmp_path: Path
) -> None:
    """Of its budget of ten seconds half is gone, or all; its learning rate falls all the same."""
    run = Run(tmp_path / "run")
    (process,) = training.start("--budget", "10s", "--lr-schedule", "cosine", "--out", "run")
    training.wait_for(run.state_file)
    before = saved_step(run)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGCONT)
    assert training.end([process]) == [0]
    assert run.config.plan
    rates = [line.lr for line in run.metrics]
    assert rates[-1] < 0.01 * max(rates)
    assert run.summary.steps > before + 20


# Disks


def _where_disks_are_ours(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount file systems, which ends with status 99 if it cannot."""
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", script], cwd=folder, capture_output=True, text=True,
        env=os.environ | environment(folder), check=False, timeout=_LONGEST,
    )  # fmt: skip
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("no file system can be mounted here")
    return done


@pytest.mark.slow
def test_a_small_disk_that_fills_keeps_the_last_state(
    genmnist: Command, training: Training, tmp_path: Path
) -> None:
    """A file system of 1 MiB has room for two states and a model, and none for the next state."""
    words = " ".join([*training.common, "--steps", "400", "--save-every", "0.01s"])
    assert genmnist(*words.split(), "--out", "whole").status == 0
    script = f"""
        mkdir disk && mount -t tmpfs -o size=1m tmpfs disk || exit 99
        {sys.executable} -m genmnist {words} --out disk/run; echo $?
        ls -A disk/run
        mount -o remount,size=8m disk || exit 99
        {sys.executable} -m genmnist train vae --resume disk/run; echo $?
        cp -r disk/run .
    """
    done = _where_disks_are_ours(script, tmp_path)
    (said,) = done.stderr.splitlines()
    assert "cannot write disk/run/" in said
    assert "no space left on device" in said
    first, *_, last = done.stdout.splitlines()
    assert first == "1"
    assert last == "0"
    assert files.TEMPORARY not in done.stdout
    assert "state.safetensors" in done.stdout
    run, whole = Run(tmp_path / "run"), Run(tmp_path / "whole")
    assert same(tensors(run), tensors(whole))
    assert timeless(run.metrics) == timeless(whole.metrics)


@pytest.mark.slow
def test_a_disk_that_has_become_read_only_is_named_and_nothing_is_lost(
    training: Training, tmp_path: Path
) -> None:
    words = " ".join([*training.common, "--steps", "400", "--save-every", "0.01s"])
    script = f"""
        mkdir disk && mount -t tmpfs -o size=8m tmpfs disk || exit 99
        {sys.executable} -m genmnist {words} --out disk/run & trainer=$!
        until [ -e disk/run/state.safetensors ]; do sleep 0.05; done
        kill -KILL $trainer; wait $trainer
        mount -o remount,ro disk || exit 99
        {sys.executable} -m genmnist train vae --resume disk/run; echo $?
        {sys.executable} -m genmnist {words} --out disk/other; echo $?
        mount -o remount,rw disk || exit 99
        {sys.executable} -m genmnist train vae --resume disk/run --quiet; echo $?
    """
    done = _where_disks_are_ours(script, tmp_path)
    resumed, begun = [line for line in done.stderr.splitlines() if line.startswith("genmnist")]
    assert "cannot write disk/run: read-only file system" in resumed
    assert "disk is not a folder that you may write to" in begun
    assert done.stdout.split() == ["1", "2", "0"]
