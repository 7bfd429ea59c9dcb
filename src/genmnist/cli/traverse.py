"""`genmnist traverse`: what each latent factor does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.runs import find

app = typer.Typer(help="Move one latent factor at a time.", no_args_is_help=True)


@app.command()
def vae(
    model: opt.Model = None,
    steps: Annotated[int, typer.Option(help="Values of each factor.", min=2, max=64)] = 5,
    span: Annotated[
        float,
        typer.Option(
            help="Set each factor from minus this to plus this.", min=0.01, max=100, callback=opt.finite
        ),
    ] = 2.0,
    from_digit: Annotated[
        int | None, typer.Option(help="Start from a real test digit instead of a point of the prior.")
    ] = None,
    seed: opt.Seed = 0,
    out: Annotated[Path, typer.Option(help=".png: a row a factor; .gif: all factors in motion.")] = Path(
        "vae-traversal.png"
    ),
    dataset: opt.Dataset = None,
    data_dir: opt.DataDir = None,
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Set one factor of a latent point at a time; the factors most used over the test set come first."""
    output = Output("traverse vae", as_json, quiet)
    opt.check_out(out, (".png", ".gif"))
    if from_digit is not None:
        opt.check_label(from_digit, named=data_dir is None)
    found = find("vae", model)

    import torch

    from genmnist import api
    from genmnist.data import quantise
    from genmnist.figures import animation, grid

    vae = api.load_vae(found, device, precision)
    test = api.held_out(vae, dataset, data_dir)
    output.say(f"model: {found.origin}")
    with output.progress("measuring factors", len(test)) as advance:
        for usage in vae.usage(test):
            advance(usage.images)
    base = vae.prior(seed)[0] if from_digit is None else vae.embed(test.first(from_digit, skip=seed)[None])[0]
    values = torch.linspace(-span, span, steps)
    order = usage.order()
    images = (
        quantise(vae.traverse(base, values)[order].flatten(0, 1).unsqueeze(1)).cpu().unflatten(0, (-1, steps))
    )
    active = [bool(flag) for flag in usage.active]
    count = sum(active)
    title = f"{count} of {len(order)} factors active"
    if out.suffix == ".gif":
        picture = grid.tiles(images[:, steps // 2][None])
        frames = [grid.grid(images[:, step]) for step in range(steps)]
        animation.save(frames, out, milliseconds=max(60, 1200 // steps))
    else:
        rows = [
            f"z{factor}  {usage.kl[factor]:.2f} nats{'' if active[factor] else '  unused'}"
            for factor in order
        ]
        faint = [row for row, factor in enumerate(order) if not active[factor]]
        picture = grid.tiles(
            images, rows, [f"{value:+.1f}" if value else "0" for value in values.tolist()], title, faint
        )
        grid.save(picture, out)
    output.say(f"{title}; KL {usage.kl.sum():.2f} nats in all, over {len(test):,} test images")
    factors = [{"factor": f, "kl": round(float(usage.kl[f]), 4), "active": active[f]} for f in order]
    output.note(model=found.origin, seed=seed, from_digit=from_digit, active_units=count, factors=factors)
    output.wrote(out, picture)
    output.finish()
