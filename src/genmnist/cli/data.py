"""`genmnist data`: which data sets are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genmnist.cli import options as opt
from genmnist.cli.console import Output

if TYPE_CHECKING:
    from genmnist.data.sources import Described


@opt.command("Which data", "data", "data --data-dir my_images --grey --image-size 28")
def data(
    *,
    data_dir: opt.DataDir = None,
    image_size: opt.ImageSize = None,
    colour: opt.Colour = None,
    output: Output,
) -> None:
    """Show the data sets: their sizes, where they are, and whether their sums were verified."""
    from genmnist.data import describe

    rows = describe(data_dir, image_size=image_size, colour=colour)
    heads = ("set", "images", "train", "validation", "test", "state", "where", "what")
    output.table((_cells(row) for row in rows), heads)
    output.note(sets=[vars(row) for row in rows])


def _cells(row: Described) -> list[str]:
    sizes = ["" if size is None else f"{size:,}" for size in (row.train, row.validation, row.test)]
    shape = " x ".join(map(str, row.shape)) if row.shape else ""
    return [row.name, shape, *sizes, row.state, row.place, row.about]
