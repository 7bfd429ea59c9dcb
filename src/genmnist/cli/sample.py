"""`genmnist sample`: draw from a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.runs import find

if TYPE_CHECKING:
    from torch import Tensor

app = typer.Typer(help="Draw new digits from a model.", no_args_is_help=True)

_SUFFIXES = (".png", ".gif", ".npz", "")
_MAX_PICTURE = 10_000  # as figures.grid has it, which is not imported for a usage error


@app.command()
def vae(
    model: opt.Model = None,
    num: Annotated[int, typer.Option("--num", "-n", help="How many.", min=1)] = 64,
    seed: opt.Seed = 0,
    temperature: Annotated[
        float, typer.Option(help="Scales the deviation of the prior.", min=0, max=100, callback=opt.finite)
    ] = 1.0,
    batch_size: opt.BatchSize = 512,
    out: Annotated[
        Path,
        typer.Option(
            help=".png: a grid; .gif: the digits as they emerge; .npz: arrays; a folder: a PNG each."
        ),
    ] = Path("vae-samples.png"),
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Draw digits from a variational autoencoder; digit k depends on the seed and on k alone."""
    output = Output("sample vae", as_json, quiet)
    opt.check_out(out, _SUFFIXES)
    if num > _MAX_PICTURE and out.suffix in (".png", ".gif"):
        raise UsageError(f"{num:,} digits do not fit into a picture: write them to an .npz file or a folder")
    found = find("vae", model)

    from genmnist import api
    from genmnist.figures import animation, export, grid

    vae = api.load_found(found, "vae", device, precision)
    output.say(f"model: {found.origin}")
    output.note(model=found.origin, num=num, seed=seed, temperature=temperature)
    picture = None
    with output.progress("sampling", num) as advance:

        def batches() -> Iterator[Tensor]:
            done = 0
            for batch in vae.sample_batches(num, seed, batch_size, temperature=temperature):
                done += len(batch)
                advance(done)
                yield batch

        if out.suffix == ".npz":
            export.npz(batches(), num, out)
        elif out.suffix == ".gif":
            frames = [grid.grid(frame) for frame in vae.emerge(num, seed, temperature=temperature)]
            animation.save(frames, out)
            picture = frames[-1]
        elif out.suffix == ".png":
            picture = export.png(batches(), out)
        else:
            export.folder(batches(), num, out)
    output.wrote(out, picture)
    output.finish()
