"""`genmnist doctor`: whether this machine can do what genmnist asks of it; and why a run draws noise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from genmnist.cli import options as opt
from genmnist.cli import shell_completion
from genmnist.cli.console import Output
from genmnist.errors import GenmnistError, UsageError
from genmnist.runs.folder import Run


@opt.command(
    "Why a run draws noise",
    "doctor",
    "doctor runs/ddpm/short",
    "doctor runs/ddpm/short --sampler ancestral --steps 16",
)
def doctor(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]", help="A run whose output looks like noise.", autocompletion=shell_completion.runs
        ),
    ] = None,
    *,
    sampler: Annotated[str | None, typer.Option(help="Of a run: the sampler that you use.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of a run: its steps.", min=1)] = None,
    spacing: Annotated[str | None, typer.Option(help="Of a run: its spacing.")] = None,
    device: opt.Device = "auto",
    output: Output,
) -> None:
    """Check this machine: versions, device, data, weights; or look in a run for what makes it draw noise."""
    how: dict[str, Any] = {"sampler": sampler, "steps": steps, "spacing": spacing}
    if run is not None:
        _diagnose(output, run, {name: value for name, value in how.items() if value is not None}, device)
        return
    if any(value is not None for value in how.values()):
        raise UsageError("`sampler`, `steps` and `spacing` say how you sample a run: name the run")

    import torch

    from genmnist import api
    from genmnist.data import load
    from genmnist.device import choose_device, choose_precision, describe_machine, gigaflops
    from genmnist.runs.find import WEIGHTS, Found

    place = choose_device(device)
    facts: dict[str, object] = {
        **api.versions(),
        "machine": describe_machine(),
        "device": str(place),
        "precision": choose_precision("auto", place),
    }
    for dtype in (torch.float32, torch.bfloat16):
        facts[f"{str(dtype).removeprefix('torch.')}_gflops"] = round(gigaflops(place, dtype))
    problems = 0
    shipped: dict[str, Callable[[], object]] = {"mnist": load}
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        found = Found(path, "bundled")
        shipped[f"bundled {path.stem}"] = functools.partial(api.load_found, found, device=device)
    for name, check in shipped.items():
        try:
            check()
            facts[name] = "verified"
        except GenmnistError as error:
            problems += 1
            facts[name] = str(error)
    output.note(**facts, problems=problems)
    output.table([key, str(value)] for key, value in facts.items())
    if problems:
        output.finish()  # it says which
        raise GenmnistError(f"{problems} of the files that ship with genmnist are damaged: install it again")


def _diagnose(output: Output, run: Path, how: dict[str, Any], device: str) -> None:
    """Look for the seven usual causes."""
    Run.open(run)  # says what is wrong before torch is imported

    from genmnist.training.diagnosis import diagnose

    found = diagnose(run, device=device, **how)
    output.note(
        run=str(run),
        causes=[{"cause": one.cause, "found": one.found, "remedy": one.remedy} for one in found.causes],
        left_out=found.left_out,
    )
    output.table(found.rows(), ("cause", "found", "what mends it"))
    if found.left_out:
        output.say(found.left_out)
    output.say(f"{len(found.causes)} of the {len(found.findings)} usual causes were found in {run}")
