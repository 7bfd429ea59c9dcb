"""How samples get better over a training: the same ones by epoch, side by side (figure 6 of the report)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from genmnist.figures.grid import BACKGROUND, FAINT, TEXT, corner, save

_SHOWN = 10  # epochs at most, as in the report
_SIDE = 3  # digits to a side of each


def by_epoch(pictures: Sequence[tuple[int, Path]], columns: int, path: Path) -> Path:
    """Put the first digits of the pictures of some epochs next to one another, each under its epoch.

    Args:
        pictures: an epoch and the grid of samples that was drawn after it, in order.
        columns: how many digits wide the grids are.
        path: where to.

    Raises:
        GenmnistError: the file cannot be written.
    """
    last = len(pictures) - 1
    shown = sorted({round(last * k / (_SHOWN - 1)) for k in range(_SHOWN)})
    corners = []
    for index in shown:
        epoch, source = pictures[index]
        with Image.open(source) as picture:
            corners.append((epoch, corner(picture, columns, _SIDE)))
    width, height = corners[0][1].size
    line, gap = TEXT + 10, 12
    figure = Image.new("RGB", (len(corners) * (width + gap) - gap, height + line), BACKGROUND)
    draw, font = ImageDraw.Draw(figure), ImageFont.load_default(TEXT)
    for place, (epoch, digits) in enumerate(corners):
        left = place * (width + gap)
        figure.paste(digits, (left, line))
        draw.text((left + width / 2, line / 2), f"epoch {epoch}", FAINT, font, anchor="mm")
    save(figure, path)
    return path
