"""Pictures of images of any shape, pixel for pixel, and what their files say of themselves."""

from __future__ import annotations

import base64
import itertools
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageColor, ImageSequence
from torch import Tensor

from genmnist.diffusion.samplers import Step
from genmnist.errors import UsageError
from genmnist.figures import animation, curves, export, grid, latent, progress, reverse
from genmnist.figures.curves import Chart, Panel
from genmnist.figures.style import LOOK, STYLES, Look, about, font

SHAPES = [(28, 28), (20, 20), (32, 32, 3), (64, 64, 3), (20, 64), (9, 5, 3), (1, 1)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
ABOUT = {"command": "genmnist sample vae --seed 3", "model": "runs/vae/größer → 日本", "seed": "3"}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def cell(figure: grid.Tiles, row: int, column: int) -> Tensor:
    """Return one image as it is in the picture without its texts, in colour, at its own size."""
    bare, (height, width), scale = grid.Tiles(figure.images), figure.images.shape[2:4], figure.scale()
    pixels = torch.from_numpy(np.array(bare.image()))
    top, left = grid.GAP + row * (height + grid.GAP), grid.GAP + column * (width + grid.GAP)
    enlarged = pixels[top * scale :, left * scale :][: height * scale, : width * scale]
    own = enlarged[::scale, ::scale]
    assert torch.equal(own.repeat_interleave(scale, 0).repeat_interleave(scale, 1), enlarged)
    return own


def coloured(image: Tensor) -> Tensor:
    return image if image.ndim == 3 else image.unsqueeze(-1).expand(-1, -1, 3)


@pytest.mark.parametrize("style", STYLES)
@each_shape
def test_every_image_stands_in_its_place(shape: tuple[int, ...], style: str) -> None:
    images = noise(7, *shape)
    figure = grid.grid(images, 3)
    picture, scale = figure.image(Look(style)), figure.scale()
    height, width = shape[:2]
    assert picture.size == (
        scale * (3 * (width + grid.GAP) + grid.GAP), scale * (3 * (height + grid.GAP) + grid.GAP)
    )  # fmt: skip
    for number, image in enumerate(images):
        assert torch.equal(cell(figure, *divmod(number, 3)), coloured(image))
    for empty in (7, 8):
        assert not cell(figure, *divmod(empty, 3)).any()
    gaps = np.asarray(picture)[: grid.GAP * scale].reshape(-1, 3)
    assert (gaps == ImageColor.getrgb(STYLES[style].background)).all()


@pytest.mark.parametrize(("columns", "scale"), [(1, 3), (12, 3), (13, 2), (24, 2), (25, 1), (40, 1)])
def test_digits_are_enlarged_as_ever(columns: int, scale: int) -> None:
    figure = grid.grid(noise(columns, 28, 28), columns)
    assert figure.scale() == scale
    assert figure.image().width == scale * (columns * 30 + 2)
    assert figure.image(Look(scale=4)).width == 4 * (columns * 30 + 2)


def test_large_images_are_enlarged_less() -> None:
    scales = [grid.grid(noise(10, side, side), 10).scale() for side in (20, 28, 32, 64, 128, 256)]
    assert scales == sorted(scales, reverse=True)
    assert scales[0] == 3
    assert scales[-1] == 1
    assert scales[3] < scales[1]


@each_shape
def test_a_grid_that_was_written_can_be_read(shape: tuple[int, ...], tmp_path: Path) -> None:
    images = noise(10, *shape)
    with Image.open(grid.grid(images, 5).save(tmp_path / "a.png")) as picture:
        found = grid.read(picture, 5, (shape[0], shape[1]))
    assert torch.equal(found, torch.stack([coloured(image) for image in images]))


@pytest.mark.parametrize("look", [Look(), Look("dark", 2, "another title")], ids=str)
@each_shape
def test_texts_stand_beside_the_images(shape: tuple[int, ...], look: Look) -> None:
    images = noise(2, 3, *shape)
    figure = grid.Tiles(images, ["one", "two"], list("abc"), "α", "a title", {1})
    plain, written = grid.Tiles(images).image(Look(look.style, look.scale)), figure.image(look)
    assert written.width > plain.width
    assert written.height > plain.height
    pixels, body = np.asarray(written), np.asarray(plain)
    top, left = written.height - plain.height, _left(pixels, body)
    assert (pixels[top:, left : left + plain.width] == body).all()
    for margin in (pixels[top:, :left], pixels[:top]):
        assert len(np.unique(margin)) > 10  # letters, whose edges are soft


def _left(pixels: npt.NDArray[np.uint8], body: npt.NDArray[np.uint8]) -> int:
    """Return where a picture begins in one with texts."""
    top = len(pixels) - len(body)
    places = range(pixels.shape[1] - body.shape[1] + 1)
    return next(x for x in places if (pixels[top:, x : x + body.shape[1]] == body).all())


def test_letters_grow_with_what_they_stand_beside() -> None:
    figure = grid.Tiles(noise(2, 3, 28, 28), ["one", "two"], list("abc"))
    heights = [figure.image(Look(scale=scale)).height - scale * 62 for scale in (3, 6, 9)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)
    assert heights[2] == pytest.approx(3 * heights[0], abs=2)


def test_a_head_is_cut_to_its_column() -> None:
    letters = font(15).getlength
    names = ("a", "ant", "hippopotamus", "hippopotamus amphibius")
    heads = [text.text for text in grid.grid(noise(4, 28, 28), 4, names)._layout((364, 94), 3, LOOK)[2]]
    assert heads[:2] == ["a", "ant"]
    for head, name in zip(heads[2:], names[2:], strict=True):
        assert head.endswith("…")
        assert name.startswith(head[:-1])
        assert len(head) >= 6
        assert letters(head) <= 90


def test_a_picture_has_its_limits() -> None:
    with pytest.raises(UsageError, match="do not fit into a picture"):
        grid.grid(torch.zeros(10_001, 1, 1, dtype=torch.uint8))


# What a file says of itself


def test_a_picture_says_how_to_make_it_again(tmp_path: Path) -> None:
    figure = grid.grid(noise(4, 28, 28))
    with Image.open(figure.save(tmp_path / "a.png", ABOUT)) as found:
        assert isinstance(found, Image.Image)
        assert found.info == ABOUT
        assert found.tobytes() == figure.image().tobytes()
    with Image.open(figure.save(tmp_path / "b.png")) as found:
        assert found.info == {}
    for kind in (b"tEXt", b"iTXt"):
        assert kind in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["bin/genmnist", "sample", "vae", "--title", "a b"], "genmnist sample vae --title 'a b'"),
        (["src/genmnist/__main__.py", "report"], "genmnist report"),
        (["mine/train.py", "--secret", "word"], "train.py"),
        ([], None),
    ],
)
def test_of_a_command_only_what_is_ours_is_told(argv: list[str], command: str | None) -> None:
    assert about(argv).get("Command") == command
    assert "Seed" not in about(argv)
    assert about(argv, "m", 0)["Seed"] == "0"


