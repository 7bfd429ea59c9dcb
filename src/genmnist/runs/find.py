"""Which model, and which images, a request means. Finding a model needs no torch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genmnist.errors import GenmnistError, UsageError
from genmnist.registry import DATASETS, FAMILIES, UnknownNameError
from genmnist.runs.documents import Training
from genmnist.runs.folder import ROOT, Run

if TYPE_CHECKING:
    from genmnist.data import Splits
    from genmnist.families.family import Family

WEIGHTS = Path(__file__).parents[1] / "weights"
_BUNDLED = "bundled"


@dataclass(frozen=True)
class Found:
    """A model file and where it came from, in words: a run, a file, or the bundled weights."""

    path: Path
    origin: str

    @property
    def run(self) -> Run | None:
        """Return the run that the file belongs to, if it belongs to one."""
        run = Run(self.path.parent)
        return run if self.path == run.model_file and run.config_file.is_file() else None


def bundled(family: str, name: str = "") -> Path:
    """Return the file of bundled weights of a family: the default ones, or those of a name beside them.

    Raises:
        UsageError: there are none.
    """
    path = WEIGHTS / f"{family}{name and f'-{name}'}.safetensors"
    if not path.is_file():
        beside = sorted(file.stem.partition("-")[2] for file in WEIGHTS.glob(f"{family}-*.safetensors"))
        also = f"; there is bundled:{', bundled:'.join(beside)}" if beside else ""
        what = f"bundled {family} called {name!r:.40}" if name else f"bundled {family}"
        raise UsageError(f"there is no {what}: name a run or a file as `model`{also}")
    return path


def latest(family: str, variant: str = "") -> Run | None:
    """Return the latest finished run of a family, or of a variant of it, under `runs/`, if there is one."""
    described = FAMILIES[family]
    # A variant had a folder of its own before.
    folders = [ROOT / family, *([ROOT / f"{family}-{variant}"] if variant else [])]
    summaries = [path for folder in folders for path in folder.glob("*/summary.json")]
    for path in sorted(summaries, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        run = Run(path.parent)
        with contextlib.suppress(GenmnistError):  # a damaged run is nobody's latest
            if not described.variants or described.variant(run.config.options) == variant:
                return run
    return None


def find(family: str | None = None, model: str | Path | Run | None = None, variant: str = "") -> Found:
    """Say which file a request for a model means.

    Args:
        family: the family asked for; needed unless `model` is a path.
        model: a `.safetensors` file, a run or its folder, `latest`, `bundled` or `bundled:NAME`; None is the
            latest finished run under `runs/<family>/`, else the bundled weights.
        variant: of the family, such as `noisy` of classifiers: only such a model will do.

    Raises:
        UsageError: there is nothing of that name.
        GenmnistError: there is no such run, or it has saved no model yet.
    """
    name = str(model.folder if isinstance(model, Run) else model)
    if model is None or name in ("latest", _BUNDLED) or name.startswith(f"{_BUNDLED}:"):
        if family is None:
            raise UsageError(
                f"name a family ({', '.join(FAMILIES.names())}), a .safetensors file or a run folder"
            )
        FAMILIES.check(family)
        run = None if name.startswith(_BUNDLED) else latest(family, variant)
        if run:
            return Found(run.model_file, f"run {run.folder}")
        if name == "latest":
            words = f"{family} {variant}".strip()
            raise GenmnistError(
                f"there is no finished run of {words} under {ROOT / family}: `genmnist train {family}` makes "
                "one"
            )
        chosen = name.partition(":")[2] or variant
        return Found(bundled(family, chosen), f"the bundled {f'{family} {chosen}'.strip()}")
    path = Path(name)
    if path.is_dir():
        run = Run.open(path)
        if not run.model_file.exists():
            raise GenmnistError(f"{path} has saved no model yet: `resume` it")
        return Found(run.model_file, f"run {path}" if run.finished else f"run {path}, which has not finished")
    if not path.exists() and name in FAMILIES:
        raise UsageError(
            f"`model` {name} is a family, not a file: take the command for {name}, or name a .safetensors "
            "file or a run folder"
        )
    if not path.exists():
        raise UsageError(
            f"there is no {path}: a `model` is a .safetensors file, a run folder, latest, bundled or "
            "bundled:NAME"
        )
    if path.suffix == ".onnx":
        raise UsageError(
            f"{path} is a graph for other runtimes, which cannot be turned back into a `model`: name the "
            ".safetensors file or the run that it was exported from"
        )
    return Found(path, f"file {path}")


def find_source(family: Family, start: str | Path | Run) -> Found:
    """Say which file the model is that a training goes on from; a family is its latest run, else bundled.

    Raises:
        UsageError: it is the name of a family that is no beginning for this one; and as `find` does.
    """
    if start in family.sources:
        return find(str(start))
    if not isinstance(start, str) or start not in FAMILIES or Path(start).exists():
        return find(family.name, start)
    if start != family.name:
        raise no_beginning(family, start)
    return find(start)


def no_beginning(family: Family, start: str) -> UsageError:
    """Return what to say of a model, or a family, that a training of this family cannot go on from."""
    known = " or ".join(f"a {name}" for name in (*family.sources, family.name))
    return UsageError(f"a {family.name} cannot go on from {start}: `start` takes {known}")


def find_data(
    trained: Training | None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    colour: bool | None = None,
) -> Splits:
    """Load the data that a request means: those named, else those that a model was trained on.

    Raises:
        UsageError: the model was trained on a folder, or on data from Python, which must be named again.
        GenmnistError: see `genmnist.data.load`.
    """
    from genmnist.data import load

    if dataset is None and data_dir is None and trained is not None:
        if trained.data_dir:
            raise UsageError(
                "the model was trained on a folder of images: name it by `data_dir`, or a `dataset`"
            )
        try:
            DATASETS.check(trained.dataset)
        except UnknownNameError as error:
            source = (
                trained.dataset_source and f" from {trained.dataset_source:.200}, to be given as `plugin`"
            )
            raise UsageError(
                f"the model was trained on data {trained.dataset!r:.60}{source}: name a `dataset` or a "
                "`data_dir`"
            ) from error
        dataset = trained.dataset
    splits = load(dataset or "mnist", data_dir, image_size=image_size, colour=colour)
    # What it was trained on then includes the images that are held out today.
    return splits.validated_on_test() if trained is not None and trained.validation == "test" else splits
