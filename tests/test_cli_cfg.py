"""The commands that draw what they are asked for, as a user runs them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Command, one_sentence, picture
from genmnist.figures import progress
from genmnist.runs.find import WEIGHTS
from genmnist.runs.folder import Run

TINY = ("--size", "tiny", "--batch-size", 64, "--device", "cpu")
CELL = 90  # a digit in a picture, with the gap beside it


@pytest.fixture
def run(trained: Callable[..., Path], tmp_path: Path) -> str:
    """A run of a tiny model, two epochs on a thousand images."""
    return shutil.copytree(trained("cfg", *TINY), tmp_path / "run").name


def test_train_draws_a_column_a_digit_by_epoch(run: str, tmp_path: Path) -> None:
    """Figure 8: under one another, by epoch, the same ten digits."""
    width, height = picture(tmp_path / run / "samples" / "epoch_002.png").size
    assert (width, height) == (10 * CELL + 6, 8 * CELL + 6)
    width, height = picture(tmp_path / run / "samples-by-epoch.png").size
    assert 10 * CELL + 6 < width < 11.5 * CELL
    assert height // CELL == 3


def test_labels_beyond_those_of_the_model_are_named(genmnist: Command, run: str, idx_folder: Path) -> None:
    for words in (("sample", "cfg", "--label", "12"), ("sample", "cfg", "--label", "7,10")):
        assert "those of this model are 0 to 9" in one_sentence(genmnist(*words, "--model", run), 2)
    done = genmnist("train", "cfg", "--data-dir", idx_folder, "--classes", 4, "--steps", 1, *TINY)
    assert "labels up to 9: --classes must be 10 or more" in one_sentence(done, 2)
    done = genmnist("sample", "cfg", "--model", "run", "--label", "7", "--steps", 4000)
    assert "--steps must lie between 1 and 1000" in one_sentence(done, 2)


def test_a_file_of_another_family_is_named(genmnist: Command, run: str) -> None:
    done = genmnist("sample", "cfg", "--model", WEIGHTS / "ddpm.safetensors")
    assert "holds a ddpm, not a cfg" in one_sentence(done, 1)
    assert "holds a cfg, not a ddpm" in one_sentence(genmnist("sample", "ddpm", "--model", run), 1)
    words = ("sample", "ddpm", "--label", 7, "--classifier-guidance", 2, "--num", 1)
    done = genmnist(*words, "--classifier", run)
    assert "holds a cfg, not a classifier" in done.err.splitlines()[-1]
    done = genmnist(*words, "--classifier", WEIGHTS / "classifier.safetensors")
    assert done.status == 2
    assert "take one trained with --noisy" in done.err


def test_sample_draws_what_is_asked_for(genmnist: Command, tmp_path: Path) -> None:
    """The bundled model, judged by the bundled classifier."""
    import torch

    import genmnist as library

    done = genmnist("sample", "cfg", "--label", "3,1,4", "--guidance", 3, "--num", 32, "--out", "s.npz")
    assert done.status == 0, done.err
    with np.load(tmp_path / "s.npz", allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    assert labels.dtype == np.int64
    assert labels.tolist() == ([3, 1, 4] * 11)[:32]
    classifier = library.load("classifier", "bundled", device="cpu")
    with torch.no_grad():
        read = classifier.logits(torch.from_numpy(images).unsqueeze(1) / 255).argmax(-1)
    assert (read.numpy() == labels).mean() > 0.9


def test_sample_lays_labels_out_in_columns(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("sample", "cfg", "--steps", 3, "--per-class", 2, "--json")
    assert done.status == 0, done.err
    assert done.json["labels"] == [*range(10)]
    assert done.json["num"] == 20
    assert done.json["model"] == "the bundled cfg"
    width, height = picture(tmp_path / "cfg-samples.png").size
    assert (width // CELL, height // CELL) == (10, 2)
    assert height > 2 * CELL + 20  # a digit above each column
    genmnist("sample", "cfg", "--steps", 3, "--label", 7, "--num", 4, "--out", "sevens.png")
    assert picture(tmp_path / "sevens.png").size == (2 * CELL + 6, 2 * CELL + 6)
    done = genmnist("sample", "cfg", "--steps", 3, "--label", "0-2", "--num", 6, "--out", "s.gif")
    assert done.status == 0, done.err
    with Image.open(tmp_path / "s.gif") as animation:
        assert (animation.width // CELL, animation.height // CELL) == (3, 2)


def test_a_sweep_has_a_row_for_each_strength(genmnist: Command, tmp_path: Path) -> None:
    words = ("sample", "cfg", "--label", "2,5", "--steps", 3, "--seed", 4)
    done = genmnist(*words, "--guidance-sweep", "-1,0,2.5", "--num", 4, "--out", "sweep.png", "--json")
    assert done.status == 0, done.err
    assert done.json["guidance"] == [-1, 0, 2.5]
    sweep = np.asarray(picture(tmp_path / "sweep.png")).astype(int)
    assert sweep.shape[0] // CELL == 3
    assert sweep.shape[1] // CELL == 4
    # The last row is what that strength draws by itself, from the same noise.
    genmnist(*words, "--guidance", 2.5, "--num", 4, "--out", "alone.npz")
    with np.load(tmp_path / "alone.npz") as arrays:
        alone = arrays["images"].astype(int)
    bottom, right = sweep.shape[0] - 6, sweep.shape[1] - 12
    cell = sweep[bottom - 84 : bottom : 3, right - 84 : right : 3]
    assert np.abs(cell - alone[3]).max() <= 1


def test_a_classifier_steers_the_unconditional_model(genmnist: Command, tmp_path: Path) -> None:
    words = ("sample", "ddpm", "--model", "bundled", "--num", 4, "--steps", 6, "--out")
    done = genmnist(*words, "steered.npz", "--label", "0,1", "--classifier-guidance", 4, "--json")
    assert done.status == 0, done.err
    assert done.json["classifier"] == "the bundled classifier noisy"
    assert done.json["labels"] == [0, 1]
    genmnist(*words, "free.npz")
    with np.load(tmp_path / "steered.npz") as steered, np.load(tmp_path / "free.npz") as free:
        assert steered["labels"].tolist() == [0, 1, 0, 1]
        assert "labels" not in free
        assert not np.array_equal(steered["images"], free["images"])


@pytest.mark.slow
def test_classes_are_called_as_their_folders_are(
    genmnist: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only some numbers have images: the others are not drawn unless asked for."""
    import genmnist as library

    random = np.random.default_rng(0)
    for folder, names in (("animals", ("ant", "bee\x1b", "cat")), ("digits", ("3", "5"))):
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
            for number in range(12):
                image = Image.fromarray(random.integers(0, 256, (16, 16), dtype=np.uint8))
                image.save(tmp_path / folder / name / f"{number}.png")
        done = genmnist("train", "cfg", "--data-dir", folder, "--steps", 2, "--out", f"of-{folder}", *TINY)
        assert done.status == 0, done.err
    words = ("sample", "cfg", "--steps", 2, "--num", 2, "--json", "--model")
    assert genmnist(*words, "of-animals", "--label", "cat", "ant").json["labels"] == [2, 0]
    assert genmnist(*words, "of-digits").json["labels"] == [3, 5]
    heads = [">ant</text>", ">bee?</text>", ">cat</text>"]
    for more in (("--num", 3), ("--guidance-sweep", "0,1")):
        done = genmnist("sample", "cfg", "--steps", 2, *more, "--model", "of-animals", "--out", "s.svg")
        assert done.status == 0, done.err
        svg = (tmp_path / "s.svg").read_text("utf-8")
        assert [head for head in heads if head in svg] == heads
    found = Run.open(tmp_path / "of-animals")
    again = progress.by_epoch(found.pictures, 3, (16, 16), tmp_path / "all.png", ["ant", "bee?", "cat"])
    assert picture(found.by_epoch_file).tobytes() == picture(again).tobytes()
    sentence = one_sentence(genmnist("sample", "cfg", "--model", "of-animals", "--label", "dog"), 2)
    assert "there is no label 'dog': those of this model are ant, bee\\x1b, cat" in sentence
    done = genmnist("info", "of-animals")
    assert "ant, bee\\x1b, cat" in done.out
    assert "mnist" not in done.out.replace("genmnist", "")
    assert "folder animals" in done.out
    monkeypatch.chdir(tmp_path)
    model = library.load("cfg", library.Run("of-animals"), device="cpu")
    assert model.origin == "run of-animals"
    assert model.class_names == ("ant", "bee\x1b", "cat")
    by_name, by_number = (model.sample(2, labels=labels, steps=2) for labels in (["cat", "ant"], [2, 0]))
    assert np.array_equal(by_name, by_number)
    here = ("--data-dir", "animals", "--json")
    done = genmnist("train", "vae", "--steps", 2, "--latent", 2, "--out", "vae", *here)
    assert done.status == 0, done.err
    codes = ("vae", "--model", "vae", *here, "--out", "v.svg")
    assert genmnist("reconstruct", *codes, "--label", "cat", "ant").json["labels"] == [2, 0]
    svg = (tmp_path / "v.svg").read_text("utf-8")
    assert 0 < svg.index(heads[2]) < svg.index(heads[0])
    assert genmnist("traverse", *codes, "--from-digit", "cat").json["from_digit"] == 2
    assert genmnist("traverse", *codes, "--view", "codes").status == 0
    assert ">cat</text>" in (tmp_path / "v.svg").read_text("utf-8")
    sentence = one_sentence(genmnist("traverse", *codes, "--from-digit", "dog", "--quiet"), 2)
    assert "has no label 'dog'; it has labels ant, bee?, cat" in sentence
    walk = (
        "interpolate",
        "cfg",
        "--model",
        "of-animals",
        "--data-dir",
        "animals",
        "--steps",
        2,
        "--pairs",
        1,
    )
    done = genmnist(*walk, "--from-digits", "cat", "ant", "--space", "pixel", "--json")
    assert done.status == 0, done.err
    assert done.json["labels"] == [[2, 0]]


