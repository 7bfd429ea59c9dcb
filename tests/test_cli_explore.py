"""`genmnist traverse`, `interpolate` and `reverse-trace` as a user runs them."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Command, metadata, one_sentence, picture


def test_traverse_sorts_factors_by_their_use(genmnist: Command, vae_run: str, tmp_path: Path) -> None:
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
    sentence = one_sentence(genmnist("traverse", "vae", "--model", vae_run), 2)
    assert "trained on a folder of images: name it by --data-dir" in sentence


def test_traverse_measures_on_the_users_own_data(genmnist: Command, vae_run: str, idx_folder: Path) -> None:
    done = genmnist("traverse", "vae", "--model", vae_run, "--data-dir", idx_folder, "--json")
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


def test_digits_that_the_data_do_not_have_are_named(genmnist: Command, tmp_path: Path) -> None:
    for words, label in (
        (("traverse", "vae", "--from-digit", 12), 12),
        (("interpolate", "vae", "--from-digits", 6, 11), 11),
    ):
        sentence = one_sentence(genmnist(*words, "--quiet"), 2)
        assert f"mnist (test) has no image number 1 with label {label}; it has labels 0, 1, 2" in sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "suffix"),
    [
        (("traverse", "vae", "--steps", "3"), ".png"),
        (("traverse", "vae", "--steps", "3"), ".gif"),
        (("interpolate", "vae", "--pairs", "1"), ".png"),
        (("interpolate", "vae", "--pairs", "1"), ".gif"),
        (("reverse-trace", "ddpm", "--num", "1", "--steps", "3", "--timesteps", "500"), ".png"),
        (("reverse-trace", "ddpm", "--num", "1", "--steps", "3", "--timesteps", "500"), ".gif"),
    ],
)
def test_pictures_say_how_to_make_them_again(
    genmnist: Command, tmp_path: Path, words: tuple[str, ...], suffix: str
) -> None:
    words = (*words, "--seed", "9", "--out", f"p{suffix}")
    assert genmnist(*words).status == 0
    said = metadata(tmp_path / f"p{suffix}")
    assert said["Command"] == shlex.join(["genmnist", *words])
    assert (said["Model"], said["Seed"]) == (f"the bundled {words[1]}", "9")
