"""What goes wrong gets one sentence, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Command, one_sentence, slow


def test_files_that_are_no_model_are_named(genmnist: Command, vae_run: str, tmp_path: Path) -> None:
    (tmp_path / "junk.safetensors").write_bytes(os.urandom(1000))
    assert "damaged" in one_sentence(genmnist("sample", "vae", "--model", "junk.safetensors"), 1)
    state = f"{vae_run}/state.safetensors"
    assert "training state" in one_sentence(genmnist("sample", "vae", "--model", state), 1)


def test_runs_that_are_not_there_or_are_done_are_named(genmnist: Command, vae_run: str) -> None:
    assert "no finished run" in one_sentence(genmnist("sample", "vae", "--model", "latest"), 1)
    sentence = one_sentence(genmnist("train", "vae", "--out", vae_run), 2)
    assert "holds a run already: --resume it, or name another --out" in sentence
    assert "has finished" in one_sentence(genmnist("train", "vae", "--resume", vae_run), 2)


def test_places_that_cannot_be_written_are_named(genmnist: Command, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("")
    assert "not an empty folder" in one_sentence(genmnist("sample", "vae", "--out", "taken"), 2)
    assert "cannot write" in one_sentence(genmnist("train", "vae", "--out", "/proc/x"), 1)


def test_a_device_that_is_not_here_is_named(genmnist: Command) -> None:
    assert "CUDA" in one_sentence(genmnist("sample", "vae", "--device", "cuda:99"), 1)


def test_a_full_disk_gets_one_sentence_and_leaves_nothing(genmnist: Command, tmp_path: Path) -> None:
    for out in ("s.png", "s.npz", "s.gif"):
        done = genmnist("sample", "vae", "--quiet", "--out", out, largest_file=2000)
        assert "cannot write" in one_sentence(done, 1)
    (tmp_path / "old.npz").write_bytes(b"old")
    one_sentence(genmnist("sample", "vae", "--quiet", "--out", "old.npz", largest_file=2000), 1)
    assert (tmp_path / "old.npz").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["old.npz"]


def test_a_full_disk_stops_training_with_the_last_state_kept(genmnist: Command, idx_folder: Path) -> None:
    words = ("--data-dir", idx_folder, "--steps", 5, "--out", "run", "--quiet", "--device", "cpu")
    done = genmnist("train", "vae", *words, largest_file=200_000)
    assert "cannot write" in one_sentence(done, 1)
    resumed = genmnist("train", "vae", "--resume", "run", "--json")
    assert resumed.status == 0, resumed.err
    assert resumed.json["steps"] == 5


@pytest.mark.parametrize(
    ("sink", "status", "sentence"),
    [*slow(("| true", 1, "")), ("> /dev/full", 1, "genmnist: no space left on device\n")],
)
def test_output_to_a_reader_that_left(sink: str, status: int, sentence: str) -> None:
    script = f"set -o pipefail; {sys.executable} -m genmnist info vae --json {sink}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (status, sentence)
