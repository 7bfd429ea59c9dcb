"""`genmnist interpolate`: from one digit to another, through latent space, through pixels, or by label."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.asking import ASKING, Nothing
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.knobs import Knobs
from genmnist.presets import SAMPLING, GuidedSampling, Sampling
from genmnist.runs import find

if TYPE_CHECKING:
    from genmnist.models import Latent

app = typer.Typer(help="Walk from one digit to another.", no_args_is_help=True)

_ABOUT = {
    "vae": "Decode the points between two latent points, or fade between the two images they decode to.",
    "ddpm": "Denoise the points between two noises, or fade between the two images; digits are inverted.",
    "cfg": "Denoise the points between noises with labels, or between labels alone; --guidance is 0.",
}
_TOGETHER = {"both": ("latent", "pixel"), "all": ("latent", "label", "pixel")}


def _command(family: str) -> Callable[..., None]:
    kind = SAMPLING[family] if issubclass(SAMPLING[family], Sampling) else Knobs
    spaces = ("latent", "pixel", "both", *(("label", "all") if family == "cfg" else ()))

    def interpolate(
        common: opt.Common,
        asked: Nothing,
        how: dict[str, Any],
        digits: opt.RealDigits,
        space: Annotated[
            str,
            typer.Option(
                help="latent, pixel, or both one under the other"
                + (", or label, or all three." if family == "cfg" else "."),
                callback=opt.one_of(spaces),
            ),
        ] = spaces[-1],
        pairs: Annotated[int, typer.Option(help="Pairs of end points.", min=1, max=100)] = 4,
        points: Annotated[
            int,
            typer.Option(
                "--points",
                *(("--steps",) if family == "vae" else ()),  # what diffusion calls the sampler's
                help="Points on the way, both ends included.",
                min=2,
                max=100,
            ),
        ] = 11,
        path: Annotated[
            str,
            typer.Option(
                help="lerp, the straight line, or slerp, the great circle.",
                callback=opt.one_of(("lerp", "slerp")),
            ),
        ] = "lerp" if family == "vae" else "slerp",
        from_digits: Annotated[
            tuple[int, int] | None,
            typer.Option(help="Walk from a real test digit to another, of these labels: 6 1."),
        ] = None,
        out: Annotated[Path, typer.Option(help=".png: a row a walk; .gif: all walks in motion.")] = Path(
            f"{family}-interpolation.png"
        ),
    ) -> None:
        output = Output(f"interpolate {family}", common.as_json, common.quiet)
        options, labels = _way(kind, how), asked.labels
        if len(labels) > 2:
            raise UsageError("--label takes one label here, or two to walk between: 3 or 3,8")
        opt.check_out(out, (".png", ".gif"))
        for digit in from_digits or ():
            opt.check_label(digit, named=digits.data_dir is None)
        found = find(family, common.model)

        import torch

        from genmnist import api
        from genmnist.figures import animation, grid, latent

        model = cast("Latent", asked.steer(common.load(found, family, output), common, output))
        # Of each pair its first end, then its second.
        told = model.told(labels or from_digits or (), 0, 2 * pairs) if model.classes else None
        walks, through = [], _TOGETHER.get(space, (space,))
        with output.progress("interpolating", len(through) + 1) as advance:
            if from_digits is None:
                z = model.prior(common.seed, 2 * pairs)
            else:
                test = api.trained_on(model, digits.dataset, digits.data_dir).test
                images = [test.first(digit, common.seed + k) for k in range(pairs) for digit in from_digits]
                z = model.embed(torch.stack(images), told)
            if told is not None:
                options["labels"] = told[1::2], told[0::2]
            advance(1)
            alphas = torch.linspace(0, 1, points)
            for place in through:
                walks.append(model.interpolate(z[1::2], z[0::2], alphas, place, path, **options))
                advance(1 + len(walks))
        if told is not None:
            options["labels"] = told.view(-1, 2).tolist()
        picture, frames = latent.interpolation(walks, through, alphas)
        if out.suffix == ".gif":
            animation.save(frames, out)
        else:
            grid.save(picture, out)
        output.note(from_digits=from_digits, space=space, path=path, pairs=pairs, points=points, **options)
        output.wrote(out, picture)
        output.finish()

    interpolate.__doc__ = _ABOUT[family]
    kinds: dict[str, type] = {
        "common": opt.Common,
        "asked": ASKING[family],
        "how": kind,
        "digits": opt.RealDigits,
    }
    return opt.with_options(interpolate, kinds, opt.sampling_default)


def _way(kind: type[Knobs], how: dict[str, Any]) -> dict[str, Any]:
    """Return how to sample. Raises UsageError if the way from the ends would not be a function of them."""
    if issubclass(kind, Sampling) and how["sampler"] is None:
        how = how | {"sampler": "dpm-solver"}
    if issubclass(kind, GuidedSampling) and how["guidance"] is None:
        how = how | {"guidance": 0.0}  # inverted digits come back only as they came
    way = kind.choose(**how)
    if isinstance(way, Sampling):
        if way.random:
            raise UsageError(
                "interpolation needs a sampler that draws no noise on its way: dpm-solver, heun or ddim"
            )
        if way.temperature != 1:
            raise UsageError(
                "--temperature is not for interpolation, whose end points are given: leave it out"
            )
    return way.asdict()


for _family in SAMPLING:
    app.command(_family)(_command(_family))
