"""`genmnist reverse-trace`: how digits come out of noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.presets import Sampling, sampling
from genmnist.runs import find

if TYPE_CHECKING:
    from genmnist.models import Diffusion

_FRAMES = 60  # of an animation, besides those asked for

app = typer.Typer(help="Watch digits come out of noise.", no_args_is_help=True)


def _ddpm(
    how: dict[str, Any],
    model: opt.Model = None,
    num: Annotated[int, typer.Option("--num", "-n", help="How many digits.", min=1, max=100)] = 4,
    timesteps: Annotated[
        str, typer.Option(help="Where to look; the sampler passes through each of them.")
    ] = "999,899,499,199,99,49,19,0",
    show_x0: Annotated[
        bool, typer.Option("--show-x0", help="Show the clean image predicted at each of them, underneath.")
    ] = False,
    seed: opt.Seed = 0,
    out: Annotated[
        Path, typer.Option(help=".png: a row a digit; .gif: every step of the sampler in motion.")
    ] = Path("ddpm-reverse-trace.png"),
    device: opt.Device = "auto",
    precision: opt.Precision = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Show x_t at some timesteps of the reverse process, from noise to digits (figure 7 of the report)."""
    output = Output("reverse-trace ddpm", as_json, quiet)
    opt.check_out(out, (".png", ".gif"))
    options = sampling(**how)
    visit = opt.whole_numbers(timesteps, "--timesteps")
    found = find("ddpm", model)

    from genmnist import api
    from genmnist.figures import animation, grid, reverse

    ddpm = cast("Diffusion", api.load_found(found, "ddpm", device, precision))
    output.say(f"model: {found.origin}")
    steps, total = [], len(ddpm.timesteps(options, visit))
    stride = -(-total // _FRAMES) if out.suffix == ".gif" else total
    with output.progress("denoising", total) as advance:
        for number, step in enumerate(ddpm.trace(visit, num, seed, **options.asdict()), 1):
            if step.t in visit or number % stride == 0 or number == total:
                steps.append(step)
            advance(number)
    if out.suffix == ".gif":
        frames = reverse.frames(steps, show_x0)
        animation.save(frames, out, bounce=False)
        picture = frames[-1]
    else:
        picture = reverse.picture([step for t in visit for step in steps if step.t == t], show_x0)
        grid.save(picture, out)
    output.note(model=found.origin, num=num, seed=seed, timesteps=visit, **options.asdict())
    output.wrote(out, picture)
    output.finish()


app.command("ddpm")(opt.with_knobs(_ddpm, {"how": Sampling}, "the sampler's"))
