"""`genmnist interpolate`: from one digit to another, through latent space and through pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.runs import find

app = typer.Typer(help="Walk from one digit to another.", no_args_is_help=True)

_SPACES, _PATHS = ("latent", "pixel", "both"), ("lerp", "slerp")


@app.command()
def vae(
    model: opt.Model = None,
    space: Annotated[
        str, typer.Option(help="latent, pixel, or both one under the other.", callback=opt.one_of(_SPACES))
    ] = "both",
    pairs: Annotated[int, typer.Option(help="Pairs of end points.", min=1, max=100)] = 4,
    steps: Annotated[int, typer.Option(help="Points on the way, both ends included.", min=2, max=100)] = 11,
    path: Annotated[
        str,
        typer.Option(
            help="lerp, the straight line, or slerp, the great circle.", callback=opt.one_of(_PATHS)
        ),
    ] = "lerp",
    from_digits: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Walk from a real test digit to another, of these labels: 6 1."),
    ] = None,
    seed: opt.Seed = 0,
    out: Annotated[Path, typer.Option(help=".png: a row a walk; .gif: all walks in motion.")] = Path(
        "vae-interpolation.png"
    ),
    dataset: opt.Dataset = None,
    data_dir: opt.DataDir = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Decode the points between two latent points, or fade between the two images that they decode to."""
    output = Output("interpolate vae", as_json, quiet)
    opt.check_out(out, (".png", ".gif"))
    for digit in from_digits or ():
        opt.check_label(digit, named=data_dir is None)
    found = find("vae", model)

    import torch

    from genmnist import api
    from genmnist.figures import animation, grid, latent

    vae = api.load_vae(found, device, precision)
    output.say(f"model: {found.origin}")
    if from_digits is None:
        z = vae.prior(seed, 2 * pairs)
        first, second = z[0::2], z[1::2]
    else:
        test = api.held_out(vae, dataset, data_dir)
        first, second = (
            vae.embed(torch.stack([test.first(digit, skip=seed + pair) for pair in range(pairs)]))
            for digit in from_digits
        )
    alphas = torch.linspace(0, 1, steps)
    spaces = ("latent", "pixel") if space == "both" else (space,)
    walks = [vae.interpolate(second, first, alphas, kind, path) for kind in spaces]
    picture, frames = latent.interpolation(walks, spaces, alphas)
    if out.suffix == ".gif":
        animation.save(frames, out)
    else:
        grid.save(picture, out)
    output.note(
        model=found.origin,
        space=space,
        path=path,
        pairs=pairs,
        steps=steps,
        seed=seed,
        from_digits=from_digits,
    )
    output.wrote(out, picture)
    output.finish()
