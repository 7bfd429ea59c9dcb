"""How samples get better over a training: the same ones by epoch (figures 6 and 8 of the report)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from genmnist.figures.grid import BACKGROUND, FAINT, INK, TEXT, corner, save

_SHOWN = 11  # epochs at most: of 20, every other one
_SIDE = 3  # images to a side of each, where they have no labels


def by_epoch(
    pictures: Sequence[tuple[int, Path]],
    columns: int,
    size: tuple[int, int],
    path: Path,
    labelled: bool = False,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Put the first images of the pictures of some epochs next to one another, each beside its epoch.

    They are three times three, side by side; where every column has its label, one row under another.

    Args:
        pictures: an epoch and the grid of samples that was drawn after it, in order.
        columns: how many images wide the grids are.
        size: height and width of an image.
        path: where to.
        labelled: the grids have a column a label.
        about: what the figure says of itself; see `grid.save`.

    Raises:
        GenmnistError: the file cannot be written.
    """
    stride = -(-len(pictures) // _SHOWN)
    shown = [*pictures[:-1:stride], pictures[-1]]
    panels = []
    for _, source in shown:
        with Image.open(source) as picture:
            panels.append(corner(picture, columns, size, (1, columns) if labelled else (_SIDE, _SIDE)))
    (width, height), line, gap, font = panels[0].size, TEXT + 10, 12, ImageFont.load_default(TEXT)
    names = [f"epoch {epoch}" for epoch, _ in shown]
    if labelled:
        margin = round(max(map(font.getlength, names))) + 2 * gap
        figure = Image.new("RGB", (margin + width, len(panels) * height), BACKGROUND)
    else:
        figure = Image.new("RGB", (len(panels) * (width + gap) - gap, height + line), BACKGROUND)
    draw = ImageDraw.Draw(figure)
    for place, (name, panel) in enumerate(zip(names, panels, strict=True)):
        if labelled:
            figure.paste(panel, (margin, place * height))
            draw.text((gap, (place + 0.5) * height), name, INK, font, anchor="lm")
        else:
            left = place * (width + gap)
            figure.paste(panel, (left, line))
            draw.text((left + width / 2, line / 2), name, FAINT, font, anchor="mm")
    return save(figure, path, about)
