"""Animations, as GIF files that open anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from genmnist.files import replacing


def save(
    frames: Iterable[Image.Image], path: str | Path, milliseconds: int = 80, bounce: bool = True
) -> Path:
    """Write frames as an endless GIF, whole or not at all.

    Args:
        frames: the pictures, in order.
        path: where to.
        milliseconds: how long each is shown; the last stays for a second.
        bounce: run back to the first frame instead of jumping there.

    Raises:
        GenmnistError: the file cannot be written.
    """
    forth = [frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=64) for frame in frames]
    back = forth[-2:0:-1] if bounce else []
    durations = [milliseconds] * (len(forth) - 1) + [1000] + [milliseconds] * len(back)
    with replacing(path) as temporary:
        forth[0].save(temporary, save_all=True, append_images=forth[1:] + back, duration=durations, loop=0)
    return Path(path)