def test_a_figure_says_so_in_every_format(tmp_path: Path) -> None:
    """PDF and SVG have names of their own for it; their texts are texts, and their images not smoothed."""
    tiles = grid.Tiles(noise(2, 3, 28, 28), ["one", "two"], ["a", "b", "$c$"], "α")
    chart = curves.Chart([[curves.Panel({"a": ([0, 1], [2, 3])}, "x", "y")]])
    for name, figure, words in (("tiles", tiles, ("one", "$c$", "α")), ("chart", chart, ("x", "y"))):
        svg = figure.save(tmp_path / f"{name}.svg", ABOUT, Look(title="a title")).read_text("utf-8")
        for text in (*words, "a title"):
            assert f">{text}</text>" in svg
        assert ABOUT["command"] in svg
        assert "größer → 日本" in svg
        pdf = figure.save(tmp_path / f"{name}.pdf", ABOUT).read_bytes()
        assert ABOUT["command"].encode("utf-16-be") in pdf.replace(b"\\\\", b"\\")
        assert figure.save(tmp_path / "again.pdf", ABOUT).read_bytes() == pdf
        assert figure.save(tmp_path / "again.svg", ABOUT, Look(title="a title")).read_text("utf-8") == svg
        with Image.open(figure.save(tmp_path / f"{name}.png", ABOUT)) as found:
            assert ABOUT.items() <= found.info.items()
    embedded = base64.b64decode((tmp_path / "tiles.svg").read_text("utf-8").split("base64,")[1].split('"')[0])
    with Image.open(BytesIO(embedded)) as found:
        times = found.width // (3 * 30 + 2)
        shown = grid.read(found, 3, (28, 28))
        assert found.width > 2000
        assert found.size == tuple(times * side for side in (3 * 30 + 2, 2 * 30 + 2))
    assert torch.equal(shown, torch.stack([coloured(image) for image in tiles.images.flatten(0, 1)]))


def frames_of(path: Path) -> list[tuple[int, Image.Image]]:
    """Return how long each frame of an animation is shown, and what it shows."""
    with Image.open(path) as found:
        return [(frame.info["duration"], frame.convert("RGB")) for frame in ImageSequence.Iterator(found)]


