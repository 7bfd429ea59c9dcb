"""Pictures of images of any shape, pixel for pixel, and what their files say of themselves."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from genmnist.diffusion.samplers import Step
from genmnist.errors import UsageError
from genmnist.figures import animation, curves, export, grid, latent, progress, reverse

SHAPES = [(28, 28), (20, 20), (32, 32, 3), (64, 64, 3), (20, 64), (9, 5, 3), (1, 1)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
ABOUT = {"command": "genmnist sample vae --seed 3", "model": "runs/vae/größer → 日本", "seed": "3"}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def cell(picture: Image.Image, row: int, column: int, size: tuple[int, int], scale: int) -> Tensor:
    """Return the pixels of one image in a grid without texts, in colour, at their own size."""
    height, width = size
    top, left = (grid.GAP + row * (height + grid.GAP), grid.GAP + column * (width + grid.GAP))
    pixels = torch.from_numpy(np.asarray(picture).copy())[::scale, ::scale]
    return pixels[top : top + height, left : left + width]


def scale_of(picture: Image.Image, columns: int, width: int) -> int:
    return picture.width // (columns * (width + grid.GAP) + grid.GAP)


@each_shape
def test_every_image_stands_in_its_place(shape: tuple[int, ...]) -> None:
    images = noise(7, *shape)
    picture = grid.grid(images, 3)
    height, width = shape[:2]
    scale = scale_of(picture, 3, width)
    assert picture.size == (
        scale * (3 * (width + grid.GAP) + grid.GAP), scale * (3 * (height + grid.GAP) + grid.GAP)
    )  # fmt: skip
    for number, image in enumerate(images):
        colours = image if image.ndim == 3 else image.unsqueeze(-1).expand(-1, -1, 3)
        assert torch.equal(cell(picture, *divmod(number, 3), (height, width), scale), colours)
    for empty in (7, 8):
        assert not cell(picture, *divmod(empty, 3), (height, width), scale).any()
    gaps = np.asarray(picture)[: grid.GAP * scale].reshape(-1, 3)
    assert (gaps == grid.BACKGROUND).all()


@pytest.mark.parametrize(("columns", "scale"), [(1, 3), (12, 3), (13, 2), (24, 2), (25, 1), (40, 1)])
def test_digits_are_enlarged_as_ever(columns: int, scale: int) -> None:
    assert scale_of(grid.grid(noise(columns, 28, 28), columns), columns, 28) == scale


def test_large_images_are_enlarged_less() -> None:
    scales = [scale_of(grid.grid(noise(10, side, side), 10), 10, side) for side in (20, 28, 32, 64, 128, 256)]
    assert scales == sorted(scales, reverse=True)
    assert scales[0] == 3
    assert scales[-1] == 1
    assert scales[3] < scales[1]


@each_shape
def test_the_corner_of_a_grid_is_a_smaller_grid(shape: tuple[int, ...]) -> None:
    images, size = noise(4, 5, *shape), (shape[0], shape[1])
    picture = grid.tiles(images)
    corner = grid.corner(picture, 5, size, (2, 3))
    scale = scale_of(picture, 5, size[1])
    for row, column in itertools.product(range(2), range(3)):
        ours, theirs = (cell(part, row, column, size, scale) for part in (corner, picture))
        assert torch.equal(ours, theirs)
    assert corner.width == scale * (3 * (size[1] + grid.GAP) + grid.GAP)


@each_shape
def test_texts_stand_beside_the_images(shape: tuple[int, ...]) -> None:
    images = noise(2, 3, *shape)
    plain, written = grid.tiles(images), grid.tiles(images, ["one", "two"], list("abc"), "a title", {1})
    assert written.width > plain.width
    assert written.height > plain.height
    pixels, body = np.asarray(written), np.asarray(plain)
    top, left = written.height - plain.height, _left(pixels, body)
    assert (pixels[top:, left : left + plain.width] == body).all()


def _left(pixels: npt.NDArray[np.uint8], body: npt.NDArray[np.uint8]) -> int:
    """Return where a picture begins in one with texts."""
    top = len(pixels) - len(body)
    places = range(pixels.shape[1] - body.shape[1] + 1)
    return next(x for x in places if (pixels[top:, x : x + body.shape[1]] == body).all())


def test_a_picture_has_its_limits() -> None:
    with pytest.raises(UsageError, match="do not fit into a picture"):
        grid.grid(torch.zeros(10_001, 1, 1, dtype=torch.uint8))


# What a file says of itself


def test_a_picture_says_how_to_make_it_again(tmp_path: Path) -> None:
    picture = grid.grid(noise(4, 28, 28))
    with Image.open(grid.save(picture, tmp_path / "a.png", ABOUT)) as found:
        assert isinstance(found, Image.Image)
        assert found.info == ABOUT
        assert found.tobytes() == picture.tobytes()
    with Image.open(grid.save(picture, tmp_path / "b.png")) as found:
        assert found.info == {}
    for kind in (b"tEXt", b"iTXt"):
        assert kind in (tmp_path / "a.png").read_bytes()


def test_an_animation_says_so_in_its_comment(tmp_path: Path) -> None:
    frames = [grid.grid(noise(4, 32, 32, 3, seed=seed)) for seed in range(3)]
    long = ABOUT | {"command": "genmnist " + "x" * 1000}  # longer than a block of a GIF
    with Image.open(animation.save(frames, tmp_path / "a.gif", about=long)) as found:
        comment = found.info["comment"].decode()
        assert getattr(found, "n_frames", 1) == 4
    assert dict(line.split(": ", 1) for line in comment.splitlines()) == long
    with Image.open(animation.save(frames, tmp_path / "b.gif")) as found:
        assert "comment" not in found.info


def test_an_animation_in_colour_keeps_its_colours(tmp_path: Path) -> None:
    images = torch.zeros(16, 8, 8, 3, dtype=torch.uint8)
    hues = torch.tensor([[k * 16, 255 - k * 16, 40 * (k % 3)] for k in range(16)], dtype=torch.uint8)
    images[:] = hues[:, None, None]
    images[..., 0] += torch.arange(8, dtype=torch.uint8)[:, None]
    images[..., 1] -= torch.arange(8, dtype=torch.uint8)
    frame = grid.grid(images)
    with Image.open(animation.save([frame, frame], tmp_path / "a.gif")) as found:
        error = np.asarray(found.convert("RGB")).astype(float) - np.asarray(frame)
    assert np.abs(error).mean() < 4


@each_shape
def test_arrays_hold_what_was_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    images = noise(7, *shape)
    export.npz(iter(images.split(3)), 7, tmp_path / "a.npz", [3, 1, 4, 1, 5, 9, 2])
    with np.load(tmp_path / "a.npz") as found:
        assert np.array_equal(found["images"], images.numpy())
        assert found["labels"].tolist() == [3, 1, 4, 1, 5, 9, 2]
    export.folder(images.split(3), 7, tmp_path / "folder", ABOUT)
    files = sorted((tmp_path / "folder").iterdir())
    assert [file.name for file in files] == [f"00{k}.png" for k in range(7)]
    for number, file in enumerate(files):
        with Image.open(file) as picture:
            assert np.array_equal(np.asarray(picture), images[number].numpy())
            assert picture.info == ABOUT | {"image": str(number)}
    grid.save(grid.grid(images, 4), tmp_path / "a.png", ABOUT)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info == ABOUT
        assert picture.tobytes() == grid.grid(images, 4).tobytes()


# Figures of what models do


FLOATS = [(1, 28, 28), (1, 20, 20), (3, 32, 32), (3, 64, 64)]
each_form = pytest.mark.parametrize("shape", FLOATS, ids=str)


def floats(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@each_form
def test_a_traversal_shows_what_is_used_most_first(shape: tuple[int, int, int]) -> None:
    images, kl = floats(3, 5, *shape), torch.tensor([0.1, 2.0, 1.0])
    picture, frames = latent.traversal(images, torch.linspace(-2, 2, 5), kl, kl > 0.5)
    assert len(frames) == 5
    size = (shape[1], shape[2])
    scale = scale_of(frames[0], 2, size[1])
    shown = cell(frames[4], 0, 0, size, scale)[:, :, 0]
    assert torch.equal(shown, (images[1, 4, 0] * 255).round().to(torch.uint8))
    assert picture.width > 5 * size[1]


@each_form
def test_walks_lie_under_one_another(shape: tuple[int, int, int]) -> None:
    through = [floats(2, 4, *shape), 1 - floats(2, 4, *shape)]
    picture, frames = latent.interpolation(through, ["latent", "pixel"], torch.linspace(0, 1, 4))
    assert len(frames) == 4
    size = (shape[1], shape[2])
    scale = scale_of(frames[0], 2, size[1])
    for row, column in itertools.product(range(2), range(2)):
        expected = (through[column][row, 3, 0] * 255).round().to(torch.uint8)
        assert torch.equal(cell(frames[3], row, column, size, scale)[:, :, 0], expected)
    assert picture.height > 4 * size[0]


@each_form
def test_the_reverse_process_has_a_column_a_timestep(shape: tuple[int, int, int]) -> None:
    steps = [Step(t, 2 * floats(3, *shape) - 1, torch.ones(3, *shape)) for t in (999.0, 499.5, -1.0)]
    plain, predicted = reverse.picture(steps), reverse.picture(steps, show_x0=True)
    assert predicted.height > 1.8 * plain.height
    assert [frame.size for frame in reverse.frames(steps)] == [reverse.frames(steps)[0].size] * 3
    *_, last = reverse.frames(steps, show_x0=True)
    size = (shape[1], shape[2])
    scale = scale_of(last, 3, size[1])
    assert (cell(last, 1, 2, size, scale) == 255).all()
    assert torch.equal(
        cell(last, 0, 2, size, scale)[:, :, 0], (floats(3, *shape)[2, 0] * 255).round().to(torch.uint8)
    )


@pytest.mark.parametrize("labelled", [False, True])
@each_shape
def test_progress_shows_the_same_corner_of_each_epoch(
    shape: tuple[int, ...], labelled: bool, tmp_path: Path
) -> None:
    pictures = []
    for epoch in range(1, 4):
        path = grid.save(grid.grid(noise(20, *shape, seed=epoch), 5), tmp_path / f"{epoch}.png")
        pictures.append((epoch, path))
    file = progress.by_epoch(pictures, 5, (shape[0], shape[1]), tmp_path / "all.png", labelled, ABOUT)
    with Image.open(file) as picture:
        assert picture.info == ABOUT
        across, down = (5, 3) if labelled else (9, 3)
        assert picture.width > across * shape[1]
        assert picture.height > down * shape[0]


def test_curves_are_drawn_of_whole_numbers_and_others(tmp_path: Path) -> None:
    metrics = [{"epoch": e, "train_loss": 1 / e, "val_loss": 2 / e, "seconds": 3.5 * e} for e in range(1, 5)]
    seen = [{"images seen": 128 * line["epoch"], **line} for line in metrics]
    files = [
        curves.losses(metrics, tmp_path / "losses.png", "vae · $report", "nats an image"),
        curves.compare(
            {"a": ("vae", "val_loss", seen), "b": ("ddpm", "val_loss", seen)}, tmp_path / "compare.png"
        ),
        curves.tradeoffs(
            {"w": [(0, {"distance": 2.0, "recall": 0.5}), (3.5, {"distance": 1.0, "recall": 0.4})]},
            tmp_path / "tradeoffs.png",
        ),
    ]
    for file in files:
        with Image.open(file) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 10
