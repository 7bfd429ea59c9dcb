"""`genmnist sample`: draw from a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.presets import Sampling, sampling
from genmnist.runs import find

if TYPE_CHECKING:
    from torch import Tensor

    from genmnist.models import Generator

app = typer.Typer(help="Draw new digits from a model.", no_args_is_help=True)

_SUFFIXES = (".png", ".gif", ".npz", "")
_MOST = {".png": 10_000, ".gif": 1_000}  # digits; of a picture as figures.grid has it, which needs torch

Num = Annotated[int, typer.Option("--num", "-n", help="How many.", min=1)]
Out = Annotated[
    Path,
    typer.Option(help=".png: a grid; .gif: the digits as they emerge; .npz: arrays; a folder: a PNG each."),
]


@app.command()
def vae(
    model: opt.Model = None,
    num: Num = 64,
    seed: opt.Seed = 0,
    temperature: Annotated[
        float, typer.Option(help="Scales the deviation of the prior.", min=0, max=100, callback=opt.finite)
    ] = 1.0,
    batch_size: opt.BatchSize = 512,
    out: Out = Path("vae-samples.png"),
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Draw digits from a variational autoencoder; digit k depends on the seed and on k alone."""
    output = Output("sample vae", as_json, quiet)
    _sample(output, "vae", model, num, seed, batch_size, out, device, precision, {"temperature": temperature})


def _ddpm(
    how: dict[str, Any],
    model: opt.Model = None,
    num: Num = 64,
    seed: opt.Seed = 0,
    batch_size: opt.BatchSize = 64,
    out: Out = Path("ddpm-samples.png"),
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Draw digits from a diffusion model; digit k depends on the seed and on k alone."""
    output = Output("sample ddpm", as_json, quiet)
    options = sampling(**how).asdict()  # says what is wrong before anything starts
    _sample(output, "ddpm", model, num, seed, batch_size, out, device, precision, options)


app.command("ddpm")(opt.with_knobs(_ddpm, {"how": Sampling}, "the sampler's"))


def _sample(
    output: Output,
    family: str,
    model: str | None,
    num: int,
    seed: int,
    batch_size: int,
    out: Path,
    device: str,
    precision: str,
    options: dict[str, Any],
) -> None:
    opt.check_out(out, _SUFFIXES)
    if num > _MOST.get(out.suffix, num):
        raise UsageError(f"{num:,} digits do not fit into a picture: write them to an .npz file or a folder")
    found = find(family, model)

    from genmnist import api
    from genmnist.figures import animation, export, grid

    generator = cast("Generator", api.load_found(found, family, device, precision))
    output.say(f"model: {found.origin}")
    output.note(model=found.origin, num=num, seed=seed, **options)
    picture = None
    with output.progress("sampling", num) as advance:
        done = 0

        def watch(share: float) -> None:
            advance(done + int(share * min(batch_size, num - done)))

        def batches() -> Iterator[Tensor]:
            nonlocal done
            for batch in generator.sample_batches(num, seed, batch_size, watch=watch, **options):
                done += len(batch)
                advance(done)
                yield batch

        if out.suffix == ".npz":
            export.npz(batches(), num, out)
        elif out.suffix == ".gif":
            batch_size = num
            frames = [grid.grid(frame) for frame in generator.emerge(num, seed, watch=watch, **options)]
            animation.save(frames, out)
            picture = frames[-1]
        elif out.suffix == ".png":
            picture = export.png(batches(), out)
        else:
            export.folder(batches(), num, out)
    output.wrote(out, picture)
    output.finish()
