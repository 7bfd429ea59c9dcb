"""`genmnist sample`: draw from a model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.cli.request import IN_TURN, Request, Weaker, ask, of
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.figures.style import SUFFIXES

# Images in a picture, as figures.grid has it, which needs torch; and in an animation.
_MOST = dict.fromkeys(SUFFIXES, 10_000) | {".gif": 1_000}


@dataclass(frozen=True)
class Amount:
    """How much to draw."""

    num: Annotated[
        int | None, typer.Option("--num", "-n", help="How many.", show_default="64, or 10 a label", min=1)
    ] = None
    per_class: Annotated[int | None, typer.Option(help="So many of each label instead.", min=1)] = None
    guidance_sweep: Annotated[
        str | None,
        typer.Option(
            metavar="W,…",
            help="Compare strengths of guidance, such as 0,1,4: a row each, from the same noise.",
        ),
    ] = None

    @property
    def sweep(self) -> list[float]:
        """Return the strengths of guidance to compare. Raises UsageError if they are no numbers."""
        return values.numbers(self.guidance_sweep, "guidance_sweep") if self.guidance_sweep else []

    def of(self, labels: Sequence[int | str]) -> int:
        """Return how many to draw of these labels in turn. Raises UsageError if that is said twice."""
        if self.num is not None and self.per_class is not None:
            raise UsageError("`num` and `per_class` are two ways to say one thing: give one of them")
        if self.per_class is not None:
            return self.per_class * max(len(labels), 1)
        if self.num is not None:
            return self.num
        if self.guidance_sweep:
            return len(labels) if len(labels) > 1 else 10
        return 10 * len(labels) if len(labels) > 1 else 64


def command(family: Family) -> Callable[..., None]:
    """Return `sample` for a family."""
    sampling: Any = family.sampling

    def sample(
        *,
        request: Request,
        how: dict[str, Any],
        amount: Amount,
        out: Annotated[
            Path,
            typer.Option(
                help=".png, .pdf, .svg: a grid; .gif: the images as they emerge; .npz: arrays; "
                "a folder: a PNG each."
            ),
        ] = Path(f"{family.name}-samples.png"),
        weaker: Weaker,
        look: opt.MovingLook,
        common: opt.Common,
        output: Output,
        batch_size: opt.BatchSize = family.batch_size,
    ) -> None:
        chosen = sampling.choose(**how)  # says what is wrong before anything starts
        labels, sweep = request.asked, amount.sweep
        if sweep and how["guidance"] is not None:
            raise UsageError(
                "`guidance` and `guidance_sweep` are two ways to say one thing: give one of them"
            )
        ways = {f"w = {w:g}": sampling.choose(**how | {"guidance": w}) for w in sweep}
        values.check_out(out, SUFFIXES if sweep else (*SUFFIXES, ".gif", ".npz", ""))
        _check_fits(amount.of(labels), out)
        model = common.load(family.name, output)

        from genmnist import drawing

        asked = ask(model, labels, request, weaker, chosen, common, output)
        num = amount.of(asked.turns)
        total = num * max(len(sweep), 1)
        _check_fits(total, out)
        ranks = common.ranks(model)
        samples = drawing.Samples(model, asked, num, batch_size, ranks)
        with output.progress("sampling", total) as advance:
            if sweep:
                drawn = samples.sweep(ways, advance)
                if ranks.leads:
                    drawn.save(out, common.about(model), look)
                picture: Any = drawn.picture
            else:
                picture = samples.write(out, common.about(model), advance, look)
        output.note(**samples.facts | ({"guidance": sweep} if sweep else {}))
        output.wrote(out, picture)

    return opt.for_family(
        sample, family, sampling.choose, "What to draw", _examples(family),
        request=of(family, *IN_TURN), how=sampling,
    )  # fmt: skip


def _examples(family: Family) -> Iterator[str]:
    name = family.name
    yield f"sample {name} --num 100 --seed 1"
    if family.labels == "own":
        yield f"sample {name} --label 7 --guidance 3"
        yield f"sample {name} --label 3,1,4 --per-class 5 --out pi.gif"
        yield f"sample {name} --guidance-sweep 0,1,3 --out sweep.png"
    if family.labels == "classifier":
        yield f"sample {name} --label 7 --classifier-guidance 4"
    yield f"sample {name} --num 10000 --out digits.npz"
    yield f"sample {name} --model runs/{name}/short"


def _check_fits(total: int, out: Path) -> None:
    if total > _MOST.get(out.suffix, total):
        raise UsageError(
            f"{total:,} images do not fit into a picture: write them to an .npz file or a folder"
        )
