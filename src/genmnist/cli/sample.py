"""`genmnist sample`: draw from a model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.asking import ASKING, Nothing
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.presets import SAMPLING
from genmnist.runs import find

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from genmnist.models import Generator

app = typer.Typer(help="Draw new digits from a model.", no_args_is_help=True)

_MOST = {".png": 10_000, ".gif": 1_000}  # digits; of a picture as figures.grid has it, which needs torch
_ABOUT = {
    "vae": "Draw digits from a variational autoencoder.",
    "ddpm": "Draw digits from a diffusion model.",
    "cfg": "Draw the digits you ask for, from a diffusion model with labels.",
}

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Amount:
    """How much to draw."""

    num: Annotated[
        int | None, typer.Option("--num", "-n", help="How many.", show_default="64, or 10 a label", min=1)
    ] = None

    @property
    def sweep(self) -> list[float]:
        """Return the strengths of guidance to compare. Raises UsageError if they are no numbers."""
        return []

    def of(self, labels: list[int]) -> int:
        """Return how many to draw of these labels in turn. Raises UsageError if that is said twice."""
        return self.num or (10 * len(labels) if len(labels) > 1 else 64)


@dataclass(frozen=True)
class LabelledAmount(Amount):
    """How much to draw from a model with labels."""

    per_class: Annotated[int | None, typer.Option(help="So many of each label instead.", min=1)] = None
    guidance_sweep: Annotated[
        str | None,
        typer.Option(help="Compare strengths of guidance, such as 0,1,4: a row each, from the same noise."),
    ] = None

    @property
    def sweep(self) -> list[float]:
        """Return the strengths of guidance to compare. Raises UsageError if they are no numbers."""
        return opt.numbers(self.guidance_sweep, "--guidance-sweep") if self.guidance_sweep else []

    def of(self, labels: list[int]) -> int:
        """Return how many to draw of these labels in turn. Raises UsageError if that is said twice."""
        if self.num is not None and self.per_class is not None:
            raise UsageError("--num and --per-class are two ways to say one thing: give one of them")
        if self.per_class is not None:
            return self.per_class * max(len(labels), 1)
        if self.guidance_sweep and self.num is None:
            return len(labels) if len(labels) > 1 else 10
        return super().of(labels)


def _command(family: str) -> Callable[..., None]:
    kind = SAMPLING[family]

    def sample(
        common: opt.Common,
        asked: Nothing,
        amount: Amount,
        how: dict[str, Any],
        batch_size: opt.BatchSize = 512 if family == "vae" else 64,
        out: Annotated[
            Path,
            typer.Option(
                help=".png: a grid; .gif: the digits as they emerge; .npz: arrays; a folder: a PNG each."
            ),
        ] = Path(f"{family}-samples.png"),
    ) -> None:
        output = Output(f"sample {family}", common.as_json, common.quiet)
        options = kind.choose(**how).asdict()  # says what is wrong before anything starts
        labels, sweep = asked.labels, amount.sweep
        if sweep and how["guidance"] is not None:
            raise UsageError(
                "--guidance and --guidance-sweep are two ways to say one thing: give one of them"
            )
        ways = [kind.choose(**how | {"guidance": strength}).asdict() for strength in sweep]
        opt.check_out(out, (".png",) if sweep else (".png", ".gif", ".npz", ""))
        _check_fits(amount.of(labels), out)
        found = find(family, common.model)

        from genmnist.figures import grid

        model = cast("Generator", asked.steer(common.load(found, family, output), common, output))
        labels = labels or [*range(model.classes)]
        told = {"labels": labels} if labels else {}
        num = amount.of(labels)
        total = num * max(len(sweep), 1)
        _check_fits(total, out)
        draw = _Drawing(model, num, common.seed, batch_size)
        with output.progress("sampling", total) as advance:
            picture: Image.Image | None
            if sweep:
                picture = draw.sweep(ways, [f"w = {strength:g}" for strength in sweep], told, advance)
                grid.save(picture, out)
            else:
                picture = draw.write(out, options | told, advance)
        output.note(num=num, **options | told | ({"guidance": sweep} if sweep else {}))
        output.wrote(out, picture)
        output.finish()

    sample.__doc__ = f"{_ABOUT[family]} Digit k depends on the seed and on k alone."
    amounts = LabelledAmount if family == "cfg" else Amount
    kinds: dict[str, type] = {
        "common": opt.Common, "asked": ASKING[family], "amount": amounts, "how": kind,
    }  # fmt: skip
    return opt.with_options(sample, kinds, opt.sampling_default)


for _family in SAMPLING:
    app.command(_family)(_command(_family))


def _check_fits(total: int, out: Path) -> None:
    if total > _MOST.get(out.suffix, total):
        raise UsageError(
            f"{total:,} digits do not fit into a picture: write them to an .npz file or a folder"
        )


@dataclass
class _Drawing:
    """So many digits of one model, drawn a batch at a time."""

    model: "Generator"
    num: int
    seed: int
    batch_size: int

    def batches(self, options: dict[str, Any], advance: Advance, before: int = 0) -> "Iterator[Tensor]":
        """Draw, and tell `advance` of it as `before` and as many digits as the steps taken come to."""
        done = 0

        def watch(share: float) -> None:
            advance(before + done + int(share * min(self.batch_size, self.num - done)))

        drawn = self.model.sample_batches(self.num, self.seed, self.batch_size, watch=watch, **options)
        for batch in drawn:
            done += len(batch)
            advance(before + done)
            yield batch

    def write(self, out: Path, options: dict[str, Any], advance: Advance) -> "Image.Image | None":
        """Draw into a file or a folder, and return the picture if it is one."""
        from genmnist.figures import animation, export, grid

        labels = options.get("labels", [])
        columns = len(labels) if 1 < len(labels) <= self.num else None
        if out.suffix == ".npz":
            turns = [labels[k % len(labels)] for k in range(self.num)] if labels else None
            export.npz(self.batches(options, advance), self.num, out, turns)
        elif out.suffix == ".png":
            return export.png(self.batches(options, advance), out, columns)
        elif out.suffix == ".gif":

            def watch(share: float) -> None:
                advance(int(share * self.num))

            emerging = self.model.emerge(self.num, self.seed, watch=watch, **options)
            frames = [grid.grid(frame, columns) for frame in emerging]
            animation.save(frames, out)
            return frames[-1]
        else:
            export.folder(self.batches(options, advance), self.num, out)
        return None

    def sweep(
        self, ways: list[dict[str, Any]], names: list[str], told: dict[str, Any], advance: Advance
    ) -> "Image.Image":
        """Draw the same noise in several ways, and return a picture with a row for each."""
        import torch

        from genmnist.figures import grid

        rows = [
            torch.cat([*self.batches(way | told, advance, number * self.num)])
            for number, way in enumerate(ways)
        ]
        return grid.tiles(torch.stack(rows), names)
