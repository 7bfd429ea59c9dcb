"""`genmnist reverse-trace`: how digits come out of noise."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.asking import ASKING, Nothing
from genmnist.cli.console import Output
from genmnist.presets import SAMPLING
from genmnist.runs import find

if TYPE_CHECKING:
    from genmnist.models import Diffusion

_LOOKED_AT = (999, 899, 499, 199, 99, 49, 19, 0)  # as in the report, of 1000 timesteps
_FRAMES = 60  # of an animation, besides those asked for

app = typer.Typer(help="Watch digits come out of noise.", no_args_is_help=True)


def _command(family: str) -> Callable[..., None]:
    kind = SAMPLING[family]

    def reverse_trace(
        common: opt.Common,
        asked: Nothing,
        how: dict[str, Any],
        num: Annotated[int, typer.Option("--num", "-n", help="How many digits.", min=1, max=100)] = 4,
        timesteps: Annotated[
            str | None,
            typer.Option(
                help="Where to look; the sampler passes through each of them.",
                show_default="999,899,499,199,99,49,19,0 of 1000",
            ),
        ] = None,
        show_x0: Annotated[
            bool,
            typer.Option("--show-x0", help="Show the clean image predicted at each of them, underneath."),
        ] = False,
        out: Annotated[
            Path, typer.Option(help=".png: a row a digit; .gif: the steps of the sampler in motion.")
        ] = Path(f"{family}-reverse-trace.png"),
    ) -> None:
        """Show x_t at some timesteps of the reverse process, from noise to digits (the report's figure 7)."""
        output = Output(f"reverse-trace {family}", common.as_json, common.quiet)
        opt.check_out(out, (".png", ".gif"))
        how = kind.choose(**how).asdict()
        visit, labels = opt.whole_numbers(timesteps, "--timesteps") if timesteps else [], asked.labels
        found = find(family, common.model)

        from genmnist.figures import animation, grid, reverse

        model = cast("Diffusion", asked.steer(common.load(found, family, output), common, output))
        visit = visit or [round(t * (len(model.schedule) - 1) / 999) for t in _LOOKED_AT]
        steps, total = [], len(model.timesteps(model.how.choose(**how), visit))
        stride = -(-total // _FRAMES) if out.suffix == ".gif" else total
        with output.progress("denoising", total) as advance:
            traced = model.trace(visit, num, common.seed, labels, **how)
            for number, step in enumerate(traced, 1):
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
        told = {"labels": labels or [*range(model.classes)]} if model.classes else {}
        output.note(num=num, timesteps=visit, **told, **how)
        output.wrote(out, picture)
        output.finish()

    kinds: dict[str, type] = {"common": opt.Common, "asked": ASKING[family], "how": kind}
    return opt.with_options(reverse_trace, kinds, opt.sampling_default)


for _family in ("ddpm", "cfg"):
    app.command(_family)(_command(_family))
