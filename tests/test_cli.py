"""Every command as a user runs it: in a process of its own, its files opened again."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Command, one_sentence, picture

SMALL = ("--hidden", 16, "--latent", 4, "--device", "cpu")


@pytest.fixture
def run(genmnist: Command, idx_folder: Path) -> str:
    """Train a run of two epochs on a thousand images."""
    done = genmnist("train", "vae", "--data-dir", idx_folder, "--epochs", 2, "--out", "run", *SMALL)
    assert done.status == 0, done.err
    return "run"


def test_help_and_version_answer(genmnist: Command) -> None:
    for words in (("--help",), ("train", "vae", "--help"), ("--version",)):
        done = genmnist(*words, importing=False)
        assert done.status == 0
        assert "genmnist" in done.out or "Usage" in done.out


def test_train_prints_epochs_and_writes_a_run(genmnist: Command, run: str, tmp_path: Path) -> None:
    assert sorted(path.name for path in (tmp_path / run).iterdir()) == [
        "config.json", "losses.png", "metrics.jsonl", "model.safetensors", "samples", "samples-by-epoch.png",
        "state.safetensors", "summary.json",
    ]  # fmt: skip
    picture(tmp_path / run / "losses.png")
    picture(tmp_path / run / "samples" / "epoch_002.png")
    config = json.loads((tmp_path / run / "config.json").read_text())
    assert config["recipe"]["epochs"] == 2
    assert config["versions"]["torch"]


def test_train_speaks_json(genmnist: Command, idx_folder: Path) -> None:
    done = genmnist("train", "vae", "--data-dir", idx_folder, "--steps", 3, "--json", *SMALL)
    assert done.status == 0, done.err
    assert done.json["steps"] == 3
    assert done.json["metrics"]["val_loss"] > 0
    assert "validation" in done.err
    assert Path(done.json["run"]).parts[:2] == ("runs", "vae")


def test_train_keeps_quiet(genmnist: Command, idx_folder: Path) -> None:
    done = genmnist("train", "vae", "--data-dir", idx_folder, "--budget", "2s", "--quiet", *SMALL)
    assert (done.status, done.out, done.err) == (0, "", "")


def test_the_latest_run_is_taken_else_the_bundled_model(genmnist: Command, idx_folder: Path) -> None:
    assert genmnist("sample", "vae", "-n", 1, "--json").json["model"] == "the bundled vae"
    genmnist("train", "vae", "--data-dir", idx_folder, "--steps", 3, *SMALL)
    done = genmnist("sample", "vae", "-n", 1)
    assert done.out.startswith(f"model: run {Path('runs/vae')}")
    assert (
        genmnist("sample", "vae", "-n", 1, "--model", "bundled", "--json").json["model"] == "the bundled vae"
    )


def test_sample_writes_what_the_suffix_says(genmnist: Command, tmp_path: Path) -> None:
    assert genmnist("sample", "vae").status == 0
    assert picture(tmp_path / "vae-samples.png").size == (8 * 90 + 6, 8 * 90 + 6)
    assert genmnist("sample", "vae", "--num", 70, "--out", "s.npz").status == 0
    with np.load(tmp_path / "s.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
    assert images.shape == (70, 28, 28)
    assert images.dtype == np.uint8
    assert genmnist("sample", "vae", "--num", 5, "--out", "five", "--batch-size", 2).status == 0
    names = sorted(path.name for path in (tmp_path / "five").iterdir())
    assert names == [f"{k:03d}.png" for k in range(5)]
    first = np.asarray(picture(tmp_path / "five" / "000.png")).astype(int)
    assert first.shape == (28, 28)
    assert abs(first - images[0]).max() <= 1
    assert genmnist("sample", "vae", "--num", 4, "--out", "s.gif").status == 0
    with Image.open(tmp_path / "s.gif") as animation:
        assert getattr(animation, "n_frames", 1) > 20


def test_a_sample_is_the_same_whatever_the_number(genmnist: Command, tmp_path: Path) -> None:
    genmnist("sample", "vae", "--num", 10, "--seed", 3, "--out", "few.npz")
    genmnist("sample", "vae", "--num", 300, "--seed", 3, "--batch-size", 64, "--out", "many.npz")
    with np.load(tmp_path / "few.npz") as few, np.load(tmp_path / "many.npz") as many:
        assert abs(few["images"].astype(int) - many["images"][:10]).max() <= 1


@pytest.mark.slow
def test_a_compiled_step_learns_the_same(genmnist: Command, idx_folder: Path) -> None:
    words = (
        "train",
        "vae",
        "--data-dir",
        idx_folder,
        "--epochs",
        3,
        "--precision",
        "float32",
        "--json",
        *SMALL,
    )
    eager, compiled = genmnist(*words), genmnist(*words, "--compile")
    assert compiled.status == 0, compiled.err
    losses = [done.json["metrics"]["val_loss"] for done in (eager, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.slow
def test_a_hundred_thousand_samples_stream(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("sample", "vae", "--num", 100_000, "--out", "s.npz")
    assert done.status == 0
    with np.load(tmp_path / "s.npz") as arrays:
        assert arrays["images"].shape == (100_000, 28, 28)
        assert arrays["images"][-1].max() > 100


def test_traverse_sorts_factors_by_their_use(genmnist: Command, run: str, tmp_path: Path) -> None:
    done = genmnist("traverse", "vae", "--json")
    assert done.status == 0, done.err
    kls = [factor["kl"] for factor in done.json["factors"]]
    assert len(kls) == 20
    assert kls == sorted(kls, reverse=True)
    assert done.json["active_units"] == sum(factor["active"] for factor in done.json["factors"])
    assert sum(kls) == pytest.approx(25.3, abs=1.5)  # what training reports as the KL on the test set
    width, height = picture(tmp_path / "vae-traversal.png").size
    assert height > 20 * 90
    assert width > 5 * 90
    done = genmnist("traverse", "vae", "--from-digit", 7, "--steps", 9, "--span", 3, "--out", "t.gif")
    assert done.status == 0, done.err
    with Image.open(tmp_path / "t.gif") as animation:
        assert getattr(animation, "n_frames", 1) == 16
    sentence = one_sentence(genmnist("traverse", "vae", "--model", run), 2)
    assert "trained on a folder" in sentence


def test_traverse_measures_on_the_users_own_data(genmnist: Command, run: str, idx_folder: Path) -> None:
    done = genmnist("traverse", "vae", "--model", run, "--data-dir", idx_folder, "--json")
    assert len(done.json["factors"]) == 4


def test_interpolate_walks_in_both_spaces(genmnist: Command, tmp_path: Path) -> None:
    for space, rows in (("latent", 4), ("pixel", 4), ("both", 8)):
        done = genmnist("interpolate", "vae", "--space", space, "--out", f"{space}.png")
        assert done.status == 0, done.err
        width, height = picture(tmp_path / f"{space}.png").size
        assert rows * 90 < height < rows * 90 + 60
        assert width > 11 * 90
    both = np.asarray(picture(tmp_path / "both.png"))
    latent = np.asarray(picture(tmp_path / "latent.png"))
    assert (both[-8 * 90 : -7 * 90] == latent[-4 * 90 : -3 * 90]).mean() > 0.95
    options = ("--from-digits", 6, 1, "--pairs", 2, "--path", "slerp", "--steps", 5, "--out", "w.gif")
    done = genmnist("interpolate", "vae", *options)
    assert done.status == 0, done.err
    with Image.open(tmp_path / "w.gif") as animation:
        assert getattr(animation, "n_frames", 1) == 8


def test_info_data_and_doctor(genmnist: Command, run: str, tmp_path: Path) -> None:
    document = genmnist("info", run, "--json").json
    assert document["options"]["latent"] == 4
    assert document["finished"]
    assert document["parameters"] == sum(
        np.prod(s) for s in ((784, 16), 16, (16, 8), 8, (4, 16), 16, (16, 784), 784)
    )
    assert "float16" in genmnist("info", "vae").out
    rows = {row["name"]: row for row in genmnist("data", "--json").json["sets"]}
    assert (rows["mnist"]["train"], rows["mnist"]["test"], rows["mnist"]["state"]) == (
        60_000,
        10_000,
        "verified",
    )
    assert rows["kmnist"]["state"] == "absent"
    assert genmnist("data", "--data-dir", "digits", "--json").json["sets"][0]["train"] == 1000
    health = genmnist("doctor", "--json", "--device", "cpu").json
    assert (health["mnist"], health["bundled vae"], health["problems"]) == ("verified", "verified", 0)


def test_failures_get_one_sentence(genmnist: Command, run: str, tmp_path: Path) -> None:
    (tmp_path / "junk.safetensors").write_bytes(os.urandom(1000))
    assert "damaged" in one_sentence(genmnist("sample", "vae", "--model", "junk.safetensors"), 1)
    assert "training state" in one_sentence(genmnist("sample", "vae", "--model", "run/state.safetensors"), 1)
    assert "no finished run" in one_sentence(genmnist("sample", "vae", "--model", "latest"), 1)
    assert "holds a run already" in one_sentence(genmnist("train", "vae", "--out", run), 2)
    assert "has finished" in one_sentence(genmnist("train", "vae", "--resume", run), 2)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("")
    assert "not an empty folder" in one_sentence(genmnist("sample", "vae", "--out", "taken"), 2)
    assert "cannot write" in one_sentence(genmnist("train", "vae", "--out", "/proc/x"), 1)
    assert "CUDA" in one_sentence(genmnist("sample", "vae", "--device", "cuda:99"), 1)


def test_a_full_disk_gets_one_sentence_and_leaves_nothing(genmnist: Command, tmp_path: Path) -> None:
    def full(limit: int) -> dict[str, object]:
        return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))}

    for out in ("s.png", "s.npz", "s.gif"):
        assert "cannot write" in one_sentence(
            genmnist("sample", "vae", "--quiet", "--out", out, **full(2000)), 1
        )
    (tmp_path / "old.npz").write_bytes(b"old")
    one_sentence(genmnist("sample", "vae", "--quiet", "--out", "old.npz", **full(2000)), 1)
    assert (tmp_path / "old.npz").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["old.npz"]


def test_a_full_disk_stops_training_with_the_last_state_kept(genmnist: Command, idx_folder: Path) -> None:
    done = genmnist(
        "train", "vae", "--data-dir", idx_folder, "--steps", 5, "--out", "run", "--quiet", "--device", "cpu",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )  # fmt: skip
    assert "cannot write" in one_sentence(done, 1)
    resumed = genmnist("train", "vae", "--resume", "run", "--json")
    assert resumed.status == 0, resumed.err
    assert resumed.json["steps"] == 5


def test_output_to_a_reader_that_left(genmnist: Command) -> None:
    import subprocess
    import sys

    for sink, status, sentence in (
        ("| true", 1, ""),
        ("> /dev/full", 1, "genmnist: no space left on device\n"),
    ):
        script = f"set -o pipefail; {sys.executable} -m genmnist info vae --json {sink}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (status, sentence)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_run_ends_with_the_same_weights(
    genmnist: Command, idx_folder: Path, tmp_path: Path, kills: int
) -> None:
    """SIGKILL at random moments, resumed each time: the same weights to the bit, the same metrics."""
    import random
    import subprocess
    import sys

    from genmnist import checkpoint
    from genmnist.runs import Run

    options = (
        "--data-dir", idx_folder, "--batch-size", 20, "--epochs", 8 * kills, "--sample-every", 0,
        "--ema", 0.99, "--precision", "float32", "--device", "cpu", "--quiet", "--save-every", "0.05s",
    )  # fmt: skip
    assert genmnist("train", "vae", *options, "--out", "whole").status == 0
    words: tuple[object, ...] = ("train", "vae", *options, "--out", "killed")
    chance, steps = random.Random(kills), []
    run = Run(tmp_path / "killed")
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-m", "genmnist", *map(str, words)],
            cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        deadline = time.monotonic() + 60
        before = run.state_file.stat().st_mtime_ns if run.state_file.exists() else 0
        while time.monotonic() < deadline and process.poll() is None:
            if run.state_file.exists() and run.state_file.stat().st_mtime_ns != before:
                break
            time.sleep(0.005)
        time.sleep(chance.random() * 0.4)
        process.kill()
        process.wait()
        steps.append(checkpoint.read(run.state_file)[0].training["step"])
        words = ("train", "vae", "--resume", "killed", "--quiet")
        if run.finished:
            break
    finished = run.finished  # a kill may have come too late
    assert genmnist(*words).status == (2 if finished else 0)
    assert steps == sorted(steps)
    whole = Run(tmp_path / "whole")
    ours, theirs = checkpoint.read(run.model_file)[1], checkpoint.read(whole.model_file)[1]
    assert all(np.array_equal(ours[name].numpy(), theirs[name].numpy()) for name in theirs)
    timeless = [
        [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in one.metrics]
        for one in (run, whole)
    ]
    assert timeless[0] == timeless[1]
