"""`genmnist sample` as a user runs it: in a process of its own, its files opened again."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import SMALL_VAE, Command, metadata, picture
from genmnist import __version__


def test_the_latest_run_is_taken_else_the_bundled_model(genmnist: Command, idx_folder: Path) -> None:
    assert genmnist("sample", "vae", "-n", 1, "--json").json["model"] == "the bundled vae"
    genmnist("train", "vae", "--data-dir", idx_folder, "--steps", 3, *SMALL_VAE)
    done = genmnist("sample", "vae", "-n", 1)
    assert done.out.startswith(f"model: run {Path('runs/vae')}")
    done = genmnist("sample", "vae", "-n", 1, "--model", "bundled", "--json")
    assert done.json["model"] == "the bundled vae"


def test_the_suffix_says_what_is_written(genmnist: Command, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("out", ["two words.png", "s.gif", "folder"])
def test_a_picture_says_how_to_make_it_again(genmnist: Command, tmp_path: Path, out: str) -> None:
    done = genmnist("sample", "vae", "--num", 3, "--seed", 5, "--out", out)
    assert done.status == 0, done.err
    path = tmp_path / out / "002.png" if out == "folder" else tmp_path / out
    said = metadata(path)
    assert said.pop("image", "2") == "2"
    command = shlex.join(["genmnist", "sample", "vae", "--num", "3", "--seed", "5", "--out", out])
    assert said == {
        "Software": f"genmnist {__version__}", "Command": command, "Model": "the bundled vae", "Seed": "5",
    }  # fmt: skip
    first = path.read_bytes()
    if out == "folder":
        (tmp_path / out).rename(tmp_path / "before")
    else:
        path.unlink()
    assert genmnist(*shlex.split(said["Command"])[1:]).status == 0
    assert path.read_bytes() == first


@pytest.mark.slow
def test_a_hundred_thousand_samples_stream(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("sample", "vae", "--num", 100_000, "--out", "s.npz")
    assert done.status == 0
    with np.load(tmp_path / "s.npz") as arrays:
        assert arrays["images"].shape == (100_000, 28, 28)
        assert arrays["images"][-1].max() > 100
