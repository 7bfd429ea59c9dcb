"""`genmnist info`: what a checkpoint or a run says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from genmnist.cli import options as opt
from genmnist.cli import shell_completion
from genmnist.cli.console import Output
from genmnist.runs.find import WEIGHTS, Found, find
from genmnist.runs.folder import Run


@opt.command("Options", "info vae", "info runs/vae/short", "info model.safetensors --json")
def info(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|RUN",
            help="A checkpoint, a run folder, or a family's bundled weights.",
            autocompletion=shell_completion.described,
        ),
    ],
    *,
    output: Output,
) -> None:
    """Show what a checkpoint or a run folder holds."""
    weights = WEIGHTS / f"{what}.safetensors"
    bundled = not Path(what).exists() and Path(what).name == what and weights.is_file()
    found = Found(weights, f"the bundled {what}") if bundled else find(None, what)

    from genmnist import api

    header, tensors = api.info(found.path)
    size = found.path.stat().st_size
    facts = {
        "file": str(found.path),
        "bytes": size,
        **msgspec.to_builtins(header),
        "tensors": len(tensors),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "dtype": ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})),
    }
    if Path(what).is_dir():
        run = Run.open(what)
        facts |= {"finished": run.finished, "epochs": len(run.metrics)}
    output.note(**facts)
    output.table(_rows(facts))


_FEW = 8  # numbers that are shown instead of counted


def _rows(facts: dict[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _rows({f"{key}.{name}": inner for name, inner in value.items()})
        elif isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            yield key, ", ".join(filter(None, value))
        elif isinstance(value, list):
            plain = len(value) <= _FEW and all(isinstance(entry, (int, float)) for entry in value)
            yield key, ", ".join(map(_text, value)) if plain else f"{len(value)} entries"
        else:
            yield key, _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
