"""`genmnist score`: how likely each image is, in bits per dimension."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from genmnist.cli import options as opt
from genmnist.cli import shell_completion, values
from genmnist.cli.console import Output
from genmnist.errors import GenmnistError, UsageError
from genmnist.evaluation import scores_document, tables
from genmnist.evaluation.scores_document import ScoredDocument
from genmnist.registry import DATASETS, FAMILIES, UnknownNameError
from genmnist.runs.find import Found, find

if TYPE_CHECKING:
    from torch import Tensor

_OF_A_DATA_SET = 1000  # images, unless another number is asked for
_SHOWN = 10  # images a row


@dataclass(frozen=True)
class _Common(opt.Common):
    """What every command asks for that takes a model and makes pictures; this one's must know values."""

    model: Annotated[
        str,
        opt.which_model(
            "A .safetensors file, a run folder, `latest` or `bundled:NAME`: a ddpm or a cfg with the target "
            "categorical.",
            True,
        ),
    ] = "bundled:likelihood"


class _Images(NamedTuple):
    images: Tensor
    labels: Tensor | None
    names: tuple[str, ...]


@opt.command(
    "What to measure",
    "score digits.npz",
    "score mnist --num 100 --out mnist.csv",
    "score my_images --model runs/ddpm/short --looks 100",
)
def score(
    images: Annotated[
        str,
        typer.Argument(
            metavar="IMAGES",
            help="An .npz file of `images`, a folder of pictures, or a data set, such as mnist: its test "
            "images.",
            autocompletion=shell_completion.among(DATASETS.names),
        ),
    ],
    *,
    num: Annotated[
        int | None,
        typer.Option(
            "--num",
            "-n",
            help="Only the first so many.",
            show_default=f"all of a file or folder, {_OF_A_DATA_SET:,} of a data set",
            min=1,
        ),
    ] = None,
    looks: Annotated[
        int, typer.Option(help="At how many noise levels to look at each image.", min=1, max=10_000)
    ] = 32,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels",
            help="Give a cfg the labels of the .npz file or the data set: how likely an image is, given its "
            "label.",
        ),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            help=".json, .csv, .npz: every image's name, bits and their parts; beside it, as .png, the "
            "likeliest and the least likely images."
        ),
    ] = Path("scores.json"),
    look: opt.Look,
    common: _Common,
    output: Output,
    batch_size: Annotated[
        int,
        typer.Option(
            help="How many to measure at a time; changes nothing else.",
            min=1,
            max=65536,
        ),
    ] = 16,
) -> None:
    """Measure how likely each image is, in bits per dimension: fewer are likelier."""
    values.check_out(out, (".json", ".csv", ".npz"))
    picture = values.check_out(out.with_suffix(".png"), (".png",))
    _check_images(images)
    found = _find(common.model)

    from genmnist import api
    from genmnist.device import describe_machine
    from genmnist.figures import likely
    from genmnist.version import versions

    known = _read(images, num, output)  # says what is wrong with them before a model is loaded
    model = common.load(None, output, found)
    if labels and known.labels is None:
        raise UsageError(f"{images} has no labels for `labels`: leave it out, or add an array `labels`")
    with output.progress("scoring", len(known.images)) as advance:
        terms = api.score(
            model,
            known.images,
            known.labels if labels else None,
            looks=looks,
            seed=common.seed,
            batch_size=batch_size,
            watch=advance,
        )
    mean = terms.bound(model)
    document = ScoredDocument(
        command="score",
        model=found.origin,
        images=images,
        labels=labels,
        looks=looks,
        seed=common.seed,
        bits=mean.bits,
        error=mean.error,
        edges=tuple(terms.edges.tolist()),
        versions=versions(),
        machine=describe_machine(),
        scores=scores_document.entries(terms, known.names),
    )
    scores_document.WRITERS[out.suffix](out, document)
    likeliest, least = document.extremes(_SHOWN)
    bits = [score.bits for score in document.scores]
    figure = likely.extremes(known.images, bits, likeliest, least, "bits per dimension")
    figure.save(picture, common.about(model), look)
    _show(output, document, likeliest, least)
    output.note(picture=str(picture))
    output.wrote(out, figure.image(look))
    output.say(f"wrote {picture}")


def _check_images(images: str) -> None:
    """Raise UsageError unless there is a file, a folder or a data set of that name."""
    if Path(images).exists():
        return
    try:
        DATASETS.check(images)
    except UnknownNameError as error:
        raise UsageError(
            f"there is no {images}: name an .npz file, a folder of pictures, or a data set, such as "
            f"{', '.join(DATASETS.names())}"
        ) from error


def _find(model: str) -> Found:
    """Say which file a model means: of whichever family with a likelihood has one of that name.

    Raises:
        UsageError: there is none.
        GenmnistError: there is no such run, or it has saved no model yet.
    """
    if Path(model).exists() or not (model in ("latest", "bundled") or model.startswith("bundled:")):
        return find(None, model)
    found, failed = [], []
    for name in FAMILIES.names():
        if "likelihood" in FAMILIES[name].measures:
            try:
                found.append(find(name, model))
            except GenmnistError as error:
                failed.append(error)
    if not found:
        raise failed[0]
    return max(found, key=lambda one: one.path.stat().st_mtime_ns) if model == "latest" else found[0]


def _read(images: str, num: int | None, output: Output) -> _Images:
    """Return the images, and what is known of them. Raises as `data.arrays.read` and `data.load` do."""
    from genmnist.data import arrays, load

    if Path(images).exists():
        read = arrays.read(images)
        for sentence in read.assumed:
            output.say(f"{images}: {sentence}")
        output.note(assumed=read.assumed)
        labels = None if read.labels is None else read.labels[:num]
        return _Images(read.images[:num], labels, arrays.names(images, len(read.images))[:num])
    test, count = load(images).test, num or _OF_A_DATA_SET
    found = test.images[:count]
    return _Images(found, test.labels[:count], tuple(map(str, range(len(found)))))


def _show(output: Output, document: ScoredDocument, likeliest: list[int], least: list[int]) -> None:
    """Say what came of it: the mean, and the two extremes."""
    output.note(**msgspec.to_builtins(document))
    count, bits = len(document.scores), tables.with_error(document.bits, document.error, 4)
    output.say(f"{count:,} image{'s' * (count > 1)}: {bits} bits per dimension")
    extremes = {"likeliest": likeliest, "least likely": least}
    firsts = [(name, document.scores[numbers[0]]) for name, numbers in extremes.items() if numbers]
    output.table((name, score.name, f"{score.bits:.4f}") for name, score in firsts)
