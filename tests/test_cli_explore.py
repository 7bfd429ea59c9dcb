"""`genmnist traverse`, `interpolate` and `reverse-trace` as a user runs them."""

from __future__ import annotations

import base64
import io
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Command, metadata, one_sentence, picture
from genmnist import load
from genmnist.figures import grid


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
    words = ("traverse", "vae", "--from-digit", 7, "--steps", 9, "--span", 3)
    for out, frames in (("t.gif", 16), ("n.gif", 9)):
        done = genmnist(*words, "--out", out, *(("--no-bounce",) if frames == 9 else ()))
        assert done.status == 0, done.err
        with Image.open(tmp_path / out) as animation:
            assert getattr(animation, "n_frames", 1) == frames
    sentence = one_sentence(genmnist("traverse", "vae", "--model", vae_run), 2)
    assert "trained on a folder of images: name it by --data-dir" in sentence


def test_traverse_measures_on_the_users_own_data(genmnist: Command, vae_run: str, idx_folder: Path) -> None:
    done = genmnist("traverse", "vae", "--model", vae_run, "--data-dir", idx_folder, "--json")
    assert len(done.json["factors"]) == 4


def test_it_starts_from_a_real_digit_unless_asked_for_the_prior(genmnist: Command, tmp_path: Path) -> None:
    """The middle of each row is the start where its factor is 0: of the first test digit, a seven."""
    for words, seven in (((), True), (("--from-digit", 7), True), (("--from-prior",), False)):
        done = genmnist("traverse", "vae", *words, "--out", "t.svg", "--style", "dark", "--title", "Sevens")
        assert done.status == 0, done.err
        svg = (tmp_path / "t.svg").read_text("utf-8")
        assert ">Sevens</text>" in svg
        assert ">value of z</text>" in svg
        assert shlex.join(["genmnist", "traverse", "vae", *map(str, words), "--out", "t.svg"]) in svg
        content = base64.b64decode(svg.split("base64,")[1].split('"')[0])
        with Image.open(io.BytesIO(content)) as found:
            middle = grid.read(found, 5, (28, 28)).view(20, 5, 28, 28, 3)[:, 2, :, :, :1].permute(0, 3, 1, 2)
        classifier = load("classifier", "bundled", device="cpu")
        with torch.no_grad():
            read = classifier.logits(middle / 255).argmax(-1)
        assert ((read == 7).float().mean() > 0.8) == seven
    both = one_sentence(genmnist("traverse", "vae", "--from-prior", "--from-digit", 7), 2)
    assert "--from-digit and --from-prior are two places" in both


@pytest.mark.slow
def test_a_model_of_two_factors_has_a_plane(genmnist: Command, idx_folder: Path, tmp_path: Path) -> None:
    words = (
        "--data-dir",
        idx_folder,
        "--steps",
        2,
        "--latent",
        2,
        "--hidden",
        8,
        "--quiet",
        "--sample-every",
        0,
    )
    assert genmnist("train", "vae", *words, "--out", "two").status == 0
    given = ("--model", "two", "--data-dir", idx_folder)
    done = genmnist("traverse", "vae", *given, "--steps", 4, "--scale", 2, "--json")
    assert done.json["view"] == "plane"
    width, height = picture(tmp_path / "vae-traversal.png").size
    assert (width // 60, height // 60) == (5, 4)  # four images and what stands beside them
    for view, suffix in (("codes", "pdf"), ("codes", "png"), ("factors", "png")):
        out = f"{view}.{suffix}"
        assert genmnist("traverse", "vae", *given, "--view", view, "--out", out).status == 0
        assert (tmp_path / out).stat().st_size > 1000
    sentence = one_sentence(genmnist("traverse", "vae", *given, "--out", "p.gif"), 2)
    assert "does not move: --out takes .png, .pdf, .svg here" in sentence
    assert not (tmp_path / "p.gif").exists()


def test_reconstructions_stand_under_their_digits(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("reconstruct", "vae", "--num", 12, "--json")
    assert done.status == 0, done.err
    assert done.json["labels"] == [*range(10), 0, 1]
    width, height = picture(tmp_path / "vae-reconstructions.png").size
    assert width > 12 * 90
    assert height // 90 == 2


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
    sentence = one_sentence(genmnist("traverse", "vae", "--from-digit", "seven", "--quiet"), 2)
    assert "mnist (test) has no label 'seven'; it has labels 0, 1, 2" in sentence
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
