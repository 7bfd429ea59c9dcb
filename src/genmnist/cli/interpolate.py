"""`genmnist interpolate`: from one digit to another, through latent space, through pixels, or by label."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.cli.request import ENDS, Request, Weaker, ask, of
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.figures.style import SUFFIXES
from genmnist.options import Options, fields
from genmnist.runs.find import find_data


def command(family: Family) -> Callable[..., None]:
    """Return `interpolate` for a family."""
    # Only a family whose way from noise to image is a choice has options here; the rest just decode.
    deterministic = getattr(family.sampling, "deterministic", None)
    sampling: Any = family.sampling if deterministic else Options
    spaces = (*family.spaces, "both", *(("all",) if "label" in family.spaces else ()))
    # What diffusion calls the sampler's steps.
    alias = () if any(field.name == "steps" for field in fields(sampling)) else ("--steps",)

    def interpolate(
        *,
        from_digits: Annotated[
            str | None,
            typer.Option(
                metavar="A,B",
                help="Walk from a real test digit to another, of these labels, by number or name: 6,1.",
            ),
        ] = None,
        request: Request,
        how: dict[str, Any],
        space: Annotated[
            str,
            opt.choice(
                "space",
                spaces,
                "latent, pixel, or both one under the other"
                + (", or label, or all three." if "label" in family.spaces else "."),
            ),
        ] = spaces[-1],
        pairs: Annotated[int, typer.Option(help="Pairs of end points.", min=1, max=100)] = 4,
        points: Annotated[
            int,
            typer.Option("--points", *alias, help="Points on the way, both ends included.", min=2, max=100),
        ] = 11,
        path: Annotated[
            str,
            opt.choice("path", ("lerp", "slerp"), "lerp, the straight line, or slerp, the great circle."),
        ] = family.path,
        from_prior: Annotated[
            bool,
            typer.Option(
                "--from-prior",
                help="Walk between points of the prior"
                + ("." if family.labels == "none" else ", as with --label."),
            ),
        ] = False,
        out: Annotated[
            Path, typer.Option(help=".png, .pdf, .svg: a row a walk; .gif: all walks in motion.")
        ] = Path(f"{family.name}-interpolation.png"),
        weaker: Weaker,
        look: opt.MovingLook,
        common: opt.Common,
        output: Output,
        data: opt.Data,
    ) -> None:
        chosen: Any = deterministic(**how) if deterministic else None
        ends = values.pair(from_digits, "from_digits") if from_digits is not None else None
        labels = request.asked
        if len(labels) > 2:
            raise UsageError("`labels` takes one label here, or two to walk between: 3 or 3,8")
        if from_digits and from_prior:
            raise UsageError("`from_digits` and `from_prior` are two places to start from: give one of them")
        values.check_out(out, (*SUFFIXES, ".gif"))
        given = data.given()
        model = common.load(family.name, output)

        from genmnist import drawing

        asked = ask(model, labels, request, weaker, chosen, common, output)
        real = bool(ends) or not (from_prior or labels)
        test = find_data(model.trained, **given).test if real else None
        rows = {"both": 2, "all": 3}.get(space, 1)
        with output.progress("interpolating", rows + 1) as advance:
            drawn = drawing.interpolation(
                model, asked, test, space=space, pairs=pairs, points=points, path=path, from_digits=ends,
                watch=advance,
            )  # fmt: skip
        common.write(drawn, out, model, look, output)

    return opt.for_family(
        interpolate, family, deterministic or sampling.choose, "Which walks", _examples(family),
        request=of(family, *ENDS), how=sampling,
    )  # fmt: skip


def _examples(family: Family) -> Iterator[str]:
    name = family.name
    yield f"interpolate {name} --from-digits 6,1"
    if family.labels == "own":
        yield f"interpolate {name} --label 3,8 --space label"
    yield f"interpolate {name} --pairs 2 --points 21 --out walk.gif"