def test_from_python_the_model_is_the_bundled_one(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import genmnist as library

    shutil.copytree(trained("cfg", *TINY), tmp_path / "runs" / "cfg" / "mine")
    monkeypatch.chdir(tmp_path)
    assert library.load("cfg", device="cpu").origin == "the bundled cfg"
    assert library.load("cfg", "latest", device="cpu").origin == "run runs/cfg/mine"


def test_traces_and_walks_take_labels(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("reverse-trace", "cfg", "--label", "7", "--timesteps", "900,100", "--steps", 4, "--json")
    assert done.status == 0, done.err
    assert done.json["labels"] == [7]
    assert picture(tmp_path / "cfg-reverse-trace.png").size[0] // CELL == 2
    words = ("interpolate", "cfg", "--steps", 3, "--pairs", 2, "--points", 3, "--json")
    done = genmnist(*words, "--label", "3,8")
    assert done.status == 0, done.err
    assert done.json["labels"] == [[3, 8], [3, 8]]
    assert done.json["guidance"] == 0
    assert picture(tmp_path / "cfg-interpolation.png").size[1] // CELL == 6  # latent, label, pixel
    done = genmnist(*words, "--space", "label", "--from-prior", "--out", "l.png")
    assert done.json["labels"] == [[0, 1], [2, 3]]
    done = genmnist(*words, "--space", "label", "--out", "l.png")
    assert done.json["labels"] == [[7, 2], [1, 0]]  # those of the first test digits
    assert picture(tmp_path / "l.png").size[1] // CELL == 2
    done = genmnist(
        "interpolate", "ddpm", "--label", "1", "--classifier-guidance", 2, *words[2:], "--out", "d.png"
    )
    assert done.status == 0, done.err
    assert done.json["labels"] == [[1, 1], [1, 1]]


def test_a_noisy_classifier_is_kept_apart(genmnist: Command, idx_folder: Path, tmp_path: Path) -> None:
    """A noisy one guides, whatever was trained since; only the bundled one does where there is none."""
    train = ("train", "classifier", "--data-dir", idx_folder, "--steps", 2, "--width", 4, "--batch-size", 50,
             "--quiet")  # fmt: skip
    steer = ("sample", "ddpm", "--label", 7, "--classifier-guidance", 1, "--num", 1, "--steps", 2, "--json")
    assert genmnist(*train, "--out", "runs/classifier/plain").status == 0
    assert genmnist(*steer).json["classifier"] == "the bundled classifier noisy"
    assert genmnist(*train, "--noisy", "--out", "runs/classifier/noisy").status == 0
    assert genmnist(*train, "--out", "runs/classifier/later").status == 0
    done = genmnist(*steer)
    assert done.status == 0, done.err
    assert done.json["classifier"] == "run runs/classifier/noisy"
    document = genmnist("info", "runs/classifier/noisy", "--json").json
    assert document["options"]["noisy"]
    assert math.isfinite(document["metrics"]["val_loss"])


def test_the_default_sampler_by_its_name_is_the_same(genmnist: Command, tmp_path: Path) -> None:
    """One name, one meaning: `--sampler ddim` takes the steps and the noise that ddim takes unasked."""
    drawn = []
    for name, how in (("default", ()), ("named", ("--sampler", "ddim"))):
        words = ("sample", "cfg", "--label", "4", "--num", 2, "--out", f"{name}.npz", "--json", *how)
        done = genmnist(*words)
        assert done.status == 0, done.err
        assert (done.json["sampler"], done.json["steps"], done.json["eta"]) == ("ddim", 16, 1)
        with np.load(tmp_path / f"{name}.npz") as arrays:
            drawn.append(arrays["images"])
    assert np.array_equal(*drawn)
