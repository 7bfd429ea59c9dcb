"""Which models the report is of: runs, one a family, and the bundled ones for the rest. Needs no torch."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmnist.errors import UsageError
from genmnist.evaluation import document
from genmnist.evaluation.document import EvaluationDocument
from genmnist.families import Family
from genmnist.registry import FAMILIES
from genmnist.runs.documents import EpochMetrics, ModelHeader, read_metrics
from genmnist.runs.find import WEIGHTS, find
from genmnist.runs.folder import Run

if TYPE_CHECKING:
    from genmnist.data import Dataset


def families() -> dict[str, Family]:
    """Return the families that the report is of."""
    described = (FAMILIES[name] for name in FAMILIES.names())
    return {family.name: family for family in described if family.story}


@dataclass(frozen=True)
class Source:
    """Where the model of a family comes from: a run, or the package."""

    family: str
    run: Run | None = None

    @property
    def model(self) -> str:
        """Return what `--model` takes."""
        return seen_from_here(str(self.run.folder)) if self.run else "bundled"

    @property
    def metrics(self) -> list[EpochMetrics]:
        """Return the metrics by epoch. Raises GenmnistError if they are damaged."""
        return self.run.metrics if self.run else read_metrics(WEIGHTS / f"{self.family}.jsonl")

    @property
    def by_epoch(self) -> Path:
        """Return the picture of samples by epoch; a run need not have one."""
        return self.run.by_epoch_file if self.run else WEIGHTS / f"{self.family}.png"

    @property
    def training(self) -> str:
        """Return the command that trained it. Raises GenmnistError if the run's configuration is damaged."""
        if self.run:
            return shlex.join(["genmnist", *map(seen_from_here, self.run.config.command[1:])])
        return card_row(self.family, "command").strip("`")

    @property
    def evaluation(self) -> EvaluationDocument | None:
        """Return what `genmnist evaluate` measured, if it did. Raises GenmnistError if it is damaged."""
        path = self.run.evaluation_file if self.run else WEIGHTS / f"{self.family}.json"
        return document.read(path) if path.exists() else None


@dataclass(frozen=True)
class Subject:
    """A model of the report, and what its figures are drawn from."""

    source: Source
    header: ModelHeader  # what its file says of it
    model: Any
    seed: int
    test: Dataset | None = None  # where a figure is measured on real images


def card_row(name: str, row: str) -> str:
    """Return what the card of bundled weights says under a name."""
    card = (WEIGHTS / f"{name}.md").read_text("utf-8")
    return card.partition(f"| {row} | ")[2].partition(" |")[0]


def seen_from_here(word: str) -> str:
    """Return a word of a command; if it is a path, as it is seen from the working directory."""
    option, equals, path = word.rpartition("=")
    if not Path(path).is_absolute():
        return word
    with contextlib.suppress(ValueError):  # on Windows there is no way from one drive to another
        path = os.path.relpath(path)
    return f"{option}{equals}{path}"


def sources(runs: Sequence[str | Path | Run]) -> dict[str, Source]:
    """Return where the model of each family of the report comes from: these runs, else the package.

    A family that is tuned from others, as few is, is there only with a run: it shows what its source does,
    and would add a fifth to the size of the explorer.

    Raises:
        UsageError: two runs are of one family, or one is of a family that the report does not have.
        GenmnistError: a run is damaged.
    """
    known, chosen = families(), dict[str, Run]()
    for folder in runs:
        run = folder if isinstance(folder, Run) else Run.open(folder)
        family = run.config.family
        if family not in known:
            raise UsageError(f"{run.folder} is a run of {family:.40}: the report is of {', '.join(known)}")
        if family in chosen:
            raise UsageError(
                f"the report takes one run of each family, and {run.folder} is a second {family}"
            )
        find(family, run)  # says what is wrong before anything starts
        chosen[family] = run
    return {
        family: Source(family, chosen.get(family))
        for family, described in known.items()
        if family in chosen or (not described.sources and (WEIGHTS / f"{family}.safetensors").is_file())
    }
