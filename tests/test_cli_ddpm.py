"""The commands of the diffusion models and of the classifier, as a user runs them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Command, one_sentence, picture

TINY = ("--size", "tiny", "--batch-size", 64, "--device", "cpu")
CELL = 90  # a digit in a picture, with the gap beside it


@pytest.fixture
def run(trained: Callable[..., Path], tmp_path: Path) -> str:
    """A run of a tiny model, two epochs on a thousand images."""
    return shutil.copytree(trained("ddpm", *TINY), tmp_path / "run").name


def test_train_draws_its_samples_by_epoch(trained: Callable[..., Path]) -> None:
    """Figure 6: under one another, by epoch, the same nine digits."""
    folder = trained("ddpm", *TINY)
    assert "validation" in Path(f"{folder.parent}.out").read_text("utf-8")
    names = sorted(path.name for path in (folder / "samples").iterdir())
    assert names == ["epoch_000.png", "epoch_001.png", "epoch_002.png"]
    width, height = picture(folder / "samples-by-epoch.png").size
    assert 9 * CELL + 6 < width < 10.5 * CELL
    assert height == 3 * CELL + 6 + 6  # a digit an epoch, the gap before the first, and the margin above
    picture(folder / "losses.png")


def test_train_classifier_tells_digits_apart(genmnist: Command, idx_folder: Path, tmp_path: Path) -> None:
    done = genmnist(
        "train", "classifier", "--data-dir", idx_folder, "--epochs", 4, "--out", "run", "--width", 8,
        "--batch-size", 50, "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.json["metrics"]["val_error"] < 0.5
    assert not list((tmp_path / "run" / "samples").iterdir())
    assert "holds a classifier, not a ddpm" in one_sentence(genmnist("sample", "ddpm", "--model", "run"), 1)


def test_sample_needs_no_training(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("sample", "ddpm", "--num", 4, "--seed", 3)
    assert done.status == 0, done.err
    assert done.out.startswith("model: the bundled ddpm")
    whole = np.asarray(picture(tmp_path / "ddpm-samples.png")).astype(int)
    assert whole.shape == (2 * 90 + 6, 2 * 90 + 6)
    done = genmnist("sample", "ddpm", "--num", 3, "--seed", 3, "--out", "s.npz", "--batch-size", 1)
    assert done.status == 0, done.err
    with np.load(tmp_path / "s.npz", allow_pickle=False) as arrays:
        first = arrays["images"][0].astype(int)
    assert abs(whole[6:90:3, 6:90:3] - first).max() <= 1


@pytest.mark.parametrize(
    "how",
    [
        ("--sampler", "heun", "--steps", 3),
        ("--sampler", "ddim", "--steps", 5, "--eta", 0.5),
        ("--sampler", "ancestral", "--steps", 6, "--variance", "beta-tilde"),
        ("--spacing", "log-snr", "--threshold", "dynamic", "--temperature", 0.9, "--steps", 4),
    ],
)
def test_sample_takes_every_sampler(
    genmnist: Command, run: str, tmp_path: Path, how: tuple[object, ...]
) -> None:
    done = genmnist("sample", "ddpm", "--model", run, "--num", 2, *how, "--out", "s.gif", "--json")
    assert done.status == 0, done.err
    for option, value in zip(how[::2], how[1::2], strict=True):
        assert done.json[str(option).removeprefix("--")] == value
    with Image.open(tmp_path / "s.gif") as animation:
        assert getattr(animation, "n_frames", 1) > done.json["steps"]


def test_reverse_trace_shows_what_was_asked_for(genmnist: Command, tmp_path: Path) -> None:
    """Figure 7: four digits at eight timesteps."""
    done = genmnist("reverse-trace", "ddpm")
    assert done.status == 0, done.err
    width, height = picture(tmp_path / "ddpm-reverse-trace.png").size
    assert width // 90 == 8
    assert height // 90 == 4
    words = ("--timesteps", "700,300", "--num", 2, "--show-x0", "--sampler", "heun", "--steps", 3)
    assert genmnist("reverse-trace", "ddpm", *words, "--out", "t.png").status == 0
    width, height = picture(tmp_path / "t.png").size
    assert width // 90 == 2
    assert height // 90 == 4
    done = genmnist("reverse-trace", "ddpm", *words, "--out", "t.gif", "--json")
    assert done.json["timesteps"] == [700, 300]
    with Image.open(tmp_path / "t.gif") as animation:
        assert getattr(animation, "n_frames", 1) >= 5


def test_interpolate_walks_between_noises_and_between_digits(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("interpolate", "ddpm", "--pairs", 2, "--points", 5, "--steps", 6)
    assert done.status == 0, done.err
    width, height = picture(tmp_path / "ddpm-interpolation.png").size
    assert width > 5 * 90
    assert 4 * 90 < height < 4 * 90 + 60
    words = ("--from-digits", 6, 1, "--pairs", 1, "--points", 3, "--space", "latent", "--out", "d.gif")
    done = genmnist("interpolate", "ddpm", *words, "--json")
    assert done.status == 0, done.err
    assert (done.json["points"], done.json["path"], done.json["steps"]) == (3, "slerp", 16)
    with Image.open(tmp_path / "d.gif") as animation:
        assert getattr(animation, "n_frames", 1) == 4


def test_what_only_the_model_can_tell_gets_one_sentence_too(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("reverse-trace", "ddpm", "--timesteps", "999,1200")
    assert "there is no timestep 1200: those of this model are 0 to 999" in one_sentence(done, 2)
    done = genmnist("sample", "ddpm", "--steps", 1001)
    assert "--steps must lie between 1 and 1000" in one_sentence(done, 2)
    genmnist("train", "vae", "--steps", 1, "--sample-every", 0, "--out", "vae", "--device", "cpu")
    done = genmnist("sample", "ddpm", "--model", "vae")
    assert "holds a vae, not a ddpm" in one_sentence(done, 1)
    assert not list(tmp_path.glob("*.png"))
