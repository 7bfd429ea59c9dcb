"""The figures that go with what was measured of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from genmnist.evaluation.whole import Memorised, Whole
from genmnist.figures import curves, grid
from genmnist.figures.curves import Panel


def nearest(memorised: Memorised) -> Image.Image:
    """Lay samples out above the training digits that they are nearest to."""
    cells = torch.stack((memorised.shown, memorised.nearest))
    return grid.tiles(cells, ["sample", "nearest real"], title=f"{memorised.share:.1%} near-copies")


def panels(whole: Whole) -> dict[str, list[Panel]]:
    """Return the curves of what was measured, by the names of their files."""
    found: dict[str, list[Panel]] = {}
    if whole.walks:
        spaces = {"latent": whole.walks.latent, "pixel": whole.walks.pixel}
        alphas = whole.walks.alphas
        found["walks"] = [
            Panel(
                {name: (alphas, walk.distance) for name, walk in spaces.items()},
                "alpha", "distance to the nearest real digit", f"{whole.walks.pairs} walks",
            ),
            Panel(
                {name: (alphas, walk.confidence) for name, walk in spaces.items()},
                "alpha", "the classifier's confidence",
            ),
        ]  # fmt: skip
    if whole.bound:
        levels = whole.bound.levels
        height = [level.bits / level.width for level in levels]
        title = f"bound: {whole.bound.total:.3f} bits per dimension"
        line = {"": ([level.log_snr for level in levels], height)}
        found["likelihood"] = [Panel(line, "log-SNR", "bits a dimension and unit of log-SNR", title)]
    if whole.settled:
        lines = {
            f"{low:g} to {high:g} cycles": (
                whole.settled.timesteps, [max(row[number], 0.0) for row in whole.settled.shares]
            )
            for number, (low, high) in enumerate(whole.settled.bands)
        }  # fmt: skip
        title = "coarse before fine"
        found["bands"] = [Panel(lines, "t", "share that is final", title, falling=True, shares=True)]
    return found


def rows(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the lines of a table of what `Whole.document` says: the name, the number, that of real digits."""
    found = document["samples"]
    ours, real = found["images"], found["real"]
    yield "distance", _interval(ours["frechet"]), _interval(real["frechet"])
    yield "times the floor", f"{found['ratio']:.2f}", "1"
    yield "kernel distance", f"{ours['kernel']:.5f}", f"{real['kernel']:.5f}"
    for name in ("precision", "recall", "density", "coverage"):
        yield name, f"{ours['manifold'][name]:.3f}", f"{real['manifold'][name]:.3f}"
    yield "class imbalance", f"{found['imbalance']:.3f}", ""
    if found["label_agreement"] is not None:
        yield "label kept", f"{found['label_agreement']:.2%}", ""
    yield (
        "near-copies",
        f"{document['near_copies']['share']:.2%}",
        f"{document['near_copies']['expected']:.0%}",
    )
    yield "sharpness", f"{document['sharpness']['images']:.3f}", f"{document['sharpness']['real']:.3f}"
    if vae := document.get("vae"):
        yield "negative ELBO", f"{vae['reconstruction'] + vae['kl']:.2f} nats", ""
        yield "  reconstruction, KL", f"{vae['reconstruction']:.2f}, {vae['kl']:.2f}", ""
        yield f"  {vae['samples']} importance samples", f"{vae['importance_weighted']:.2f} nats", ""
        yield "active units", f"{vae['active_units']} of {vae['latent']}", ""
        yield "mutual information gap", f"{vae['mutual_information_gap']['mean']:.3f}", ""
    if likelihood := document.get("likelihood"):
        for name in ("bound", "exact"):
            part = likelihood[name]
            yield f"bits per dimension, {name}", f"{part['bits']:.3f} ± {part['error']:.3f}", ""
    for row in document.get("guidance_sweep", ()):
        kept = f"{row['label_agreement']:.1%}, {row['precision']:.2f}, {row['recall']:.2f}"
        yield f"w = {row['strength']:g}: label kept, precision, recall", kept, ""
    if walks := document.get("walks"):
        half = len(walks["alphas"]) // 2
        for space in ("latent", "pixel"):
            way = walks[space]
            text = f"{way['distance'][half]:.2f} ± {way['distance_error'][half]:.2f}"
            yield f"half-way, {space}: to a real digit", text, ""
            yield f"half-way, {space}: the classifier's confidence", f"{way['confidence'][half]:.3f}", ""
    if settled := document.get("coarse_before_fine"):
        times = ", ".join(f"{t:.0f}" for t in settled["half_settled"])
        yield "half settled, coarse to fine", f"t = {times}", ""


def comparison(found: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return a table of what was measured of several models, by name: its heads and its rows."""
    columns: dict[str, dict[str, str]] = {}
    real: dict[str, str] = {}
    for model, document in found.items():
        lines = list(rows(document))
        columns[model] = {name: value for name, value, _ in lines}
        real |= {name: value for name, _, value in lines if value}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    cells = [[name, *(column.get(name, "—") for column in (*columns.values(), real))] for name in names]
    return ["measure", *columns, "real digits"], cells


def _interval(found: dict[str, float]) -> str:
    return f"{found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f})"


def save(whole: Whole, folder: Path) -> list[Path]:
    """Write every figure into a folder, and return the files.

    Raises:
        GenmnistError: one cannot be written.
    """
    files = [grid.save(nearest(whole.memorised), folder / "nearest.png")]
    return files + [curves.draw([row], folder / f"{name}.png") for name, row in panels(whole).items()]
