"""What has been published of the likelihood of MNIST, to set a model's own beside. Needs no torch.

Bits per dimension of the 10,000 test images, 28 x 28 pixels of 256 values; fewer are better. Three kinds of
number are told apart: the probability of the bytes themselves; a variational bound on it, which can only be
too high; and that of a density of bytes with noise between them (dequantisation), which is a bound too, and
charges a model for what it has learned as points. Binarised MNIST is another data set, with other numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from genmnist.evaluation import tables
from genmnist.evaluation.document import EvaluationDocument

HEADS = ["model", "bits per dimension", "what is measured", "parameters", "source"]
_DENSITY, _EXACT, _BOUND = "density of dequantised bytes", "probability of bytes", "bound on that of bytes"
_ISSUE = "table of zalandoresearch/fashion-mnist, issue 144"
_NOTEBOOKS = "UvA Deep Learning Tutorials, number"


class Published(NamedTuple):
    """A model, its bits, and where it says so; the number of parameters where that is known."""

    model: str
    bits: float
    kind: str
    source: str
    parameters: str = "—"


PUBLISHED = (
    Published("Glow", 1.05, _DENSITY, f"Kingma & Dhariwal 2018; {_ISSUE}"),
    Published("i-ResNet", 1.05, _DENSITY, f"Behrmann et al. 2019; {_ISSUE}"),
    Published("multiscale flow", 1.020, _DENSITY, f"{_NOTEBOOKS} 11"),
    Published("FFJORD", 0.99, _DENSITY, f"Grathwohl et al. 2019; {_ISSUE}"),
    Published("Residual Flow", 0.97, _DENSITY, f"Chen et al. 2019; {_ISSUE}"),
    Published("gated PixelCNN, 150 epochs", 0.808, _EXACT, f"{_NOTEBOOKS} 12", "852,000"),
    Published("autoregressive transformer", 0.621, _EXACT, "Katharopoulos et al. 2020"),
)


def beside(document: EvaluationDocument, name: str, parameters: str) -> list[list[str]]:
    """Return the rows of a table, most bits first: what was published, and one's own model."""
    rows = [
        (one.bits, [one.model, f"{one.bits:g}", one.kind, one.parameters, one.source]) for one in PUBLISHED
    ]
    if document.likelihood is not None:
        bound = document.likelihood.bound
        bits = tables.with_error(bound.bits, bound.error, 4)
        own = [name, bits, _BOUND, parameters, f"{bound.images:,} test images"]
        rows.append((bound.bits, own))
    return [row for _, row in sorted(rows, key=lambda row: -row[0])]
