"""`genmnist evaluate`: numbers beside the pictures."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.presets import SAMPLING
from genmnist.runs import EVALUATION, Run, find, write_json

if TYPE_CHECKING:
    from genmnist.evaluation.whole import Watch, Whole
    from genmnist.models import Generator

app = typer.Typer(help="Measure a model, or images from anywhere.", no_args_is_help=True)

_ABOUT = {
    "vae": "Measure a variational autoencoder: its samples, its bounds, its latent factors, its walks.",
    "ddpm": "Measure a diffusion model: its samples, its likelihood, its reverse process, its walks.",
    "cfg": "Measure a diffusion model with labels: its samples and whether they are what was asked for.",
}

Quick = Annotated[bool, typer.Option("--quick", help="A tenth of the work: rougher numbers in a minute.")]


def _command(family: str) -> Callable[..., None]:
    kind = SAMPLING[family]

    def evaluate(
        common: opt.Common,
        how: dict[str, Any],
        digits: opt.RealDigits,
        num: Annotated[
            int | None,
            typer.Option(
                "--num",
                "-n",
                help="How many samples to draw; what else is measured stays.",
                show_default="10000, quick 1000",
                min=6,
                max=60_000,
            ),
        ] = None,
        quick: Quick = False,
        out: Annotated[
            Path | None,
            typer.Option(
                help="The folder for evaluation.json and its figures.",
                show_default=f"the run's, else {family}-evaluation",
            ),
        ] = None,
    ) -> None:
        output = Output(f"evaluate {family}", common.as_json, common.quiet)
        options = kind.choose(**how).asdict()
        found = find(family, common.model)
        run = Run(found.path.parent) if found.path == Run(found.path.parent).model_file else None
        folder = out or (run.folder if run else Path(f"{family}-evaluation"))
        if out:
            opt.check_folder(out)
        opt.check_writable(folder)

        import dataclasses

        from genmnist import api
        from genmnist.evaluation import distances, whole

        model = cast("Generator", common.load(found, family, output))
        data = api.trained_on(model, digits.dataset, digits.data_dir)
        effort = whole.QUICK if quick else whole.FULL
        if num is not None:
            effort = dataclasses.replace(effort, num=num)
        classifier = distances.bundled_classifier(model.device)
        with _stages(output) as watch:
            measured = whole.measure(model, data, classifier, effort, watch, common.seed, **options)
        output.note(data=data.test.name, data_checksum=data.checksum(), given_labels=bool(model.classes))
        _show(output, measured, folder, {"num": effort.num, "quick": quick, **options})

    evaluate.__doc__ = _ABOUT[family]
    kinds: dict[str, type] = {"common": opt.Common, "how": kind, "digits": opt.RealDigits}
    return opt.with_options(evaluate, kinds, opt.sampling_default)


for _family in SAMPLING:
    app.command(_family)(_command(_family))


def _samples(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.npz", help="`images` uint8 [n, 28, 28], and `labels` if asked for."),
    ],
    digits: opt.RealDigits,
    out: Annotated[Path, typer.Option(help="The folder for evaluation.json and its figures.")] = Path(
        "samples-evaluation"
    ),
    device: opt.Device = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Measure images from anywhere, against MNIST or other real ones."""
    output = Output("evaluate samples", as_json, quiet)
    opt.check_folder(out)
    if not file.is_file():
        raise UsageError(f"there is no file {file}: name an .npz file with an array `images`")

    from genmnist.data import arrays, load
    from genmnist.device import choose_device
    from genmnist.evaluation import distances, whole

    images, labels = arrays.read(file)
    classifier = distances.bundled_classifier(choose_device(device))
    data = load(digits.dataset or "mnist", digits.data_dir)
    with _stages(output) as watch:
        measured = whole.measure_images(images, data, classifier, labels, watch)
    output.note(file=str(file), data=data.test.name, data_checksum=data.checksum())
    _show(output, measured, out, {"num": len(images)})


app.command("samples")(opt.with_options(_samples, {"digits": opt.RealDigits}))


@contextlib.contextmanager
def _stages(output: Output) -> "Iterator[Watch]":
    """Show a bar for each stage, one after another."""
    with contextlib.ExitStack() as stack:
        current, advance = "", None

        def watch(stage: str, share: float) -> None:
            nonlocal current, advance
            if stage != current or advance is None:
                stack.close()
                current, advance = stage, stack.enter_context(output.progress(stage, 100))
            advance(round(100 * share))

        yield watch


def _show(output: Output, measured: "Whole", folder: Path, facts: dict[str, Any]) -> None:
    from PIL import Image

    from genmnist import api
    from genmnist.device import describe_machine
    from genmnist.figures import evaluated

    document = measured.document()
    output.note(**facts, **document, versions=api.versions(), machine=describe_machine())
    pictures = evaluated.save(measured, folder)
    write_json(folder / EVALUATION, output.document)
    output.table(evaluated.rows(document), ("", "measured", "real digits"))
    with Image.open(pictures[0]) as picture:
        output.wrote(folder, picture)
    output.finish()
