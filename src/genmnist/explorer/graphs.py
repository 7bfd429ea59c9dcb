"""The networks of models as the page carries them: ONNX with weights in 16 bits, pressed.

Those of the bundled models ship with the package, because to trace a network takes ten seconds, and packages
that few have: `scripts/vendor.py` makes them; they are known by the checksum of the weights that they are of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from genmnist import exporting
from genmnist.explorer.packing import press
from genmnist.models import Model

MANIFEST = "graphs.json"  # by checksum of weights, the names of their graphs


def checksum(weights: Path) -> str:
    """Return what bundled graphs are known by."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def graphs(model: Model, weights: Path) -> dict[str, bytes]:
    """Return the graphs of a model, pressed, by the names of their files without the ending.

    Raises:
        UsageError: there is nothing to export.
        GenmnistError: the model is not bundled, and what exports it is not installed, or cannot.
    """
    folder = files(__package__).joinpath("vendor")
    known: Mapping[str, list[str]] = json.loads(folder.joinpath(MANIFEST).read_text("utf-8"))
    if names := known.get(checksum(weights)):
        return {name: folder.joinpath(f"{name}.onnx.bin").read_bytes() for name in names}
    return {name: press(graph) for name, graph in exported(model).items()}


def exported(model: Model) -> dict[str, bytes]:
    """Return the graphs of a model as ONNX files. Raises as `graphs` does."""
    document = exporting.describe(model, half=True)
    made = exporting.graphs(model, half=True)
    return {document.graphs[name].file.removesuffix(".onnx"): graph for name, graph in made.items()}
