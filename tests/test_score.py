"""How likely each image is: the command, what it writes, and the same from Python."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import genmnist as library
from conftest import Command, Finished, metadata, one_sentence, picture
from genmnist.data import Splits
from genmnist.errors import UsageError
from genmnist.evaluation import scores
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.ddpm import LIKELY, DiffusionOptions
from genmnist.models import VAE, ConditionalDiffusion, Diffusion
from genmnist.runs import checkpoint
from genmnist.runs.documents import Training
from genmnist.runs.find import WEIGHTS

SMALL = LIKELY | {"size": "tiny"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, few: Splits) -> Path:
    """Models that know the histogram of digits, one with labels; digits in a file and in a folder."""
    folder = tmp_path_factory.mktemp("scored")
    torch.manual_seed(0)
    for name, model in (
        ("likely", Diffusion(DiffusionOptions(**SMALL))),
        ("labelled", ConditionalDiffusion(ConditionalOptions(**SMALL, classes=10))),
        ("black-and-white", Diffusion(DiffusionOptions(**SMALL | {"values": 2}))),
    ):
        model.begin(few.train.images)
        checkpoint.save(folder / f"{name}.safetensors", model, "likelihood", Training(), {})
    images, labels = few.test.images[:9].numpy(), few.test.labels[:9].numpy()
    np.savez(folder / "digits.npz", images=images, labels=labels)
    np.savez(folder / "unlabelled.npz", images=images)
    np.savez(folder / "small.npz", images=images[:, 4:24, 4:24])
    (folder / "pictures" / "more").mkdir(parents=True)
    (folder / "empty").mkdir()
    for number, place in enumerate(("b.png", "a.png", "more/c.png")):
        Image.fromarray(images[number]).save(folder / "pictures" / place)
    return folder


@pytest.fixture
def score(genmnist: Command, files: Path, tmp_path: Path) -> Command:
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)

    def run(*words: object, model: str = "likely.safetensors") -> Finished:
        return genmnist("score", *words, "--model", model, "--looks", 3, "--device", "cpu")

    return run


def test_every_format_holds_the_same(score: Command, tmp_path: Path) -> None:
    done = score("digits.npz", "--out", "s.json", "--json")
    assert done.status == 0, done.err
    document = json.loads((tmp_path / "s.json").read_text())
    assert done.json["scores"] == document["scores"]
    bits = [one["bits"] for one in document["scores"]]
    assert document["bits"] == pytest.approx(np.mean(bits))
    assert document["error"] == pytest.approx(np.std(bits, ddof=1) / 3)
    for one in document["scores"]:
        assert one["bits"] == pytest.approx(one["prior"] + one["reconstruction"] + sum(one["levels"]))
    assert (document["looks"], document["seed"], document["labels"]) == (3, 0, False)
    assert len(document["edges"]) == 4
    for name in ("s.csv", "s.npz"):
        assert score("digits.npz", "--out", name, "--quiet").status == 0
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [*"012345678"]
    assert [float(row["bits"]) for row in rows] == bits
    with np.load(tmp_path / "s.npz") as arrays:
        assert arrays["bits"].tolist() == bits
        assert arrays["levels"].tolist() == [one["levels"] for one in document["scores"]]
        assert arrays["edges"].tolist() == document["edges"]
        assert arrays["name"].tolist() == [*"012345678"]


def test_the_summary_names_the_extremes_and_the_picture_shows_them(score: Command, tmp_path: Path) -> None:
    done = score("digits.npz")
    assert done.status == 0, done.err
    document = json.loads((tmp_path / "scores.json").read_text())
    order = sorted(document["scores"], key=lambda one: float(one["bits"]))
    assert f"9 images: {document['bits']:.4f} ± {document['error']:.4f} bits per dimension" in done.out
    assert f"likeliest     {order[0]['name']}  {order[0]['bits']:.4f}" in done.out
    assert f"least likely  {order[-1]['name']}  {order[-1]['bits']:.4f}" in done.out
    shown = picture(tmp_path / "scores.png")
    assert shown.width > shown.height  # two rows of four and five
    assert metadata(tmp_path / "scores.png")["Model"] == "file likely.safetensors"


def test_pictures_go_by_their_paths(score: Command, tmp_path: Path) -> None:
    assert score("pictures", "--num", 2).status == 0
    document = json.loads((tmp_path / "scores.json").read_text())
    assert [one["name"] for one in document["scores"]] == ["a.png", "b.png"]
    assert score("pictures").status == 0
    document = json.loads((tmp_path / "scores.json").read_text())
    assert [one["name"] for one in document["scores"]] == ["a.png", "b.png", "more/c.png"]


def test_a_data_set_is_its_test_images(score: Command, tmp_path: Path) -> None:
    assert score("digits.npz", "--num", 1, "--out", "file.json").status == 0
    assert score("mnist", "--num", 1, "--out", "set.json").status == 0
    file, data = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("file", "set"))
    assert file["scores"] == data["scores"]
    assert file["error"] is None


def test_a_model_with_labels_is_given_them_if_asked(score: Command, tmp_path: Path) -> None:
    for name, words in (("with", ["--labels"]), ("without", [])):
        done = score("digits.npz", *words, "--out", f"{name}.json", model="labelled.safetensors")
        assert done.status == 0, done.err
    given, free = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("with", "without"))
    assert (given["labels"], free["labels"]) == (True, False)


@pytest.mark.parametrize(
    ("words", "model", "status", "expected"),
    [
        (["absent.npz"], "likely", 2, "there is no absent.npz: name an .npz file, a folder of pictures, or"),
        (["empty"], "likely", 1, "empty has no pictures"),
        (["small.npz"], "likely", 2, "the images are 20 x 20, grey, and those of this model 28 x 28, grey"),
        (["digits.npz"], "black-and-white", 2, "the images have other values than the 2 that this model"),
        (["likely.safetensors"], "likely", 1, "likely.safetensors is not an .npz file of images"),
        (["digits.npz", "--labels"], "likely", 2, "this model takes no labels"),
        (["unlabelled.npz", "--labels"], "labelled", 2, "unlabelled.npz has no labels for --labels"),
        (["digits.npz", "--out", "s.txt"], "likely", 2, "--out s.txt ends in .txt"),
        (
            ["digits.npz", "--out", "/dev/null/s.json"],
            "likely",
            2,
            "--out /dev/null/s.json cannot be written",
        ),
        (["digits.npz"], "digits.npz", 1, "digits.npz is not a genmnist checkpoint, or is damaged"),
        (["digits.npz"], "absent", 2, "there is no absent: a --model is a .safetensors file"),
        (["digits.npz"], "bundled:absent", 2, "there is no bundled ddpm called 'absent'"),
        (["digits.npz"], "latest", 1, "there is no finished run of ddpm"),
        (["digits.npz"], str(WEIGHTS / "vae"), 2, "only a diffusion model with the target categorical"),
        (["digits.npz"], str(WEIGHTS / "ddpm"), 2, "only a diffusion model with the target categorical"),
    ],
)
def test_what_cannot_be_scored_gets_one_sentence(
    score: Command, words: list[str], model: str, status: int, expected: str, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = tmp_path / f"{model}.safetensors"
    file = f"{model}.safetensors" if path.is_file() or model.startswith("/") else model
    assert expected in one_sentence(score(*words, "--quiet", model=file), status)
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_use_is_said_without_torch(genmnist: Command) -> None:
    for words in (
        ["absent"],
        ["mnist", "--out", "s.txt"],
        ["mnist", "--looks", 0],
        ["mnist", "--model", "x"],
    ):
        one_sentence(genmnist("score", *words, importing=False), 2)


def test_from_python(few: Splits) -> None:
    torch.manual_seed(0)
    model = Diffusion(DiffusionOptions(**SMALL)).eval()
    model.begin(few.train.images)
    images, done = few.test.images[:5], list[int]()
    found = library.score(model, images.numpy(), looks=3, batch_size=2, watch=done.append)
    *_, expected = scores.terms(model, images, looks=3)
    torch.testing.assert_close(found.bits, expected.bits)
    assert found.levels.shape == (5, 3)
    assert done == [2, 4, 5]


def test_from_python_what_makes_no_sense(few: Splits, small_vae: VAE) -> None:
    model, images = Diffusion(DiffusionOptions(**SMALL)).eval(), few.test.images[:2]
    cases: tuple[tuple[tuple[Any, ...], dict[str, Any], str], ...] = (
        ((small_vae, images), {}, "only a diffusion model"),
        ((model, "digits.npz"), {}, "must be an array"),
        ((model, images.float() / 255), {}, "genmnist takes uint8"),
        ((model, images), {"looks": 0}, "`looks` must be a whole number"),
        ((model, images), {"batch_size": 0}, "`batch_size` must be a whole number"),
        ((model, images), {"seed": -1}, "`seed` must be a whole number"),
        ((model, images, [3]), {}, "this model takes no labels"),
    )
    for arguments, options, expected in cases:
        with pytest.raises(UsageError, match=expected):
            library.score(*arguments, **options)