def test_an_animation_says_so_in_its_comment(tmp_path: Path) -> None:
    frames = [grid.grid(noise(4, 32, 32, 3, seed=seed)) for seed in range(3)]
    long = ABOUT | {"command": "genmnist " + "x" * 1000}  # longer than a block of a GIF
    with Image.open(animation.save(frames, tmp_path / "a.gif", about=long)) as found:
        comment = found.info["comment"].decode()
    assert dict(line.split(": ", 1) for line in comment.splitlines()) == long
    with Image.open(animation.save(frames, tmp_path / "b.gif")) as found:
        assert "comment" not in found.info


def test_an_animation_rests_for_half_of_its_time(tmp_path: Path) -> None:
    frames = [grid.grid(noise(4, 28, 28, seed=seed), title=f"t = {seed}") for seed in range(6)]
    forth = frames_of(animation.save(frames, tmp_path / "a.gif", 2.0))
    assert [duration for duration, _ in forth] == [400] * 5 + [2000]
    back = frames_of(animation.save(frames, tmp_path / "b.gif", 2.0, bounce=True))
    assert [duration for duration, _ in back] == [2000, *[500] * 4, 2000, *[500] * 4]
    assert [picture.tobytes() for _, picture in back[6:]] == [
        picture.tobytes() for _, picture in back[4:0:-1]
    ]
    assert back[5][1].tobytes() == forth[5][1].tobytes()
    still = frames_of(animation.save(frames[:1], tmp_path / "c.gif", 2.0))
    assert len(still) == 1


@pytest.mark.parametrize("look", [Look(), Look("dark", 2)], ids=str)
def test_an_animation_is_small_enough_to_be_mailed(tmp_path: Path, look: Look) -> None:
    """Noise, which cannot be compressed, has fewer frames, then smaller images."""
    frames = [grid.grid(noise(100, 28, 28, seed=seed), title=str(seed)) for seed in range(40)]
    path = animation.save(frames, tmp_path / "a.gif", 4.0, look=look)
    assert path.stat().st_size <= animation.MOST_BYTES
    found = frames_of(path)
    assert len(found) < 40
    assert sum(duration for duration, _ in found) == pytest.approx(8000, abs=200)
    times = frames[0].scale(look) if look.scale else 1
    expected = np.asarray(frames[-1].image(Look(look.style, times)))
    assert np.abs(np.asarray(found[-1][1]).astype(float) - expected).mean() < 8


def test_an_animation_in_colour_keeps_its_colours(tmp_path: Path) -> None:
    images = torch.zeros(16, 8, 8, 3, dtype=torch.uint8)
    hues = torch.tensor([[k * 16, 255 - k * 16, 40 * (k % 3)] for k in range(16)], dtype=torch.uint8)
    images[:] = hues[:, None, None]
    images[..., 0] += torch.arange(8, dtype=torch.uint8)[:, None]
    images[..., 1] -= torch.arange(8, dtype=torch.uint8)
    frame = grid.grid(images)
    with Image.open(animation.save([frame, frame], tmp_path / "a.gif")) as found:
        error = np.asarray(found.convert("RGB")).astype(float) - np.asarray(frame.image())
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


# Figures of what models do


FLOATS = [(1, 28, 28), (1, 20, 20), (3, 32, 32), (3, 64, 64)]
each_form = pytest.mark.parametrize("shape", FLOATS, ids=str)


