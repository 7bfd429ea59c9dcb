"""`genmnist evaluate`: numbers beside the pictures."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import platformdirs
import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.cli.request import Weaker
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
    opt.which_model(
        "Measure in the features of a classifier of your own: a run or a file of `train classifier`.",
        "those of the classifier that ships, which knows digits",
    ),
]


def _folder_option(default: str) -> Any:
    return typer.Option(
        metavar="FOLDER", help="The folder for evaluation.json and its figures.", show_default=default
    )


def command(family: Family) -> Callable[..., None]:
    """Return `evaluate` for a family."""
    sampling: Any = family.sampling

    def evaluate(
        *,
        num: Annotated[
            int | None,
            typer.Option(
                "--num",
                "-n",
                help="How many samples to draw; what else is measured stays.",
                show_default="10000; 1000 with --quick",
                min=6,
                max=60_000,
            ),
        ] = None,
        quick: Quick = False,
        likelihood_steps: Annotated[
            int | None,
            typer.Option(
                help="Steps of the chain in discrete time, of a model with the target categorical.",
                show_default="500",
                min=1,
                max=100_000,
            ),
        ] = None,
        features: Features = None,
        out: Annotated[Path | None, _folder_option("the run's, else one under the user's data")] = None,
        how: dict[str, Any],
        weaker: Weaker,
        look: opt.Look,
        common: opt.Common,
        output: Output,
        data: opt.Data,
    ) -> None:
        chosen, given = sampling.choose(**how), data.given()
        found = find(family.name, common.model)
        own = find("classifier", features) if features else None
        folder = _folder(out, found.run.folder if found.run else None, f"{family.name}-{found.path.stem}")

        model = common.load(family.name, output, found)

        from genmnist import api

        splits = find_data(model.trained, **given)
        classifier = own_classifier(own, str(model.device))
        ranks = common.ranks(model)
        with _stages(output) as watch:
            measured = api.evaluate(
                model,
                splits,
                classifier,
                num=num,
                quick=quick,
                likelihood_steps=likelihood_steps,
                seed=common.seed,
                how=chosen,
                ranks=ranks,
                **weaker.load(family.name, chosen, common, output),
                watch=watch,
            )
        if ranks.leads:
            _show(output, measured, folder, common.about(model), look, {"model": model.origin})

    examples = (
        f"evaluate {family.name} --quick",
        f"evaluate {family.name} --model runs/{family.name}/short",
        f"evaluate {family.name} --model bundled --seed 1 --out measured",
    )
    return opt.for_family(evaluate, family, sampling.choose, "What to measure", examples, how=sampling)


def _folder(out: Path | None, run: Path | None, name: str) -> Path:
    """Return where an evaluation goes: where asked, else into the run, else under the user's data.

    Raises:
        UsageError: it cannot be written there.
    """
    if out is not None:
        return values.check_folder(out)
    folder = run or Path(platformdirs.user_data_dir("genmnist")) / "evaluations" / name
    values.check_writable(folder)
    return folder


@opt.command(
    "What to measure",
    "evaluate samples digits.npz",
    "evaluate samples digits.npz --data-dir my_images --out measured",
)
def samples(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER",
            help="An .npz file of `images`, uint8 [n, height, width], in colour [..., 3], and of `labels` if "
            "there are; or what other code writes, or a folder of pictures: what is assumed is said.",
        ),
    ],
    *,
    features: Features = None,
    out: Annotated[Path | None, _folder_option("one under the user's data")] = None,
    data: opt.FirstData,
    look: opt.Look,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    output: Output,
) -> None:
    """Measure images from anywhere, against MNIST or other real ones."""
    folder = _folder(out, None, f"samples-{file.stem}")
    if not file.exists():
        raise UsageError(f"there is no file {file}: name an .npz file with an array `images`, or a folder")
    own = find("classifier", features) if features else None
    given = data.given()

    from genmnist.data import arrays, load
    from genmnist.device import describe_machine
    from genmnist.evaluation import distances, suite
    from genmnist.version import versions

    place = opt.compute_on(device, threads)
    images, labels, assumed = arrays.read(file)
    for sentence in assumed:
        output.say(f"{file}: {sentence}")
    output.note(assumed=assumed)
    suite.check_enough(len(images))
    classifier = own_classifier(own, device)
    space = distances.own_features(classifier) if classifier else distances.bundled_features(place)
    name = given.pop("dataset") or "mnist"
    splits = load(name, **given).validated_on_test()  # whoever drew them may have seen every training image
    with _stages(output) as watch:
        measured = suite.measure_images(images, splits, space, labels, watch)
    facts = {"file": str(file), "num": len(images), "versions": versions(), "machine": describe_machine()}
    _show(
        output,
        measured,
        folder,
        opt.about(str(file)),
        look,
        facts | {"data": splits.test.name, "data_checksum": splits.checksum()},
    )


def own_classifier(own: Found | None, device: str) -> "Classifier | None":
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


def _show(
    output: Output,
    measured: "Evaluation",
    folder: Path,
    about: dict[str, str],
    look: opt.Look,
    facts: dict[str, Any],
) -> None:
    from PIL import Image

    from genmnist.evaluation import document, tables
    from genmnist.figures import evaluated

    found = measured.document.replace(command=output.document["command"], **facts)
    pictures = evaluated.save(measured, folder, about, look)
    document.write(folder / EVALUATION, found)
    output.note(**found.asdict())
    output.table(*tables.rows(found))
    for sentence in tables.caveats(found):
        output.say(sentence)
    with Image.open(pictures[0], formats=("PNG",)) as picture:
        output.wrote(folder, picture)
