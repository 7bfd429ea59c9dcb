"""`genmnist interpolate`: from one digit to another, through latent space and through pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.presets import Sampling, sampling
from genmnist.runs import find

if TYPE_CHECKING:
    from genmnist.models import Latent

app = typer.Typer(help="Walk from one digit to another.", no_args_is_help=True)

Space = Annotated[
    str,
    typer.Option(
        help="latent, pixel, or both one under the other.", callback=opt.one_of(("latent", "pixel", "both"))
    ),
]
Pairs = Annotated[int, typer.Option(help="Pairs of end points.", min=1, max=100)]
Points = Annotated[
    int, typer.Option("--points", help="Points on the way, both ends included.", min=2, max=100)
]
Way = Annotated[
    str,
    typer.Option(
        help="lerp, the straight line, or slerp, the great circle.", callback=opt.one_of(("lerp", "slerp"))
    ),
]
FromDigits = Annotated[
    tuple[int, int] | None,
    typer.Option(help="Walk from a real test digit to another, of these labels: 6 1."),
]
Out = Annotated[Path, typer.Option(help=".png: a row a walk; .gif: all walks in motion.")]


@app.command()
def vae(
    model: opt.Model = None,
    space: Space = "both",
    pairs: Pairs = 4,
    points: Annotated[
        int,
        typer.Option("--points", "--steps", help="Points on the way, both ends included.", min=2, max=100),
    ] = 11,
    path: Way = "lerp",
    from_digits: FromDigits = None,
    seed: opt.Seed = 0,
    out: Out = Path("vae-interpolation.png"),
    dataset: opt.Dataset = None,
    data_dir: opt.DataDir = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Decode the points between two latent points, or fade between the two images that they decode to."""
    output = Output("interpolate vae", as_json, quiet)
    _interpolate(
        output, "vae", model, space, pairs, points, path, from_digits, seed, out, dataset, data_dir, device,
        precision, {},
    )  # fmt: skip


def _ddpm(
    how: dict[str, Any],
    model: opt.Model = None,
    space: Space = "both",
    pairs: Pairs = 4,
    points: Points = 11,
    path: Way = "slerp",
    from_digits: FromDigits = None,
    seed: opt.Seed = 0,
    out: Out = Path("ddpm-interpolation.png"),
    dataset: opt.Dataset = None,
    data_dir: opt.DataDir = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Denoise the points between two noises, or fade between the two images; digits are inverted first."""
    output = Output("interpolate ddpm", as_json, quiet)
    options = sampling(**how)
    if options.random:
        raise UsageError(
            "interpolation needs a sampler that draws no noise on its way: dpm-solver, heun, ddim at --eta 0"
        )
    if options.temperature != 1:
        raise UsageError("--temperature is not for interpolation, whose end points are given: leave it out")
    _interpolate(
        output, "ddpm", model, space, pairs, points, path, from_digits, seed, out, dataset, data_dir, device,
        precision, options.asdict(),
    )  # fmt: skip


app.command("ddpm")(opt.with_knobs(_ddpm, {"how": Sampling}, "the sampler's"))


def _interpolate(
    output: Output,
    family: str,
    model: str | None,
    space: str,
    pairs: int,
    points: int,
    path: str,
    from_digits: tuple[int, int] | None,
    seed: int,
    out: Path,
    dataset: str | None,
    data_dir: Path | None,
    device: str,
    precision: str,
    options: dict[str, Any],
) -> None:
    opt.check_out(out, (".png", ".gif"))
    for digit in from_digits or ():
        opt.check_label(digit, named=data_dir is None)
    found = find(family, model)

    import torch

    from genmnist import api
    from genmnist.figures import animation, grid, latent

    walker = cast("Latent", api.load_found(found, family, device, precision))
    output.say(f"model: {found.origin}")
    spaces = ("latent", "pixel") if space == "both" else (space,)
    with output.progress("interpolating", len(spaces) + 1) as advance:
        if from_digits is None:
            z = walker.prior(seed, 2 * pairs)
            first, second = z[0::2], z[1::2]
        else:
            test = api.held_out(walker, dataset, data_dir)
            first, second = (
                walker.embed(torch.stack([test.first(digit, skip=seed + pair) for pair in range(pairs)]))
                for digit in from_digits
            )
        advance(1)
        alphas = torch.linspace(0, 1, points)
        walks = []
        for kind in spaces:
            walks.append(walker.interpolate(second, first, alphas, kind, path, **options))
            advance(1 + len(walks))
    picture, frames = latent.interpolation(walks, spaces, alphas)
    if out.suffix == ".gif":
        animation.save(frames, out)
    else:
        grid.save(picture, out)
    facts = {"space": space, "path": path, "pairs": pairs, "points": points, "seed": seed}
    output.note(model=found.origin, from_digits=from_digits, **facts, **options)
    output.wrote(out, picture)
    output.finish()
