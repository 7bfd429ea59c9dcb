"""Grids of digits, with what the rows and columns are written beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genmnist.errors import UsageError
from genmnist.files import replacing

GAP = 2  # pixels between two digits, before scaling
BACKGROUND, INK, FAINT = (24, 26, 31), (232, 234, 237), (138, 143, 152)
TEXT = 15  # height of the letters, in pixels of the finished picture
MAX_CELLS = 10_000


def grid(images: UInt8[Tensor, "n 28 28"], columns: int | None = None) -> Image.Image:
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
    missing = -count % columns
    blank = torch.zeros(missing, 28, 28, dtype=torch.uint8)
    return tiles(torch.cat((images, blank)).view(-1, columns, 28, 28))


def tiles(
    images: UInt8[Tensor, "rows columns 28 28"],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    faint: Sequence[int] = (),
) -> Image.Image:
    """Lay images out as they are, with texts beside the rows, above the columns and above the whole.

    Args:
        images: the digits.
        rows, columns: a text each, or none.
        title: a line above.
        faint: the rows whose text and digits are set back.
    """
    height, width = images.shape[:2]
    scale = 3 if width <= 12 else 2 if width <= 24 else 1
    pitch = 28 + GAP
    canvas = torch.full((height * pitch + GAP, width * pitch + GAP, 3), 0, dtype=torch.uint8)
    canvas[:] = torch.tensor(BACKGROUND, dtype=torch.uint8)
    cells = images.unsqueeze(-1).expand(-1, -1, -1, -1, 3)
    for row in range(height):
        top = row * pitch + GAP
        for column in range(width):
            left = column * pitch + GAP
            canvas[top : top + 28, left : left + 28] = cells[row, column]
    body = Image.fromarray(canvas.numpy())
    body = body.resize((body.width * scale, body.height * scale), Image.Resampling.NEAREST)
    if not (rows or columns or title):
        return body
    return _annotated(body, pitch * scale, GAP * scale, rows, columns, title, set(faint))


def corner(picture: Image.Image, columns: int, shape: tuple[int, int]) -> Image.Image:
    """Return the first rows and columns of a grid without texts that is `columns` digits wide."""
    pitch = 28 + GAP
    scale = picture.width // (columns * pitch + GAP)
    rows, across = shape
    return picture.crop((0, 0, (across * pitch + GAP) * scale, (rows * pitch + GAP) * scale))


def save(image: Image.Image, path: str | Path) -> Path:
    """Write a picture, whole or not at all. Raises GenmnistError if it cannot be written."""
    with replacing(path) as temporary:
        image.save(temporary, compress_level=3)  # a sixth of the time of the default for a fifth more bytes
    return Path(path)


def _annotated(
    body: Image.Image,
    pitch: int,
    gap: int,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    faint: set[int],
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
        middle = left + gap + number * pitch + (pitch - gap) / 2
        draw.text((middle, top - line / 2), text, FAINT, font, anchor="mm")
    for number, text in enumerate(rows):
        middle = top + gap + number * pitch + (pitch - gap) / 2
        draw.text((margin, middle), text, FAINT if number in faint else INK, font, anchor="lm")
    return picture
