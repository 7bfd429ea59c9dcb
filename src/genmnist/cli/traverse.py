"""`genmnist traverse`: what each latent factor does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.runs import find

if TYPE_CHECKING:
    from genmnist.models import VAE

app = typer.Typer(help="Move one latent factor at a time.", no_args_is_help=True)


def _vae(
    common: opt.Common,
    digits: opt.RealDigits,
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
    out: Annotated[Path, typer.Option(help=".png: a row a factor; .gif: all factors in motion.")] = Path(
        "vae-traversal.png"
    ),
) -> None:
    """Set one factor of a latent point at a time; the factors most used over the test set come first."""
    output = Output("traverse vae", common.as_json, common.quiet)
    opt.check_out(out, (".png", ".gif"))
    if from_digit is not None:
        opt.check_label(from_digit, named=digits.data_dir is None)
    found = find("vae", common.model)

    import torch

    from genmnist import api
    from genmnist.figures import animation, grid, latent

    vae = cast("VAE", common.load(found, "vae", output))
    test = api.trained_on(vae, digits.dataset, digits.data_dir).test
    with output.progress("measuring factors", len(test)) as advance:
        for usage in vae.usage(test):
            advance(usage.images)
    seed = common.seed
    base = vae.prior(seed)[0] if from_digit is None else vae.embed(test.first(from_digit, skip=seed)[None])[0]
    values = torch.linspace(-span, span, steps)
    picture, frames = latent.traversal(vae.traverse(base, values), values, usage)
    if out.suffix == ".gif":
        animation.save(frames, out, milliseconds=max(60, 1200 // steps))
    else:
        grid.save(picture, out)
    active, total = int(usage.active.sum()), len(usage.active)
    output.say(
        f"{active} of {total} factors active; KL {usage.kl.sum():.2f} nats in all, "
        f"over {len(test):,} test images"
    )
    factors = [
        {"factor": factor, "kl": round(usage.kl[factor].item(), 4), "active": bool(usage.active[factor])}
        for factor in usage.order()
    ]
    output.note(from_digit=from_digit, active_units=active, factors=factors)
    output.wrote(out, picture)
    output.finish()


app.command("vae")(opt.with_options(_vae, {"common": opt.Common, "digits": opt.RealDigits}))
