"""Images of any shape: colour through every command, and grey of many sides through every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import genmnist as library
from conftest import Command, Finished, one_sentence, slow
from genmnist.data import as_splits, load, scale
from genmnist.errors import UsageError
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.classifier import ClassifierOptions
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE, Classifier, ConditionalDiffusion, Diffusion
from genmnist.training import Trainer

SIDE, CLASSES = 32, 3
TRAIN = ("--steps", 6, "--batch-size", 16, "--device", "cpu", "--precision", "float32")
TINY = {"vae": ("--hidden", 16, "--latent", 4), "ddpm": ("--size", "tiny"), "cfg": ("--size", "tiny")}
HOW = {"vae": (), "ddpm": ("--sampler", "ddim", "--steps", 4), "cfg": ("--sampler", "ddim", "--steps", 4)}
FAMILIES = tuple(TINY)
MOST = [*(name for name in FAMILIES if name != "cfg"), *slow("cfg")]  # which is as ddpm


def colours(count: int = 24, side: int = SIDE) -> tuple[Any, Any]:
    """Return squares, each of the colour of its class, on a ground that is a little noisy."""
    source = np.random.default_rng(0)
    images = source.integers(0, 60, (count * CLASSES, side, side, 3), dtype=np.uint8)
    labels = np.arange(count * CLASSES) % CLASSES
    for image, label in zip(images, labels, strict=True):
        top, left = source.integers(0, side // 2, 2)
        image[top : top + side // 2, left : left + side // 2, label] = 240
    return images, labels


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of colour images, a subfolder a class, and a model of each family trained on them."""
    root = tmp_path_factory.mktemp("colours")
    for number, (image, label) in enumerate(zip(*colours(), strict=True)):
        folder = root / "images" / f"class-{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return root


@pytest.fixture(scope="module")
def runs(root: Path) -> Path:
    """Runs of a few steps on these images, trained from Python."""
    small: dict[str, dict[str, Any]] = {
        "vae": {"hidden": 16, "latent": 4}, "ddpm": {"size": "tiny"}, "cfg": {"size": "tiny"},
        "classifier": {"width": 4},
    }  # fmt: skip
    for family, options in small.items():
        library.train(
            family, options=options, recipe={"batch_size": 16}, steps=6, data_dir=root / "images",
            out=root / "runs" / family, device="cpu", precision="float32", sample_every=0,
        )  # fmt: skip
    return root / "runs"


def succeeded(done: Finished) -> Finished:
    assert done.status == 0, done.err
    return done


def in_colour(path: Path) -> Image.Image:
    """Open a picture and check that its channels differ by more than the grey of its ground does."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    pixels = np.asarray(picture).astype(int)
    assert np.ptp(pixels, axis=2).max() > 20, path
    return picture


def told(path: Path) -> dict[str, str]:
    """Return what a picture's metadata says."""
    with Image.open(path) as image:
        image.load()
        return {str(name): str(text) for name, text in image.info.items()}


@pytest.mark.parametrize("family", MOST)
def test_train_and_draw_in_colour(genmnist: Command, root: Path, tmp_path: Path, family: str) -> None:
    words: tuple[object, ...] = ("--data-dir", root / "images", *TINY[family], *TRAIN, "--sample-every", 1)
    done = succeeded(genmnist("train", family, *words, "--out", "run", "--json"))
    assert tuple(done.json["options"]["shape"]) == (3, SIDE, SIDE)
    assert done.json["options"].get("classes", 0) == {"cfg": CLASSES, "ddpm": 100}.get(
        family, 0
    )  # or clusters
    for picture in ("samples/epoch_000.png", "samples-by-epoch.png"):
        in_colour(tmp_path / "run" / picture)
    succeeded(genmnist("sample", family, "--model", "run", *HOW[family], "--num", 5, "--out", "s.npz"))
    with np.load(tmp_path / "s.npz") as arrays:
        assert arrays["images"].shape == (5, SIDE, SIDE, 3)
        assert arrays["images"].dtype == np.uint8
    words = ("sample", family, "--model", "run", *HOW[family], "--num", 4, "--seed", 7, "--out", "s.png")
    succeeded(genmnist(*words))
    in_colour(tmp_path / "s.png")
    said = told(tmp_path / "s.png")
    assert said["Command"] == " ".join(["genmnist", *map(str, words)])
    assert (said["Model"], said["Seed"]) == ("run run", "7")


