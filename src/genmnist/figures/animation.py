"""Animations, as GIF files that open anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from genmnist.files import replacing

_GREY, _COLOUR = 64, 256  # colours of a frame
_SHADES = 300  # more than the greys and the background of a picture that is grey


def save(
    frames: Iterable[Image.Image],
    path: str | Path,
    milliseconds: int = 80,
    bounce: bool = True,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write frames as an endless GIF, whole or not at all.

    Args:
        frames: the pictures, in order.
        path: where to.
        milliseconds: how long each is shown; the last stays for a second.
        bounce: run back to the first frame instead of jumping there.
        about: what the file says of itself in its comment, a line each, as `name: text`.

    Raises:
        GenmnistError: the file cannot be written.
    """
    forth = [frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=_colours(frame)) for frame in frames]
    back = forth[-2:0:-1] if bounce else []
    comment = "\n".join(f"{name}: {text}" for name, text in (about or {}).items()).encode()
    more: dict[str, Any] = {"comment": comment} if comment else {}
    durations = [milliseconds] * (len(forth) - 1) + [1000] + [milliseconds] * len(back)
    with replacing(path) as temporary:
        forth[0].save(
            temporary, save_all=True, append_images=forth[1:] + back, duration=durations, loop=0, **more
        )
    return Path(path)


def _colours(frame: Image.Image) -> int:
    """Return how many colours a frame needs: few, where it is grey."""
    return _GREY if frame.convert("RGB").getcolors(_SHADES) else _COLOUR
