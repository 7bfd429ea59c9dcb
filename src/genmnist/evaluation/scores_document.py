"""What `genmnist score` writes: how likely a model holds each image to be, as JSON, CSV or arrays."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from genmnist.files import replacing, write_document, write_text

if TYPE_CHECKING:
    from genmnist.evaluation.scores import Terms


class Score(Struct, frozen=True):
    """The bound of one image in bits per dimension, and its terms, as `genmnist.evaluation.scores.Terms`."""

    name: str
    bits: float
    prior: float
    reconstruction: float
    levels: tuple[float, ...]


class ScoredDocument(Struct, frozen=True):
    """Images, and how likely a model holds each of them to be.

    Attributes:
        command, model, images: what was asked, of what, about what.
        labels: whether the model was given the images' labels.
        looks, seed: at how many noise levels it looked at each, and what fixes them and the noise.
        bits, error: the mean over images and its standard error; None of a single image.
        edges: the log-SNRs between which the terms of `levels` lie, falling; one more than terms.
        scores: an entry an image, in their order.
    """

    command: str
    model: str
    images: str
    labels: bool
    looks: int
    seed: int
    bits: float
    error: float | None
    edges: tuple[float, ...]
    versions: dict[str, str]
    machine: str
    scores: tuple[Score, ...]

    def extremes(self, count: int) -> tuple[list[int], list[int]]:
        """Return the numbers of the likeliest images, and of the least likely, the extreme ones first.

        No image is among both: of fewer than two times `count` there are half as many of each.
        """
        order = sorted(range(len(self.scores)), key=lambda number: self.scores[number].bits)
        count = max(1, min(count, len(order) // 2))
        return order[:count], order[::-1][: min(count, len(order) - count)]


def entries(terms: Terms, names: tuple[str, ...]) -> tuple[Score, ...]:
    """Return an entry for each image."""
    columns = (terms.bits, terms.prior, terms.reconstruction, terms.levels)
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    return tuple(Score(name, bits, prior, end, tuple(levels)) for name, bits, prior, end, levels in rows)


def _write_csv(path: Path, document: ScoredDocument) -> None:
    centres = [(above + below) / 2 for above, below in zip(document.edges, document.edges[1:], strict=False)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "bits", "prior", "reconstruction", *(f"log-SNR {c:.3f}" for c in centres)])
    for score in document.scores:
        writer.writerow([score.name, score.bits, score.prior, score.reconstruction, *score.levels])
    write_text(path, text.getvalue())


def _write_arrays(path: Path, document: ScoredDocument) -> None:
    import numpy as np

    scores = document.scores
    arrays: dict[str, Any] = {
        key: np.array([getattr(score, key) for score in scores]) for key in Score.__struct_fields__
    }
    with replacing(path) as temporary:
        np.savez(temporary, **arrays, edges=np.array(document.edges))


# By the ending of a file's name: what writes it. Each raises GenmnistError if the file cannot be written.
WRITERS: dict[str, Callable[[Path, ScoredDocument], None]] = {
    ".json": write_document,
    ".csv": _write_csv,
    ".npz": _write_arrays,
}