@pytest.mark.parametrize("family", MOST)
def test_walks_in_colour(genmnist: Command, root: Path, runs: Path, tmp_path: Path, family: str) -> None:
    model = ("--model", runs / family, "--seed", 3)
    walk = ("interpolate", family, *model, "--pairs", 1, "--data-dir", root / "images", "--out", "i.png")
    steps = ("--steps", 3) if family != "vae" else ()
    succeeded(genmnist(*walk, "--points", 3, *steps))
    assert in_colour(tmp_path / "i.png").width > 3 * SIDE
    assert told(tmp_path / "i.png")["Command"].startswith(f"genmnist interpolate {family} --model ")
    assert told(tmp_path / "i.png")["Seed"] == "3"
    real = ("--from-digits", 0, 1, "--space", "latent", "--seed", 0)
    succeeded(genmnist(*walk[:-1], "d.gif", "--points", 3, *steps, *real))
    in_colour(tmp_path / "d.gif")
    if family == "vae":
        succeeded(genmnist("traverse", "vae", *model, "--data-dir", root / "images", "--out", "t.png"))
        in_colour(tmp_path / "t.png")
        said = told(tmp_path / "t.png")
        assert said["Seed"] == "3"
        assert said["Model"].startswith("run ")
        assert " traverse vae " in said["Command"]
    else:
        trace = ("reverse-trace", family, *model, *HOW[family], "--num", 2, "--show-x0", "--out", "r.png")
        succeeded(genmnist(*trace))
        in_colour(tmp_path / "r.png")
        assert told(tmp_path / "r.png")["Command"].startswith(f"genmnist reverse-trace {family}")


@pytest.mark.parametrize("family", ["vae", *slow("ddpm", "cfg")])
def test_evaluate_in_colour(root: Path, runs: Path, family: str) -> None:
    """Through the library: a command would take longer to start than what it measures."""
    from genmnist.evaluation import distances, suite
    from genmnist.runs.find import find_data

    model: Any = library.load(family, runs / family, device="cpu", precision="float32")
    space = distances.own_features(
        library.load("classifier", runs / "classifier", device="cpu", precision="float32")
    )
    splits = find_data(None, data_dir=root / "images")
    effort = suite.Effort(num=12, bounded=2, levels=3, exact=1, pairs=2, traced=2, guided=7)
    how = model.how(steps=3, sampler="ddim") if family != "vae" else None
    found = suite.measure(model, splits, space, effort, lambda stage, share: None, 0, how)
    assert found.document.samples.num == 12
    assert found.shown.shape[1:] == (SIDE, SIDE, 3)
    assert found.document.samples.features.startswith("images-classifier-")


def test_evaluate_command_measures_in_the_features_of_a_named_run(
    genmnist: Command, root: Path, runs: Path, tmp_path: Path
) -> None:
    where = ("--data-dir", root / "images", "--out", "e")
    words = ("evaluate", "vae", "--model", runs / "vae", "--num", 12, "--quick", *where)
    said = one_sentence(genmnist(*words, "--quiet"), 2)
    assert "train a classifier on your data and name it by --features" in said
    done = succeeded(genmnist(*words, "--features", runs / "classifier", "--json"))
    assert done.json["samples"]["features"].startswith("images-classifier-")
    in_colour(next((tmp_path / "e").glob("*nearest*.png")))


def test_folders_can_be_made_smaller_and_grey(genmnist: Command, root: Path) -> None:
    words = (
        "train",
        "vae",
        "--data-dir",
        root / "images",
        "--image-size",
        20,
        "--grey",
        *TINY["vae"],
        *TRAIN,
        "--sample-every",
        0,
    )
    done = succeeded(genmnist(*words, "--out", "run", "--json"))
    assert tuple(done.json["options"]["shape"]) == (1, 20, 20)
    assert load(data_dir=root / "images", image_size=20).shape == (3, 20, 20)
    assert load(data_dir=root / "images", colour=False).shape == (1, SIDE, SIDE)


def test_colour_samples_go_into_a_folder_and_a_picture_each(
    genmnist: Command, runs: Path, tmp_path: Path
) -> None:
    succeeded(genmnist("sample", "vae", "--model", runs / "vae", "--num", 3, "--out", "many"))
    files = sorted((tmp_path / "many").glob("*.png"))
    assert len(files) == 3
    for file in files:
        with Image.open(file) as image:
            assert (image.mode, image.size) == ("RGB", (SIDE, SIDE))
        assert {"Command", "Model", "Seed"} <= told(file).keys()


