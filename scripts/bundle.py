"""Put the model of a finished run into the package, in half precision, with its model card.

python scripts/bundle.py RUN "the command that made it" [NAME]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec
from torch import Tensor

from genmnist.errors import GenmnistError, UsageError
from genmnist.files import write_text
from genmnist.registry import FAMILIES
from genmnist.runs import checkpoint
from genmnist.runs.documents import ModelHeader
from genmnist.runs.find import WEIGHTS
from genmnist.runs.folder import Run


def bundle(run: Run, command: str, name: str = "", weights: Path = WEIGHTS) -> Path:
    """Write the weights, their card and what is known of their training; return the file of the weights.

    They are called after the family, and by the name, or the variant of it that they are: `classifier-noisy`.
    """
    if not run.finished:
        raise UsageError(f"{run.folder} has not finished")
    header, tensors = checkpoint.read(run.model_file)
    if not isinstance(header, ModelHeader):
        raise GenmnistError(f"{run.model_file} is no model")
    training = msgspec.structs.replace(header.training, data_dir=None)
    name = name or FAMILIES[header.family].variant(header.options)
    path = weights / f"{header.family}{name and f'-{name}'}.safetensors"
    kept = msgspec.structs.replace(header, training=training)
    checkpoint.write(path, kept, {name: halved(tensor) for name, tensor in tensors.items()})
    write_text(path.with_suffix(".md"), card(run, command, path))
    # How it came about, for the report page: its metrics and its samples by epoch.
    shutil.copyfile(run.metrics_file, path.with_suffix(".jsonl"))
    if run.by_epoch_file.exists() and "reverse-trace" in FAMILIES[header.family].commands:
        shutil.copyfile(run.by_epoch_file, path.with_suffix(".png"))
    print(f"wrote {path} ({path.stat().st_size:,} bytes) and its card")
    return path


def halved(tensor: Tensor) -> Tensor:
    """Return a tensor of real numbers in half precision, any other as it is."""
    return tensor.half() if tensor.is_floating_point() else tensor


def card(run: Run, command: str, path: Path) -> str:
    """Return the model card of a run, whose model is now in the package at `path`."""
    summary, config = run.summary, run.config
    rows = {
        "command": f"`{command}`",
        "preset": summary.preset,
        "parameters": f"{summary.parameters:,}",
        "file": f"{path.stat().st_size:,} bytes, half precision",
        "data": f"{summary.dataset}, SHA-256 {config.data_checksum[:16]}…",
        "validated on": "the test images" if config.validation == "test" else "held-out training images",
        "steps": f"{summary.steps:,}",
        "time": f"{summary.seconds:.1f} s",
        "machine": f"{config.machine}, {summary.device}, {summary.precision}",
        "versions": ", ".join(f"{name} {version}" for name, version in config.versions.items()),
        "seed": summary.seed,
        **{name: f"{value:.5g}" for name, value in summary.metrics.items() if name.startswith("val_")},
    }
    table = "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    return f"# The bundled {path.stem}\n\n| | |\n| --- | --- |\n{table}"


if __name__ == "__main__":
    try:
        bundle(Run.open(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
    except (GenmnistError, IndexError) as error:
        sys.exit(f"bundle: {error}")
