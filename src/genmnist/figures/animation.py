"""Animations, as GIF files that open anywhere and are small enough to be mailed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor

from genmnist.figures.grid import Tiles
from genmnist.figures.style import LOOK, Look
from genmnist.files import write_bytes

MOST_BYTES = 1_000_000
_FEWEST = 12  # frames: rather than show fewer, images are enlarged less
_GREYS, _COLOURS = 29, 256  # colours of a frame; with those of the texts the greys are 32


def save(
    frames: Sequence[Tiles],
    path: str | Path,
    seconds: float = 4.0,
    bounce: bool = False,
    about: Mapping[str, str] | None = None,
    look: Look = LOOK,
) -> Path:
    """Write frames as an endless GIF, whole or not at all.

    It rests on its last frame (where it runs back, on both ends) for half of its time. What would be larger
    than `MOST_BYTES` has fewer frames, then smaller images, unless `look` says how large they are.

    Args:
        frames: the pictures, in order.
        path: where to.
        seconds: how long they take together, without the rest.
        bounce: run back to the first frame instead of jumping there.
        about: what the file says of itself in its comment, a line each, as `name: text`.
        look: how it is to look.

    Raises:
        GenmnistError: the file cannot be written.
    """
    write_bytes(path, gif(frames, seconds, bounce, about, look))
    return Path(path)


def gif(
    frames: Sequence[Tiles],
    seconds: float = 4.0,
    bounce: bool = False,
    about: Mapping[str, str] | None = None,
    look: Look = LOOK,
) -> bytes:
    """Return frames as an endless GIF, as `save` writes it."""
    comment = "\n".join(f"{name}: {text}" for name, text in (about or {}).items()).encode()
    given = look.scale is not None
    while True:
        pictures = [frame.image(look) for frame in frames]
        content = _encode(pictures, _palette(frames[0], look), seconds, bounce, comment)
        excess, scale = len(content) / MOST_BYTES, frames[0].scale(look)
        fewest = 2 if given or scale == 1 else _FEWEST
        if excess > 1 and len(frames) > fewest:
            last, count = len(frames) - 1, max(fewest, int(len(frames) / excess))
            frames = [frames[round(k * last / (count - 1))] for k in range(count)]
        elif excess > 1 and not given and scale > 1:
            look = replace(look, scale=scale - 1)
        else:
            return content


def _encode(
    pictures: Sequence[Image.Image],
    palette: Image.Image | None,
    seconds: float,
    bounce: bool,
    comment: bytes,
) -> bytes:
    """Return a GIF that rests as long as it moves: on its end or, where it runs back, on both ends."""
    if palette:
        forth = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    else:
        forth = [picture.quantize(_COLOURS) for picture in pictures]
    between, rest = forth[1:-1] if bounce else forth[:-1], round(1000 * seconds)
    pace = [round(rest / max(len(between), 1))] * len(between)
    if bounce:
        order, durations = [forth[0], *between, forth[-1], *between[::-1]], [rest, *pace, rest, *pace]
    else:
        order, durations = [*between, forth[-1]], [*pace, rest]
    buffer = io.BytesIO()
    more: dict[str, Any] = {"comment": comment} if comment else {}
    order[0].save(buffer, "GIF", save_all=True, append_images=order[1:], duration=durations, loop=0, **more)
    return buffer.getvalue()


def _palette(frame: Tiles, look: Look) -> Image.Image | None:
    """Return the colours of grey images and their texts: few, and the same in all frames."""
    if frame.images.ndim > 4:
        return None
    greys = [(level,) * 3 for level in (round(255 * k / (_GREYS - 1)) for k in range(_GREYS))]
    style = look.colours
    texts = [ImageColor.getrgb(colour) for colour in (style.background, style.ink, style.faint)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for colour in (*greys, *texts) for level in colour])
    return palette
