"""Completing and editing: what is known stays, pictures are prepared, and bad ones are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import genmnist as library
from conftest import Command, one_sentence, picture, program
from genmnist.data import Dataset, Splits, centred
from genmnist.diffusion import inpainting
from genmnist.diffusion.samplers import ddim
from genmnist.diffusion.schedules import CLEAN, cosine
from genmnist.diffusion.spacings import spaced
from genmnist.diffusion.targets import Denoised
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.sampling import Sampling
from genmnist.models import ConditionalDiffusion, Diffusion


@pytest.fixture(scope="module")
def ddpm() -> Diffusion:
    return library.load("ddpm", "bundled", device="cpu")


@pytest.fixture
def small() -> ConditionalDiffusion:
    torch.manual_seed(0)
    model = ConditionalDiffusion(ConditionalOptions(size="tiny", timesteps=100)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return model


def half(side: str) -> Tensor:
    return torch.from_numpy(centred.half(side, (28, 28)))


@pytest.mark.parametrize("side", centred.SIDES)
def test_what_is_known_stays_to_the_grey_level(side: str, small: ConditionalDiffusion, mnist: Splits) -> None:
    image, hidden = mnist.test.images[3], half(side)
    assert hidden.sum() == 14 * 28
    drawn = small.complete(image, hidden, 3, steps=4, resample=2)
    assert torch.equal(drawn[:, ~hidden], image[~hidden].expand(3, -1))
    assert not torch.equal(drawn[0, hidden], drawn[1, hidden])
    other = image.clone()
    other[hidden] = 77  # what is hidden is not looked at
    assert torch.equal(small.complete(other, hidden, 3, steps=4, resample=2), drawn)


def test_a_completion_depends_on_its_number_and_the_seed_alone(
    small: ConditionalDiffusion, mnist: Splits
) -> None:
    image, hidden = mnist.test.images[0], half("left")

    def draw(num: int, batch_size: int, seed: int = 5) -> Tensor:
        return small.complete(image, hidden, num, seed, steps=3, resample=2, batch_size=batch_size)

    together, apart = draw(3, 64).int(), draw(3, 1).int()
    assert (together - apart).abs().max() <= 1  # a batch of another size rounds otherwise
    assert not torch.equal(draw(1, 1, seed=6), draw(1, 1))


def test_the_temperature_scales_what_a_completion_begins_with(
    small: ConditionalDiffusion, mnist: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, repaint = list[Tensor](), inpainting.repaint

    def watched(steps: Any, x: Tensor, *others: Any) -> Iterator[Any]:
        begun.append(x)
        return repaint(steps, x, *others)

    monkeypatch.setattr(inpainting, "repaint", watched)
    for temperature in (1.0, 0.5):
        small.complete(mnist.test.images[0], half("left"), 2, steps=2, temperature=temperature)
    assert torch.equal(begun[1], 0.5 * begun[0])


def test_half_a_digit_is_completed_to_a_digit(ddpm: Diffusion, mnist: Splits) -> None:
    """The left half of a 0 leaves hardly a doubt."""
    zero = mnist.test.first(0)
    drawn = ddpm.complete(zero, half("right"), 4, steps=12, resample=4)
    classifier = library.load("classifier", device="cpu")
    assert classifier.decide(classifier.features(drawn)).tolist().count(0) >= 3


def test_resampling_makes_what_is_drawn_agree_with_what_is_known() -> None:
    """Images of two equal pixels: given one, the other is its equal, the more surely the more often."""
    schedule = cosine(1000)
    timesteps = spaced(schedule, 20)

    def denoise(x: Tensor, t: float) -> Denoised:
        # The posterior of a common value, N(0, 1) before anything is seen.
        alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
        mean = alpha * x.sum(-1, keepdim=True) / (sigma**2 + 2 * alpha**2)
        clean = mean.expand_as(x)
        return Denoised(clean, (x - alpha * clean) / sigma)

    def error(resample: int) -> float:
        draw = torch.Generator().manual_seed(0)
        known = torch.randn(4000, 1, 1, 1, generator=draw).expand(-1, -1, -1, 2)

        def noise() -> Tensor:
            return torch.randn(known.shape, generator=draw)

        *_, last = inpainting.repaint(
            lambda x, pair: ddim(denoise, x, schedule, pair, noise, 1.0), noise(), schedule, timesteps,
            known, torch.tensor([False, True]).view(1, 1, 1, 2), noise, resample,
        )  # fmt: skip
        assert torch.equal(last.x[..., 0], known[..., 0])
        return (last.x[..., 1] - known[..., 1]).square().mean().item()

    assert error(1) > 2 * error(4)


def test_noise_is_added_from_one_level_up_to_another() -> None:
    schedule, draw = cosine(1000), torch.Generator().manual_seed(0)
    clean = torch.full((200_000, 1, 1, 1), 0.7)
    first, second = (torch.randn(clean.shape, generator=draw) for _ in range(2))
    x = schedule.alpha(300).item() * clean + schedule.sigma(300).item() * first
    found = inpainting.forward(x, schedule, 300, 600, second)
    assert found.mean().item() == pytest.approx(0.7 * schedule.alpha(600).item(), abs=0.01)
    assert found.std().item() == pytest.approx(schedule.sigma(600).item(), abs=0.01)


def test_an_edit_goes_as_far_as_its_strength(ddpm: Diffusion, mnist: Splits) -> None:
    image = mnist.test.first(7)
    far = [
        (ddpm.edit(image, strength, 4).int() - image.int()).square().float().mean().item()
        for strength in (0.05, 0.5, 1)
    ]
    assert far[0] < far[1] / 2 < far[2]
    assert inpainting.sooner([999, 500, CLEAN], 0.5) == [499.5, 250, CLEAN]


def test_labels_are_asked_for_or_left_open(small: ConditionalDiffusion, mnist: Splits) -> None:
    image = mnist.test.images[0]
    for change in (
        small.edit,
        lambda image, **asked: small.complete(image, half("top"), resample=1, **asked),
    ):
        open_, null = change(image, num=2, steps=3), change(image, num=2, steps=3, labels=4, guidance=-1)
        assert torch.equal(open_, null)
        assert not torch.equal(open_, change(image, num=2, steps=3, labels=4))


def test_how_completions_are_sampled() -> None:
    assert (Sampling.completing().sampler, Sampling.completing().eta) == ("ddim", 1.0)
    assert Sampling.completing(eta=0.5, steps=9).asdict()["eta"] == 0.5
    assert Sampling.completing("heun") == Sampling.choose("heun")


def test_wrong_arguments_are_named(small: ConditionalDiffusion, mnist: Splits) -> None:
    image, hidden = mnist.test.images[0], half("left")
    for arguments, said in (
        ((image, torch.zeros(14, 28, dtype=torch.bool)), "`hidden` is"),
        ((image, torch.zeros(28, 28, dtype=torch.bool)), "`hidden` must leave"),
        ((image, torch.ones(28, 28, dtype=torch.bool)), "`hidden` must leave"),
        ((image[:14], hidden), "the `image` is 1 x 14 x 28, and the model's are 1 x 28 x 28"),
        ((image, hidden, 0), "`num`"),
    ):
        with pytest.raises(library.UsageError, match=said):
            small.complete(*arguments)
    with pytest.raises(library.UsageError, match="`resample`"):
        small.complete(image, hidden, resample=0)
    for strength in (0, 1.5, True):
        with pytest.raises(library.UsageError, match="`strength` must be above 0"):
            small.edit(image, strength)
    with pytest.raises(library.UsageError, match="there is no label 12"):
        small.edit(image, labels=12)


def seven(ground: int, ink: int, size: tuple[int, int] = (300, 200), colour: str = "L") -> Image.Image:
    image = Image.new("L", size, ground)
    ImageDraw.Draw(image).line([(40, 30), (120, 30), (70, 170)], fill=ink, width=14, joint="curve")
    return image.convert(colour)


@pytest.mark.parametrize(
    "drawn",
    [
        seven(0, 255),
        seven(235, 30),
        seven(255, 0, colour="RGB"),
        seven(40, 200, (700, 500)),
        seven(255, 0, colour="1"),
    ],
)
def test_a_digit_is_brought_to_the_form_of_mnist(drawn: Image.Image, tmp_path: Path) -> None:
    drawn.save(tmp_path / "seven.png")
    found = centred.digit(tmp_path / "seven.png", (1, 28, 28))
    rows, columns = (np.flatnonzero(found.any(axis)) for axis in (1, 0))
    assert rows[-1] - rows[0] == 19  # 20 pixels
    assert columns[-1] - columns[0] < 19
    assert found.max() == 255
    assert found[0, 0] == 0
    weights = found / found.sum()
    middle = (weights.sum(1) @ np.arange(28), weights.sum(0) @ np.arange(28))
    assert np.abs(np.array(middle) - 14).max() <= 0.6
    classifier = library.load("classifier", device="cpu")
    assert classifier.decide(classifier.features(torch.from_numpy(found)[None])).item() == 7


def test_a_digit_of_mnist_stays_as_it_is_and_is_found_in_its_negative_and_elsewhere(mnist: Splits) -> None:
    for image in mnist.test.images[:100].numpy():
        assert np.array_equal(centred.prepared(Path("digit"), image, (28, 28)), image)
        negative = centred.prepared(Path("negative"), 255 - image, (28, 28))
        assert np.abs(negative.astype(int) - image).max() <= 6  # what is lightest becomes white
        moved = np.zeros((50, 40), np.uint8)
        moved[3:31, 9:37] = image
        assert np.array_equal(centred.prepared(Path("moved"), moved, (28, 28)), negative)


def test_what_is_transparent_is_the_ground(tmp_path: Path) -> None:
    for ink in (0, 255):
        drawn = Image.new("LA", (300, 200))
        drawn.putalpha(seven(0, 255))
        drawn.paste(ink, (0, 0, 0, 0))
        flat = Image.merge("LA", (Image.new("L", (300, 200), ink), seven(0, 255)))
        flat.save(tmp_path / "seven.png")
        found = centred.digit(tmp_path / "seven.png", (1, 28, 28))
        assert found[0, 0] == 0
        assert found.max() == 255


def test_the_commands_draw_and_show_the_prepared_digit(
    genmnist: Command, tmp_path: Path, mnist: Splits
) -> None:
    seven(255, 0).save(tmp_path / "mine.png")
    done = genmnist(
        "complete", "cfg", "--model", "bundled", "--image", "mine.png", "--mask", "left", "--num", "2",
        "--label", "7,8", "--steps", "2", "--resample", "1", "--scale", "1", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.json["labels"] == [7, 8]
    assert done.json["image"] == "mine.png"
    found = np.asarray(picture(tmp_path / "cfg-completions.png").convert("L"))
    prepared = centred.digit(tmp_path / "mine.png", (1, 28, 28))
    windows = np.lib.stride_tricks.sliding_window_view(found, (28, 28))
    assert (windows == prepared).all((2, 3)).sum() == 2  # once a row
    done = genmnist(
        "edit", "ddpm", "--model", "bundled", "--digit", "3", "--num", "2", "--steps", "2", "--out", "e.npz"
    )
    assert done.status == 0, done.err
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["images"].shape == (2, 28, 28)


def test_bad_pictures_are_refused_in_one_sentence(genmnist: Command, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.new("L", (40, 40)).save(tmp_path / "black.png")
    Image.new("RGB", (4000, 3000), "white").save(tmp_path / "photo.jpg", quality=10)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)).save(
        tmp_path / "noise.png"
    )
    Image.new("L", (14, 28)).save(tmp_path / "mask.png")
    for name, said in (
        ("text.png", "cannot be read as an image"),
        ("absent.png", "no such file"),
        ("photo.jpg", "has 4,000 x 3,000 pixels: cut out the digit"),
        ("black.png", "is black all over"),
        ("noise.png", "has so uneven a ground that no digit stands out"),
    ):
        with pytest.raises(library.GenmnistError, match=f"{name}.*{said}"):
            centred.digit(tmp_path / name, (1, 28, 28))
    with pytest.raises(library.UsageError, match="in colour"):
        centred.digit(tmp_path / "black.png", (3, 32, 32))
    with pytest.raises(library.UsageError, match=r"mask.png has 14 x 28 pixels: it must have as many"):
        centred.hidden(tmp_path / "mask.png", (28, 28))
    for words, status, said in (
        (("edit", "ddpm", "--image", "text.png"), 1, "text.png cannot be read as an image"),
        (("complete", "cfg", "--image", "photo.jpg"), 2, "4,000 x 3,000 pixels: cut out the digit"),
        (("edit", "cfg", "--image", "black.png", "--digit", "3"), 2, "--image and --digit are two digits"),
    ):
        assert said in one_sentence(genmnist(*words, importing=False), status)
    done = genmnist("complete", "ddpm", "--model", "bundled", "--image", "black.png", "--quiet")
    assert "black.png is black all over" in one_sentence(done, 2)


def test_the_nearest_digit_is_nearest_in_what_is_known() -> None:
    completing = program("bench/completing.py")
    images = torch.tensor([[[0, 9], [0, 9]], [[200, 50], [200, 60]]], dtype=torch.uint8)
    fill = completing.nearest(Dataset("two", images, torch.tensor([0, 1])))
    hidden = torch.tensor([[False, True], [False, True]])
    image = torch.tensor([[190, 0], [180, 0]], dtype=torch.uint8)
    assert fill(0, image, hidden).tolist() == [[190, 50], [180, 60]]
