"""Grids of images, with what the rows and columns are written beside them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from genmnist.errors import UsageError
from genmnist.files import replacing

GAP = 2  # pixels between two images, before scaling
BACKGROUND, INK, FAINT = (24, 26, 31), (232, 234, 237), (138, 143, 152)
TEXT = 15  # height of the letters, in pixels of the finished picture
MAX_CELLS = 10_000
_WIDTHS = {3: 1100, 2: 1450}  # pixels that a picture may be wide whose images are so many times enlarged


def grid(images: UInt8[Tensor, "n h w *rgb"], columns: int | None = None) -> Image.Image:
    """Lay images out in rows: a square unless `columns` says otherwise.

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
    return tiles(torch.cat((images, blank)).unflatten(0, (-1, columns)))


def tiles(
    images: UInt8[Tensor, "rows columns h w *rgb"],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    faint: Collection[int] = (),
) -> Image.Image:
    """Lay images out as they are, with texts beside the rows, above the columns and above the whole.

    They are enlarged as far as the picture does not become too wide by it.

    Args:
        images: grey or colour.
        rows, columns: a text each, or none.
        title: a line above.
        faint: the rows whose text is set back.
    """
    down, across, height, width = images.shape[:4]
    colours = images.unsqueeze(-1).expand(*images.shape, 3) if images.ndim == 4 else images
    pitches = height + GAP, width + GAP
    canvas = torch.tensor(BACKGROUND, dtype=torch.uint8).repeat(
        down * pitches[0] + GAP, across * pitches[1] + GAP, 1
    )
    # Behind the first gap each cell is an image and the gap that follows it, below and to the right.
    cells = canvas[GAP:, GAP:].unflatten(0, (down, -1)).unflatten(2, (across, -1))
    cells[:, :height, :, :width] = colours.transpose(1, 2)
    body = Image.fromarray(canvas.numpy())
    scale = _scale(body.width)
    body = body.resize((body.width * scale, body.height * scale), Image.Resampling.NEAREST)
    if not (rows or columns or title):
        return body
    pitch = (pitches[0] * scale, pitches[1] * scale)
    return _annotated(body, pitch, GAP * scale, rows, columns, title, faint)


def corner(picture: Image.Image, columns: int, size: tuple[int, int], shape: tuple[int, int]) -> Image.Image:
    """Return the first rows and columns of a grid without texts.

    Args:
        picture: the grid.
        columns: how many images wide it is.
        size: height and width of an image, in pixels of its own.
        shape: how many rows and columns to return.
    """
    height, width = (side + GAP for side in size)
    scale = picture.width // (columns * width + GAP)
    down, across = shape
    return picture.crop((0, 0, (across * width + GAP) * scale, (down * height + GAP) * scale))


def save(image: Image.Image, path: str | Path, about: Mapping[str, str] | None = None) -> Path:
    """Write a picture as PNG, whole or not at all.

    Args:
        image: the picture.
        path: where to.
        about: what it says of itself in text chunks, such as the command that makes it again: by keyword.

    Raises:
        GenmnistError: it cannot be written.
    """
    with replacing(path) as temporary:
        # A sixth of the time of the default level for a fifth more bytes.
        image.save(temporary, compress_level=3, pnginfo=texts(about or {}))
    return Path(path)


def texts(about: Mapping[str, str]) -> PngInfo:
    """Return texts as chunks of a PNG file; those beyond Latin letters become international ones."""
    chunks = PngInfo()
    for name, text in about.items():
        if text.isascii():
            chunks.add_text(name, text)
        else:
            chunks.add_itxt(name, text)
    return chunks


def _scale(width: int) -> int:
    """Return how many times to enlarge a picture that is so many pixels wide."""
    return next((scale for scale, most in _WIDTHS.items() if scale * width <= most), 1)


def _annotated(
    body: Image.Image,
    pitch: tuple[int, int],
    gap: int,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    faint: Collection[int],
) -> Image.Image:
    font = ImageFont.load_default(TEXT)
    margin = 2 * gap
    left = margin + (math.ceil(max(font.getlength(text) for text in rows)) if rows else 0)
    line = TEXT + 8
    top = margin // 2 + line * bool(title) + line * bool(columns)
    width = max(left + body.width, math.ceil(font.getlength(title)) + 2 * margin)
    picture = Image.new("RGB", (width + margin // 2, top + body.height), BACKGROUND)
    picture.paste(body, (left, top))
    draw = ImageDraw.Draw(picture)
    if title:
        draw.text((margin, margin // 2 + line / 2), title, INK, font, anchor="lm")
    for number, text in enumerate(columns):
        middle = left + gap + number * pitch[1] + (pitch[1] - gap) / 2
        draw.text((middle, top - line / 2), text, FAINT, font, anchor="mm")
    for number, text in enumerate(rows):
        middle = top + gap + number * pitch[0] + (pitch[0] - gap) / 2
        draw.text((margin, middle), text, FAINT if number in faint else INK, font, anchor="lm")
    return picture
