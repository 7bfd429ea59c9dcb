"""Grids of images, pixel for pixel, with what the rows and columns are written beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from genmnist.errors import UsageError
from genmnist.figures.style import LOOK, Figure, Look, font, plain
from genmnist.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Vector

GAP = 2  # pixels between two images, before scaling
MAX_CELLS = 10_000
_TEXT = 15  # height of the letters, in pixels of a finished picture that is enlarged three times or less
_WIDTHS = {3: 1100, 2: 1450}  # pixels that a picture may be wide whose images are so many times enlarged
_INCH = 150  # pixels of a picture, on paper
_HEAD = 6  # letters that are left of a head that is too long for its column
_SHARP = 2400  # pixels: so wide are images made in PDF and SVG, where readers would smooth their edges


class _Text(NamedTuple):
    x: float
    y: float  # of its middle
    text: str
    faint: bool
    anchor: str  # what lies at x: its left end, its middle or its right end


@dataclass(frozen=True, eq=False)
class Tiles(Figure):
    """Images in rows and columns.

    Args:
        images: bytes, grey or in colour.
        rows, columns: a text each, or none.
        corner: what the columns are, such as `α`: a text before theirs.
        title: a line above.
        faint: the rows whose text is set back.
    """

    images: UInt8[Tensor, "rows columns h w *rgb"]
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    corner: str = ""
    title: str = ""
    faint: Collection[int] = ()

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):  # each is one line, whatever a class is called
            texts = getattr(self, name)
            if (shown := [*map(printable, texts)]) != [*texts]:
                object.__setattr__(self, name, shown)

    def image(self, look: Look = LOOK) -> Image.Image:
        """Return the figure in pixels, the images enlarged by a whole number."""
        scale = self.scale(look)
        body = self._body(look, scale)
        size, place, written = self._layout(body.size, scale, look)
        picture = Image.new("RGB", size, look.colours.background)
        picture.paste(body, place)
        draw = ImageDraw.Draw(picture)
        for text in written:
            colour = look.colours.faint if text.faint else look.colours.ink
            draw.text((text.x, text.y), text.text, colour, font(_letters(scale)), anchor=f"{text.anchor}m")
        return picture

    def vector(self, look: Look = LOOK) -> Vector:
        """Return the figure with its texts as texts."""
        from matplotlib.figure import Figure as Vector

        scale = self.scale(look)
        body = self._body(look, scale)
        (width, height), (left, top), written = self._layout(body.size, scale, look)
        sharp = self._body(look, scale * max(1, _SHARP // max(body.size)))
        figure = Vector((width / _INCH, height / _INCH), facecolor=look.colours.background)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(np.asarray(sharp), extent=(left, left + body.width, top + body.height, top),
                    interpolation="none")  # fmt: skip
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
        axes.set_axis_off()
        for text in written:
            axes.text(
                text.x, text.y, plain(text.text), va="center_baseline",
                ha={"l": "left", "m": "center", "r": "right"}[text.anchor],
                color=look.colours.faint if text.faint else look.colours.ink,
                fontsize=_letters(scale) * 72 / _INCH, fontfamily="DejaVu Sans",
            )  # fmt: skip
        return figure

    def scale(self, look: Look = LOOK) -> int:
        """Return how many times the images are enlarged."""
        across, width = self.images.shape[1], self.images.shape[3]
        size = across * (width + GAP) + GAP
        return look.scale or next((scale for scale, most in _WIDTHS.items() if scale * size <= most), 1)

    def _body(self, look: Look, scale: int) -> Image.Image:
        """Return the images in their places."""
        down, across, height, width = self.images.shape[:4]
        grey = self.images.ndim == 4
        colours = self.images.unsqueeze(-1).expand(*self.images.shape, 3) if grey else self.images
        ground = torch.tensor(ImageColor.getrgb(look.colours.background), dtype=torch.uint8)
        canvas = ground.repeat(down * (height + GAP) + GAP, across * (width + GAP) + GAP, 1)
        # Behind the first gap each cell is an image and the gap that follows it, below and to the right.
        cells = canvas[GAP:, GAP:].unflatten(0, (down, -1)).unflatten(2, (across, -1))
        cells[:, :height, :, :width] = colours.transpose(1, 2)
        body = Image.fromarray(canvas.numpy())
        return body.resize((body.width * scale, body.height * scale), Image.Resampling.NEAREST)

    def _layout(
        self, body: tuple[int, int], scale: int, look: Look
    ) -> tuple[tuple[int, int], tuple[int, int], list[_Text]]:
        """Return the size of the picture, where the images begin, and the texts."""
        title, gap, letters = printable(look.title or self.title), GAP * scale, _letters(scale)
        if not (self.rows or self.columns or title):
            return body, (0, 0), []
        length, line, margin = font(letters).getlength, letters + letters // 2, 2 * gap
        beside = [*self.rows, self.corner] if self.corner else self.rows
        left = margin + (math.ceil(max(map(length, beside))) if beside else 0)
        top = margin // 2 + line * bool(title) + line * bool(self.columns)
        size = max(left + body[0], math.ceil(length(title)) + 2 * margin) + margin // 2, top + body[1]
        (down, across), heads = self.images.shape[:2], top - line / 2
        pitch = (body[0] - gap) / across, (body[1] - gap) / down
        written = []
        if title:
            start = margin if self.rows else left + gap
            written.append(_Text(start, margin // 2 + line / 2, title, False, "l"))
        if self.corner:
            written.append(_Text(left, heads, self.corner, False, "r"))
        for number, text in enumerate(self.columns):
            middle = left + gap / 2 + (number + 0.5) * pitch[0]
            written.append(_Text(middle, heads, _cut(text, pitch[0], length), True, "m"))
        for number, text in enumerate(self.rows):
            middle = top + gap / 2 + (number + 0.5) * pitch[1]
            written.append(_Text(left, middle, text, number in self.faint, "r"))
        return size, (left, top), written


def grid(
    images: UInt8[Tensor, "n h w *rgb"],
    columns: int | None = None,
    heads: Sequence[str] = (),
    title: str = "",
) -> Tiles:
    """Lay images out in rows: a square unless `columns` says otherwise, with a text above each column.

    Raises:
        UsageError: there are more than a picture can show.
    """
    count = len(images)
    if count > MAX_CELLS:
        raise UsageError(
            f"{count:,} images do not fit into a picture: write them to an .npz file or a folder"
        )
    columns = columns or math.ceil(math.sqrt(count))
    blank = images.new_zeros(-count % columns, *images.shape[1:])
    return Tiles(torch.cat((images, blank)).unflatten(0, (-1, columns)), (), heads, title=title)


def read(picture: Image.Image, columns: int, size: tuple[int, int]) -> UInt8[Tensor, "n h w 3"]:
    """Return the images of a grid without texts, as they were laid out.

    Args:
        picture: the grid.
        columns: how many images wide it is.
        size: height and width of an image, in pixels of its own.
    """
    height, width = (side + GAP for side in size)
    scale = picture.width // (columns * width + GAP)
    pixels = torch.from_numpy(np.array(picture.convert("RGB")))[::scale, ::scale]
    cells = pixels[GAP:, GAP:].unflatten(0, (-1, height)).unflatten(2, (columns, width))
    images: Tensor = cells[:, : size[0], :, : size[1]].transpose(1, 2).flatten(0, 1)
    return images


def _cut(text: str, width: float, length: Callable[[str], float]) -> str:
    """Return a head that is no longer than its column is wide, if that leaves enough of it to be read."""
    short = text
    while len(short) > _HEAD and length(short) > width:
        short = short.removesuffix("…")[:-1] + "…"
    return short


def _letters(scale: int) -> int:
    """Return how high letters are beside images that are so many times enlarged, in pixels."""
    return max(_TEXT, _TEXT * scale // 3)
