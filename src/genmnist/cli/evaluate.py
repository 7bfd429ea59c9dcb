"""`genmnist evaluate`: numbers beside the pictures."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.runs.find import Found, find, find_data
from genmnist.runs.folder import EVALUATION

if TYPE_CHECKING:
    from genmnist.evaluation.suite import Evaluation, Watch
    from genmnist.models import Classifier

Quick = Annotated[bool, typer.Option("--quick", help="A tenth of the work: rougher numbers in a minute.")]
Features = Annotated[
    str | None,
    typer.Option(
        help="Measure in the features of a classifier of your own: a run or a file of `train classifier`.",
        show_default="those of the classifier that ships, which knows digits",
    ),
]


def command(family: Family) -> Callable[..., None]:
    """Return `evaluate` for a family."""
    sampling = cast("Any", family.sampling)

    def evaluate(
        common: opt.Common,
        how: dict[str, Any],
        data: opt.Data,
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
        features: Features = None,
        out: Annotated[
            Path | None,
            typer.Option(
                help="The folder for evaluation.json and its figures.",
                show_default=f"the run's, else {family.name}-evaluation",
            ),
        ] = None,
    ) -> None:
        output = Output(f"evaluate {family.name}", common.as_json, common.quiet)
        chosen, given = sampling.choose(**how), data.given()
        found = find(family.name, common.model)
        own = find("classifier", features) if features else None
        folder = out or (found.run.folder if found.run else Path(f"{family.name}-evaluation"))
        if out:
            opt.check_folder(out)
        opt.check_writable(folder)

        from genmnist import api
        from genmnist.models import Generator

        model = cast("Generator", common.load(found, family.name, output))
        splits = find_data(model.trained, **given)
        classifier = _classifier(own, str(model.device))
        with _stages(output) as watch:
            measured = api.evaluate(
                model, splits, classifier, num=num, quick=quick, seed=common.seed, how=chosen, watch=watch
            )
        _show(output, measured, folder, {"model": found.origin})

    groups = {"common": opt.Common, "how": sampling, "data": opt.Data}
    return opt.with_options(evaluate, groups, opt.sampling_default(sampling))


def _samples(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.npz",
            help="`images` uint8 \\[n, height, width], in colour \\[…, 3], and `labels` if there are.",
        ),
    ],
    data: opt.Data,
    features: Features = None,
    out: Annotated[Path, typer.Option(help="The folder for evaluation.json and its figures.")] = Path(
        "samples-evaluation"
    ),
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Measure images from anywhere, against MNIST or other real ones."""
    output = Output("evaluate samples", as_json, quiet)
    opt.check_folder(out)
    if not file.is_file():
        raise UsageError(f"there is no file {file}: name an .npz file with an array `images`")
    own = find("classifier", features) if features else None
    given = dict(data.given())

    from genmnist.data import arrays, load
    from genmnist.device import choose_device, describe_machine
    from genmnist.evaluation import distances, suite
    from genmnist.version import versions

    place = choose_device(device)
    opt.compute_with(threads, place.type)
    images, labels = arrays.read(file)
    classifier = _classifier(own, device)
    bundled = distances.bundled_features
    space = distances.own_features(classifier) if classifier else bundled(place)
    name = given.pop("dataset") or "mnist"
    splits = load(name, **given).validated_on_test()  # whoever drew them may have seen every training image
    with _stages(output) as watch:
        measured = suite.measure_images(images, splits, space, labels, watch)
    facts = {"file": str(file), "num": len(images), "versions": versions(), "machine": describe_machine()}
    _show(output, measured, out, facts | {"data": splits.test.name, "data_checksum": splits.checksum()})


samples = opt.with_options(_samples, {"data": opt.Data})


def _classifier(own: Found | None, device: str) -> "Classifier | None":
    """Return the classifier that was named, in whose features to measure, if one was."""
    if own is None:
        return None
    from genmnist import api

    return cast("Classifier", api.load_found(own, "classifier", device, "float32"))


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


def _show(output: Output, measured: "Evaluation", folder: Path, facts: dict[str, Any]) -> None:
    from PIL import Image

    from genmnist.evaluation import document, tables
    from genmnist.figures import evaluated

    found = measured.document.replace(command=output.document["command"], **facts)
    pictures = evaluated.save(measured, folder)
    document.write(folder / EVALUATION, found)
    output.note(**found.asdict())
    rows = ((line.title, line.value, line.real) for line in tables.lines(found))
    output.table(rows, ("", "measured", "real images"))
    for sentence in tables.caveats(found):
        output.say(sentence)
    with Image.open(pictures[0]) as picture:
        output.wrote(folder, picture)
    output.finish()