MODELS: list[Any] = [
    *(
        pytest.param(VAE(VAEOptions(shape=(1, side, side), network=network, hidden=8, latent=3)), side,
                     id=f"vae-{network}-{side}")
        for network in ("mlp", "conv") for side in (20, 28, 30, 32, 64)
    ),
    *(
        pytest.param(Diffusion(DiffusionOptions(shape=(1, side, side), size="tiny", patch=patch)), side,
                     id=f"ddpm-{patch}-{side}")
        for patch in (1, 2, 4) for side in (20, 28, 30, 32, 33, 64)
    ),
    *(
        pytest.param(ConditionalDiffusion(
            ConditionalOptions.of({"shape": (1, side, side), "size": "tiny", "patch": patch, "classes": 3})
        ), side, id=f"cfg-{patch}-{side}")
        for patch, side in ((1, 20), (2, 28), (4, 30), (4, 32), (4, 64))
    ),
]  # fmt: skip


@pytest.mark.parametrize(("model", "side"), MODELS)
def test_grey_images_of_any_side(model: VAE | Diffusion, side: int) -> None:
    torch.manual_seed(side)
    model.train()
    images, labels = torch.rand(2, 1, side, side), torch.tensor([0, 1])
    losses = model.losses(images, labels)
    assert all(loss.isfinite() and not loss.ndim for loss in losses.values())
    losses["loss"].backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())
    model.eval()
    few: dict[str, Any] = {} if isinstance(model, VAE) else {"steps": 2, "sampler": "ddim"}
    drawn = model.sample(2, seed=1, **few)
    assert drawn.shape == (2, side, side)
    assert torch.equal(drawn, model.sample(2, seed=1, **few))
    alphas = torch.tensor([0.0, 0.5, 1.0])
    if isinstance(model, VAE):
        z = model.embed(drawn)
        assert z.shape == (2, 3)
        assert model.interpolate(z[:1], z[1:], alphas).shape == (1, 3, 1, side, side)
        assert model.traverse(z[0], torch.linspace(-1, 1, 2)).shape == (3, 2, 1, side, side)
    else:
        request = model.request(how=model.deterministic(sampler="ddim", steps=2))
        asked = (torch.tensor([0]), torch.tensor([2])) if model.classes else None
        noise = model.prior(0, 2)
        between = model.interpolate(noise[:1], noise[1:], alphas, labels=asked, request=request)
        assert between.shape == (1, 3, 1, side, side)
        embedded = model.embed(drawn[:1], asked[0] if asked else None, steps=3)
        assert embedded.shape == (1, 1, side, side)


@pytest.mark.parametrize("shape", [(1, 20, 36), (3, 36, 20), (3, 9, 11)], ids=str)
def test_images_need_not_be_square(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    wanted = (2, height, width) if channels == 1 else (2, height, width, 3)
    for model in (
        VAE(VAEOptions(shape=shape, network="conv", hidden=8, latent=3)),
        Diffusion(DiffusionOptions(shape=shape, size="tiny", patch=2)),
    ):
        few: dict[str, Any] = {"steps": 2} if isinstance(model, Diffusion) else {}
        assert model.eval().sample(2, **few).shape == wanted


def test_a_classifier_takes_any_shape() -> None:
    images, labels = colours(6, 20)
    splits = as_splits((images, labels))
    model = Classifier(ClassifierOptions(shape=splits.shape, classes=CLASSES, width=4)).train()
    assert model.losses(scale(splits.train.images), splits.train.labels)["loss"].isfinite()
    features = model.eval().features(splits.test.images)
    assert model.decide(features).max() < CLASSES


def test_colours_are_learned() -> None:
    """A VAE of a few steps knows red from green: each class comes back in its own colour."""
    from genmnist.families import Recipe

    splits = as_splits(colours(60, 16))
    torch.manual_seed(0)
    model = VAE(VAEOptions(shape=splits.shape, hidden=64, latent=8))
    for _ in Trainer(model, splits, Recipe(batch_size=32, lr=3e-3), steps=120).train():
        pass
    with torch.inference_mode():
        seen = model.eval().decode(model.embed(splits.test.images)).mean((2, 3))
    assert (seen.argmax(1) == splits.test.labels).float().mean() > 0.9


def test_models_and_data_of_other_shapes_are_named(genmnist: Command, root: Path, runs: Path) -> None:
    with pytest.raises(UsageError, match="the data have labels up to 2: `classes` must be 3 or more"):
        library.train("cfg", data=colours(4, 16), options={"classes": 2, "size": "tiny"}, steps=1)
    words = ("evaluate", "vae", "--model", runs / "vae", "--dataset", "mnist", "--quick", "--num", 12)
    said = one_sentence(genmnist(*words, "--quiet"), 2)
    assert "28 x 28, grey" in said
