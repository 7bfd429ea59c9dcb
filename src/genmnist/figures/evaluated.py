"""The figures and tables that go with what was measured of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from PIL import Image

from genmnist.evaluation.document import EvaluationDocument, Interval
from genmnist.evaluation.suite import Evaluation
from genmnist.figures import curves, grid
from genmnist.figures.curves import Panel


def nearest(evaluation: Evaluation) -> Image.Image:
    """Lay samples out above the training images that they are nearest to."""
    cells = torch.stack((evaluation.shown, evaluation.nearest))
    share = evaluation.document.near_copies.share
    return grid.tiles(cells, ["sample", "nearest real"], title=f"{share:.1%} near-copies")


def panels(document: EvaluationDocument) -> dict[str, list[Panel]]:
    """Return the curves of what was measured, by the names of their files."""
    found: dict[str, list[Panel]] = {}
    if walks := document.walks:
        spaces = {"latent": walks.latent, "pixel": walks.pixel}
        found["walks"] = [
            Panel(
                {name: (walks.alphas, walk.distance) for name, walk in spaces.items()},
                "alpha", "distance to the nearest real image", f"{walks.pairs} walks",
            ),
            Panel(
                {name: (walks.alphas, walk.confidence) for name, walk in spaces.items()},
                "alpha", "the classifier's confidence",
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


def rows(document: EvaluationDocument) -> Iterator[tuple[str, str, str]]:
    """Yield the lines of a table of an evaluation: the name, the number, that of real images."""
    found = document.samples
    ours, real = found.images, found.real
    yield "distance", _interval(ours.frechet), _interval(real.frechet)
    yield "times the floor", f"{found.ratio:.2f}", "1"
    yield "kernel distance", f"{ours.kernel:.5f}", f"{real.kernel:.5f}"
    for name in ("precision", "recall", "density", "coverage"):
        yield name, f"{getattr(ours.manifold, name):.3f}", f"{getattr(real.manifold, name):.3f}"
    yield "class imbalance", f"{found.imbalance:.3f}", ""
    if found.label_agreement is not None:
        yield "label kept", f"{found.label_agreement:.2%}", ""
    yield "near-copies", f"{document.near_copies.share:.2%}", f"{document.near_copies.expected:.0%}"
    yield "sharpness", f"{document.sharpness.images:.3f}", f"{document.sharpness.real:.3f}"
    if vae := document.vae:
        yield "negative ELBO", f"{vae.negative_elbo:.2f} nats", ""
        yield "  reconstruction, KL", f"{vae.reconstruction:.2f}, {vae.kl:.2f}", ""
        yield f"  {vae.samples} importance samples", f"{vae.importance_weighted:.2f} nats", ""
        yield "active units", f"{vae.active_units} of {vae.latent}", ""
        yield "mutual information gap", f"{vae.mutual_information_gap['mean']:.3f}", ""
    if likelihood := document.likelihood:
        for measure, part in (("bound", likelihood.bound), ("exact", likelihood.exact)):
            error = "" if part.error is None else f" ± {part.error:.3f}"
            yield f"bits per dimension, {measure}", f"{part.bits:.3f}{error}", ""
    for row in document.guidance_sweep:
        kept = f"{row.label_agreement:.1%}, {row.precision:.2f}, {row.recall:.2f}"
        yield f"w = {row.strength:g}: label kept, precision, recall", kept, ""
    if walks := document.walks:
        for space, walk in (("latent", walks.latent), ("pixel", walks.pixel)):
            confidence, distance = walk.middle
            text = f"{distance:.2f} ± {walk.middle_error:.2f}"
            yield f"half-way, {space}: to a real image", text, ""
            yield f"half-way, {space}: the classifier's confidence", f"{confidence:.3f}", ""
    if settled := document.coarse_before_fine:
        times = ", ".join(f"{t:.0f}" for t in settled.half_settled)
        yield "half settled, coarse to fine", f"t = {times}", ""
    for name in document.undefined:
        yield name, "not a finite number", ""


def comparison(found: Mapping[str, EvaluationDocument]) -> tuple[list[str], list[list[str]]]:
    """Return a table of what was measured of several models, by name: its heads and its rows."""
    columns: dict[str, dict[str, str]] = {}
    real: dict[str, str] = {}
    for model, document in found.items():
        lines = list(rows(document))
        columns[model] = {name: value for name, value, _ in lines}
        real |= {name: value for name, _, value in lines if value}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    cells = [[name, *(column.get(name, "—") for column in (*columns.values(), real))] for name in names]
    return ["measure", *columns, "real images"], cells


def save(evaluation: Evaluation, folder: Path, about: Mapping[str, str] | None = None) -> list[Path]:
    """Write every figure into a folder, and return the files.

    Args:
        evaluation: what was measured.
        folder: where to.
        about: what the picture of images says of itself; see `grid.save`.

    Raises:
        GenmnistError: one cannot be written.
    """
    drawn = [grid.save(nearest(evaluation), folder / "nearest.png", about)]
    found = panels(evaluation.document)
    return drawn + [curves.draw([row], folder / f"{name}.png") for name, row in found.items()]


def _interval(found: Interval) -> str:
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"
