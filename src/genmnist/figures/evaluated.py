"""The figures that go with what was measured of a model; `genmnist.evaluation.tables` has the tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from genmnist.evaluation.document import EvaluationDocument
from genmnist.evaluation.suite import Evaluation
from genmnist.figures.curves import Chart, Panel
from genmnist.figures.grid import Tiles
from genmnist.figures.style import LOOK, Look


def nearest(evaluation: Evaluation) -> Tiles:
    """Lay samples out above the training images that they are nearest to."""
    cells = torch.stack((evaluation.shown, evaluation.nearest))
    share = evaluation.document.near_copies.share
    return Tiles(cells, ["sample", "nearest real"], title=f"{share:.1%} near-copies")


def panels(document: EvaluationDocument) -> dict[str, list[Panel]]:
    """Return the curves of what was measured, by the names of their files."""
    found: dict[str, list[Panel]] = {}
    if walks := document.walks:
        spaces = {"latent": walks.latent, "pixel": walks.pixel}
        found["walks"] = [
            Panel(
                {name: (walks.alphas, walk.distance) for name, walk in spaces.items()},
                "α", "distance to the nearest real image", f"{walks.pairs} walks",
            ),
            Panel(
                {name: (walks.alphas, walk.confidence) for name, walk in spaces.items()},
                "α", "the classifier's confidence",
            ),
        ]  # fmt: skip
    if document.likelihood:
        bound = document.likelihood.bound
        height = [level.bits / level.width for level in bound.levels]
        title = f"bound: {bound.bits:.3f} bits per dimension"
        line = {"": ([level.log_snr for level in bound.levels], height)}
        found["likelihood"] = [Panel(line, "log-SNR", "bits a dimension and unit of log-SNR", title)]
    if settled := document.coarse_before_fine:
        lines = {
            f"{low:g} to {high:g} cycles": (
                settled.timesteps, [max(row[number] or 0.0, 0.0) for row in settled.shares]
            )
            for number, (low, high) in enumerate(settled.bands)
        }  # fmt: skip
        title = "coarse before fine"
        found["bands"] = [Panel(lines, "t", "share that is final", title, falling=True, shares=True)]
    return found


def save(
    evaluation: Evaluation, folder: Path, about: Mapping[str, str] | None = None, look: Look = LOOK
) -> list[Path]:
    """Write every figure into a folder, and return the files.

    Args:
        evaluation: what was measured.
        folder: where to.
        about: what each says of itself.
        look: how each is to look.

    Raises:
        GenmnistError: one cannot be written.
    """
    figures = {"nearest": nearest(evaluation)} | {
        name: Chart([row]) for name, row in panels(evaluation.document).items()
    }
    return [figure.save(folder / f"{name}.png", about, look) for name, figure in figures.items()]
