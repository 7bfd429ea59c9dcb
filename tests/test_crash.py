"""A run outlives what may happen to it: kills at any moment, and a second process that takes it up."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

import forked
from conftest import Command, environment, one_sentence
from genmnist.files import TEMPORARY
from genmnist.runs import checkpoint
from genmnist.runs.documents import StateHeader
from genmnist.runs.folder import Run


def step(run: Run) -> int:
    """Return the step at which a run was last saved."""
    header, _ = checkpoint.read(run.state_file)
    assert isinstance(header, StateHeader)
    return header.progress.step


def timeless(run: Run) -> list[dict[str, float]]:
    """Return the metrics of a run, but for those that no two runs share."""
    lines = [line.flat() for line in run.metrics]
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines]


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_run_ends_with_the_same_weights(
    genmnist: Command, idx_folder: Path, tmp_path: Path, kills: int
) -> None:
    """SIGKILL at random moments, resumed each time: the same weights to the bit, the same metrics."""
    options = (
        "--data-dir", idx_folder, "--batch-size", 20, "--epochs", 8 * kills, "--sample-every", 0,
        "--ema", 0.99, "--precision", "float32", "--device", "cpu", "--quiet", "--save-every", "0.05s",
    )  # fmt: skip
    assert genmnist("train", "vae", *options, "--out", "whole").status == 0
    words: tuple[object, ...] = ("train", "vae", *options, "--out", "killed")
    chance, steps = random.Random(kills), []
    run = Run(tmp_path / "killed")
    for _ in range(kills):
        process = forked.start([*map(str, words)], tmp_path, environment(tmp_path))
        deadline = time.monotonic() + 60
        before = run.state_file.stat().st_mtime_ns if run.state_file.exists() else 0
        while time.monotonic() < deadline and process.is_alive():
            if run.state_file.exists() and run.state_file.stat().st_mtime_ns != before:
                break
            time.sleep(0.005)
        time.sleep(chance.random() * 0.4)
        process.kill()
        process.join()
        steps.append(step(run))
        words = ("train", "vae", "--resume", "killed", "--quiet")
        if run.finished:
            break
    finished = run.finished  # a kill may have come too late
    assert genmnist(*words).status == (2 if finished else 0)
    assert steps == sorted(steps)
    whole = Run(tmp_path / "whole")
    ours, theirs = checkpoint.read(run.model_file)[1], checkpoint.read(whole.model_file)[1]
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name].numpy(), theirs[name].numpy()) for name in theirs)
    assert timeless(run) == timeless(whole)


def test_a_living_run_is_not_touched_by_a_second_process(
    genmnist: Command, vae_run: str, tmp_path: Path
) -> None:
    """Resuming locks first: until the lock is ours, the folder is another's."""
    run = Run(tmp_path / vae_run)
    run.summary_file.unlink()
    # As in a living run the metrics are ahead of the state that was last saved, and a file is being written.
    saved = run.metrics_file.read_bytes()
    run.metrics_file.write_bytes(saved + saved.splitlines(keepends=True)[-1])
    half_written = run.folder / f"{TEMPORARY}x"
    half_written.mkdir()

    def folder() -> dict[str, tuple[int, bytes]]:
        files = (path for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock")
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    with run.locked():
        before = folder()
        sentence = one_sentence(genmnist("train", "vae", "--resume", vae_run), 1)
        assert "another process is training run" in sentence
        assert folder() == before
        assert half_written.exists()
    done = genmnist("train", "vae", "--resume", vae_run)
    assert done.status == 0, done.err
    assert run.finished
    assert run.metrics_file.read_bytes() == saved  # what the state knows
    assert not half_written.exists()


def test_a_training_outlives_its_log(tmp_path: Path, idx_folder: Path) -> None:
    """Standard output that cannot be written, as on a full disk, ends nothing."""
    words = (
        "train",
        "vae",
        "--data-dir",
        str(idx_folder),
        "--steps",
        "60",
        "--sample-every",
        "0",
        "--out",
        "run",
    )
    Path(f"{tmp_path}.out").symlink_to("/dev/full")
    assert forked.run(words, tmp_path, environment(tmp_path), 120) == 0
    assert Run(tmp_path / "run").finished
