"""`genmnist traverse`: what each latent factor does."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.families import Family
from genmnist.runs.find import find, find_data


def command(family: Family) -> Callable[..., None]:
    """Return `traverse` for a family."""

    def traverse(
        common: opt.Common,
        data: opt.Data,
        steps: Annotated[int, typer.Option(help="Values of each factor.", min=2, max=64)] = 5,
        span: Annotated[
            float,
            typer.Option(
                help="Set each factor from minus this to plus this.", min=0.01, max=100, callback=opt.finite
            ),
        ] = 2.0,
        from_digit: Annotated[
            int | None,
            typer.Option(help="Start from a real test digit instead of a point of the prior.", min=0),
        ] = None,
        out: Annotated[Path, typer.Option(help=".png: a row a factor; .gif: all factors in motion.")] = Path(
            f"{family.name}-traversal.png"
        ),
    ) -> None:
        output = Output(f"traverse {family.name}", common.as_json, common.quiet)
        opt.check_out(out, (".png", ".gif"))
        given = data.given()
        found = find(family.name, common.model)

        from genmnist import drawing
        from genmnist.models import VAE

        model = cast("VAE", common.load(found, family.name, output))
        test = find_data(model.trained, **given).test
        with output.progress("measuring factors", len(test)) as advance:
            drawn = drawing.traversal(
                model, test, common.seed, steps=steps, span=span, from_digit=from_digit, watch=advance
            )
        drawn.save(out, common.about(found))
        facts = drawn.facts
        output.say(
            f"{facts['active_units']} of {len(facts['factors'])} factors active; KL {facts['kl']:.2f} nats "
            f"in all, over {len(test):,} test images"
        )
        output.note(**facts)
        output.wrote(out, drawn.picture)
        output.finish()

    return opt.with_options(traverse, {"common": opt.Common, "data": opt.Data})
