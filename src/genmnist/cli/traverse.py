"""`genmnist traverse`: what each latent factor does."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.figures.style import SUFFIXES
from genmnist.runs.find import find_data

VIEWS = ("factors", "plane", "codes")


def command(family: Family) -> Callable[..., None]:
    """Return `traverse` for a family."""

    def traverse(
        *,
        from_digit: Annotated[
            str | None,
            typer.Option(
                metavar="LABEL",
                help="Start from a real test digit of this label, by number or name.",
                show_default="any",
            ),
        ] = None,
        from_prior: Annotated[
            bool, typer.Option("--from-prior", help="Start from a point of the prior instead of a digit.")
        ] = False,
        view: Annotated[
            str | None,
            opt.choice(
                "view",
                VIEWS,
                "factors, a row each; plane, all over that of the two most used; or codes, where images lie.",
                "factors; plane of a model with two",
            ),
        ] = None,
        steps: Annotated[
            int | None,
            typer.Option(help="Values of each factor.", show_default="5; 15 of a plane", min=2, max=64),
        ] = None,
        span: Annotated[
            float,
            typer.Option(help="Set each factor from minus this to plus this.", min=0.01, max=100),
        ] = 2.0,
        out: Annotated[
            Path, typer.Option(help=".png, .pdf, .svg: a row a factor; .gif: all factors in motion.")
        ] = Path(f"{family.name}-traversal.png"),
        look: opt.MovingLook,
        common: opt.Common,
        output: Output,
        data: opt.Data,
    ) -> None:
        if from_digit is not None and from_prior:
            raise UsageError("`from_digit` and `from_prior` are two places to start from: give one of them")
        start = values.label(from_digit, "from_digit") if from_digit is not None else None
        values.check_out(out, (*SUFFIXES, ".gif") if view in (None, "factors") else SUFFIXES)
        given = data.given()
        model = common.load(family.name, output)

        from genmnist import drawing

        test = find_data(model.trained, **given).test
        with output.progress("measuring factors", len(test)) as advance:
            drawn = drawing.traversal(
                model, test, common.seed, view=view, steps=steps, span=span, from_digit=start,
                from_prior=from_prior, watch=advance,
            )  # fmt: skip
        facts = drawn.facts
        output.say(
            f"{facts['active_units']} of {len(facts['factors'])} factors active; KL {facts['kl']:.2f} nats "
            f"in all, over {len(test):,} test images"
        )
        common.write(drawn, out, model, look, output)

    examples = (
        f"traverse {family.name} --from-digit 7",
        f"traverse {family.name} --steps 9 --span 3 --out factors.gif",
    )
    return opt.with_options(traverse, panel="What to traverse", examples=examples)
