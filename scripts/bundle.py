"""Put the model of a finished run into the package, in half precision, with its model card.

python scripts/bundle.py RUN "the command that made it"
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from genmnist import checkpoint
from genmnist.checkpoint import Document
from genmnist.errors import GenmnistError, UsageError
from genmnist.files import write_text
from genmnist.runs import BY_EPOCH, WEIGHTS, Run, kind


def bundle(run: Run, command: str) -> None:
    """Write `weights/<kind>.safetensors`, its card and what is known of its training."""
    if not run.finished:
        raise UsageError(f"{run.folder} has not finished")
    document, tensors = checkpoint.read(run.model_file)
    training = {key: value for key, value in document.training.items() if key != "data_dir"}
    kept = Document("model", document.family, document.preset, document.options, training=training,
                    metrics=document.metrics)  # fmt: skip
    path = WEIGHTS / f"{kind(document.family, document.options)}.safetensors"
    checkpoint.write(path, kept, {name: tensor.half() for name, tensor in tensors.items()})
    write_text(path.with_suffix(".md"), card(run, command, path))
    # How it came about, for the report page: its metrics and its samples by epoch.
    shutil.copyfile(run.metrics_file, path.with_suffix(".jsonl"))
    if (run.folder / BY_EPOCH).exists() and document.family in ("ddpm", "cfg"):
        shutil.copyfile(run.folder / BY_EPOCH, path.with_suffix(".png"))
    print(f"wrote {path} ({path.stat().st_size:,} bytes) and its card")


def card(run: Run, command: str, path: Path) -> str:
    """Return the model card of a run, whose model is now in the package at `path`."""
    summary, versions = run.summary, run.config["versions"]
    rows = {
        "command": f"`{command}`",
        "preset": summary["preset"],
        "parameters": f"{summary['parameters']:,}",
        "file": f"{path.stat().st_size:,} bytes, half precision",
        "data": f"{summary['dataset']}, SHA-256 {run.config['data_checksum'][:16]}…",
        "steps": f"{summary['steps']:,}",
        "time": f"{summary['seconds']:.1f} s",
        "machine": f"{run.config['machine']}, {summary['device']}, {summary['precision']}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "seed": summary["seed"],
        **{name: f"{value:.5g}" for name, value in summary["metrics"].items() if name.startswith("val_")},
    }
    table = "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    return f"# The bundled {path.stem}\n\n| | |\n| --- | --- |\n{table}"


if __name__ == "__main__":
    try:
        bundle(Run.open(sys.argv[1]), sys.argv[2])
    except (GenmnistError, IndexError) as error:
        sys.exit(f"bundle: {error}")
