"""`genmnist average`: how long the average of the weights is to be, chosen when the training is over."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli import shell_completion, values
from genmnist.cli.console import Output
from genmnist.cli.evaluate import Features, own_classifier
from genmnist.errors import UsageError
from genmnist.runs.find import find
from genmnist.runs.folder import Run


@opt.command(
    "What to average",
    "average runs/ddpm/short",
    "average runs/ddpm/short --length 0.04,0.06,0.08 --num 5000",
    "average runs/ddpm/short --length 0.06 --out model.safetensors",
)
def average(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="A run trained with --snapshots.", autocompletion=shell_completion.runs
        ),
    ],
    *,
    length: Annotated[
        str | None,
        typer.Option(
            metavar="X,…",
            help="How long averages are to be: the standard deviation of their profile as a share of the "
            "training.",
            show_default="0.03,0.05,0.08,0.12,0.18, as far as they can be had",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The .safetensors file for the average of one length; without it lengths are compared.",
        ),
    ] = None,
    num: Annotated[
        int | None,
        typer.Option(
            "--num",
            "-n",
            help="How many samples to draw by each, to measure how far they are from validation images.",
            show_default="1000; 0 for a family that draws nothing",
            min=0,
            max=60_000,
        ),
    ] = None,
    features: Features = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    threads: opt.Threads = None,
    output: Output,
) -> None:
    """Choose how long the average of a run's weights is to be, when the training is over."""
    asked = None if length is None else values.numbers(length, "length")
    if out is not None:
        values.check_out(out, (".safetensors",))
        if asked is None or len(asked) != 1:
            raise UsageError("`out` is for one average: name its `length`, or compare some without `out`")
        if num is not None or features is not None:
            raise UsageError("`num` and `features` are for comparing lengths, without `out`")
        _write(output, Run.open(run), asked[0], out)
        return
    Run.open(run)
    own = find("classifier", features) if features else None

    from genmnist.training import lengths

    opt.compute_on(device, threads)
    with output.progress("judging", 1000) as advance:
        found = lengths.compare(
            run,
            asked,
            num=num,
            seed=seed,
            features=own_classifier(own, device),
            device=device,
            precision=precision,
            watch=lambda name, share: advance(round(1000 * share), name),
        )
    output.note(**asdict(found), best=found.best.length, seed=seed)
    output.table(*found.table())
    if found.features:
        output.say(f"distances from the validation images, in the features of {found.features}")
    output.say(
        f"{found.best.name} is the best of these lengths: `genmnist average {run} --length {found.best.name} "
        f"--out model.safetensors` writes it"
    )


def _write(output: Output, run: Run, length: float, out: Path) -> None:
    """Write the average of one length."""
    from genmnist.training.posthoc import Snapshots

    snapshots = Snapshots(run)
    error = snapshots.error(length)
    with output.progress("averaging", 1000) as advance:
        model = snapshots.average(length, lambda share: advance(round(1000 * share)))
    snapshots.save(model, out)
    output.say(f"{model.origin}, at step {snapshots.step:,}; its profile is off by {error:.1%}")
    output.note(run=str(run.folder), length=length, step=snapshots.step, error=error)
    output.wrote(out)