def floats(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def bytes_of(image: Tensor) -> Tensor:
    return coloured((image.permute(1, 2, 0) * 255).round().to(torch.uint8).squeeze(-1))


@each_form
def test_a_traversal_shows_what_is_used_most_first(shape: tuple[int, int, int]) -> None:
    images, kl = floats(3, 5, *shape), torch.tensor([0.1, 2.0, 1.0])
    figure, frames = latent.traversal(images, torch.linspace(-2, 2, 5), kl, kl > 0.5)
    assert figure.rows == ["z₁  2.00 nats", "z₂  1.00 nats", "z₀  0.10 nats, unused"]
    assert (figure.columns, figure.corner) == (["−2.0", "−1.0", "0", "+1.0", "+2.0"], "value of z")
    assert figure.title == "2 of 3 factors active"
    assert [frame.title for frame in frames] == [f"each z = {value}" for value in figure.columns]
    assert torch.equal(cell(frames[4], 0, 0), bytes_of(images[1, 4]))
    assert torch.equal(cell(figure, 1, 3), bytes_of(images[2, 3]))


@each_form
def test_walks_lie_under_one_another(shape: tuple[int, int, int]) -> None:
    through = [floats(2, 4, *shape), 1 - floats(2, 4, *shape)]
    figure, frames = latent.interpolation(through, ["latent", "pixel"], torch.linspace(0, 1, 4))
    assert (figure.rows, figure.corner) == (["latent", "pixel"] * 2, "α")
    assert [frame.title for frame in frames] == ["α = 0", "α = 0.33", "α = 0.67", "α = 1"]
    for row, column in itertools.product(range(2), range(2)):
        assert torch.equal(cell(frames[3], row, column), bytes_of(through[column][row, 3]))
        assert torch.equal(cell(figure, 2 * row + column, 1), bytes_of(through[column][row, 1]))


@each_form
def test_the_plane_of_two_factors_has_the_second_upwards(shape: tuple[int, int, int]) -> None:
    images = floats(3, 3, *shape)
    figure = latent.plane(images, torch.linspace(-1, 1, 3), (4, 12))
    assert (figure.rows, figure.columns) == (["+1.0", "0", "−1.0"], ["−1.0", "0", "+1.0"])
    assert figure.corner == "z₁₂ ↑   z₄ →"
    assert torch.equal(cell(figure, 2, 0), bytes_of(images[2, 0]))


@each_form
def test_reconstructions_stand_under_their_images(shape: tuple[int, int, int]) -> None:
    images, decoded = noise(3, *shape[1:], *shape[:1])[..., : shape[0]], floats(3, *shape)
    given = images.squeeze(-1)
    figure = latent.reconstructions(given, decoded, list("abc"))
    assert (figure.rows, figure.columns) == (("input", "reconstruction"), ["a", "b", "c"])
    assert torch.equal(cell(figure, 0, 1), coloured(given[1]))
    assert torch.equal(cell(figure, 1, 1), bytes_of(decoded[1]))


@each_form
def test_the_reverse_process_has_a_column_a_timestep(shape: tuple[int, int, int]) -> None:
    steps = [Step(t, 2 * floats(3, *shape) - 1, torch.ones(3, *shape)) for t in (999.0, 499.5, -1.0)]
    plain, predicted = reverse.picture(steps), reverse.picture(steps, show_x0=True)
    assert (plain.rows, plain.columns[0], plain.corner) == ((), "999", "t")
    assert predicted.rows == ["xₜ", "x̂₀"] * 3
    frames = reverse.frames(steps, show_x0=True)
    assert [frame.title for frame in frames] == ["t = 999", "t = 500", "the sample"]
    for figure in (frames[2], predicted):
        assert len({frame.image().size for frame in frames}) == 1
        row, column = (1, 2) if figure is frames[2] else (5, 2)
        assert (cell(figure, row, column) == 255).all()
    assert torch.equal(cell(frames[2], 0, 2), bytes_of(floats(3, *shape)[2]))
    assert [frame.title for frame in reverse.frames(steps)] == [frame.title for frame in frames]


@pytest.mark.parametrize("labelled", [False, True])
@each_shape
def test_progress_shows_the_same_images_of_each_epoch(
    shape: tuple[int, ...], labelled: bool, tmp_path: Path
) -> None:
    drawn, pictures, heads = {}, [], list("abcde") if labelled else []
    for epoch in range(23):
        drawn[epoch] = noise(20, *shape, seed=epoch)
        pictures.append((epoch, grid.grid(drawn[epoch], 5).save(tmp_path / f"{epoch}.png")))
    file = progress.by_epoch(pictures, 5, (shape[0], shape[1]), tmp_path / "all.png", heads, ABOUT)
    with Image.open(file) as picture:
        assert picture.info == ABOUT
        assert picture.width < 1450  # a page, whatever the number of epochs
        pixels = np.asarray(picture.convert("RGB"))
    shown = [*range(0, 22, 3), 22]
    across = 5 if labelled else 9
    expected = grid.Tiles(torch.stack([drawn[epoch][:across] for epoch in shown])).image()
    left = _left(pixels, np.asarray(expected))
    assert left > 0


def test_curves_are_drawn_of_whole_numbers_and_others(tmp_path: Path) -> None:
    metrics = [{"epoch": e, "train_loss": 1 / e, "val_loss": 2 / e, "seconds": 3.5 * e} for e in range(1, 5)]
    seen = [{"images seen": 128 * line["epoch"], **line} for line in metrics]
    files = [
        curves.losses(metrics, tmp_path / "losses.png", "vae · $report", "nats an image"),
        curves.compare({"a": ("vae", "val_loss", seen), "b": ("ddpm", "val_loss", seen)}).save(
            tmp_path / "compare.png"
        ),
        Chart([[Panel({"": ([0, 3.5], [2, 1])}, "w", "distance", log=True)]]).save(tmp_path / "log.png"),
        Chart([[Panel({"": ([0, 3.5], [0.5, 0.4])}, "w", "share", shares=True)]]).save(
            tmp_path / "shares.png"
        ),
    ]
    for file in files:
        with Image.open(file) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 10
