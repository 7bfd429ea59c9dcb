"""Run folders, and which model a request means. Needs no torch: the command line asks before it starts."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmnist.errors import GenmnistError, UsageError
from genmnist.files import cannot_write, write_text
from genmnist.presets import FAMILIES

ROOT = Path("runs")
_SHOWN = ("epoch", "train_loss", "val_loss", "seconds")  # what figures need of each line of metrics
BY_EPOCH, EVALUATION = "samples-by-epoch.png", "evaluation.json"
WEIGHTS = Path(__file__).parent / "weights"
KINDS = (*FAMILIES, "classifier-noisy")


def kind(family: str, options: dict[str, Any]) -> str:
    """Return the kind of a model, by which its runs and its bundled weights are kept: mostly its family."""
    return f"{family}-noisy" if options.get("noisy") else family


class Run:
    """A run folder.

    `config.json` says all that is needed to repeat the run; `metrics.jsonl` has a line an epoch;
    `model.safetensors` the weights worth keeping; `state.safetensors` all that resuming needs;
    `summary.json` is there once the run has finished.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config_file = self.folder / "config.json"
        self.metrics_file = self.folder / "metrics.jsonl"
        self.model_file = self.folder / "model.safetensors"
        self.state_file = self.folder / "state.safetensors"
        self.summary_file = self.folder / "summary.json"
        self.samples = self.folder / "samples"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @classmethod
    def create(cls, config: dict[str, Any], folder: str | Path | None = None) -> Run:
        """Make the folder of a new run, `runs/<kind>/<time>` unless `folder` names another.

        Raises:
            UsageError: `folder` holds a run already, or something else.
            GenmnistError: it cannot be written.
        """
        if folder is None:
            now = datetime.datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
            base = ROOT / kind(config["family"], config["options"]) / now
            others = (base.with_name(f"{now}-{number}") for number in itertools.count(2))
            folders = itertools.chain([base], others)
        else:
            check_vacant(Path(folder))
            folders = itertools.chain([Path(folder)])
        for run in map(cls, folders):
            try:
                run.samples.mkdir(parents=True)  # whoever makes it has the folder
                break
            except FileExistsError:
                continue
            except OSError as error:
                raise cannot_write(run.folder, error) from error
        else:
            raise UsageError(f"{folder} was taken by another run just now: name another --out")
        write_json(run.config_file, config)
        return run

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Return the run in a folder. Raises UsageError if there is none."""
        run = cls(folder)
        if not run.config_file.is_file():
            raise UsageError(f"{folder} is not a run folder: it has no config.json")
        return run

    @classmethod
    def unfinished(cls, folder: str | Path) -> Run:
        """Return the run in a folder, to go on with it. Raises UsageError if there is none, or it is done."""
        run = cls.open(folder)
        if run.finished:
            raise UsageError(f"{folder} has finished: there is nothing left to resume")
        return run

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the run to this process. Raises GenmnistError if another is training it."""
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        with self.config_file.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise GenmnistError(
                    f"another process is training {self.folder}: wait for it, or stop it"
                ) from error
            yield

    def picture(self, epoch: int) -> Path:
        """Return where the picture of the samples after an epoch goes."""
        return self.samples / f"epoch_{epoch:03d}.png"

    @property
    def pictures(self) -> list[tuple[int, Path]]:
        """Return the epochs with a picture of samples, in order, and the pictures."""
        named = ((path.stem.removeprefix("epoch_"), path) for path in self.samples.glob("epoch_*.png"))
        return sorted((int(number), path) for number, path in named if number.isdecimal())

    @property
    def finished(self) -> bool:
        """Tell whether the run came to its last step."""
        return self.summary_file.is_file()

    @property
    def config(self) -> dict[str, Any]:
        """Return what `create` was given. Raises GenmnistError if the file is damaged."""
        return self._read_json(self.config_file)

    @property
    def summary(self) -> dict[str, Any]:
        """Return what was written when it finished. Raises GenmnistError if it is not there or damaged."""
        return self._read_json(self.summary_file)

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder, {} if it is not there. Raises GenmnistError if it is damaged."""
        path = self.folder / name
        return self._read_json(path) if path.exists() else {}

    @property
    def metrics(self) -> list[dict[str, float]]:
        """Return the metrics of every epoch so far. Raises GenmnistError if the file is damaged."""
        return read_metrics(self.metrics_file)

    @staticmethod
    def _read_json(path: Path) -> dict[str, Any]:
        try:
            document = json.loads(path.read_text("utf-8"), parse_constant=_refuse)
        except OSError as error:
            raise GenmnistError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
        except (ValueError, RecursionError) as error:
            raise GenmnistError(f"{path} is damaged: it is not JSON") from error
        if not isinstance(document, dict):
            raise GenmnistError(f"{path} is damaged: it does not hold a JSON object")
        return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the metrics of every epoch in a file, none if it is not there.

    Raises:
        GenmnistError: it is damaged.
    """
    if not path.exists():
        return []
    try:
        lines = [json.loads(line, parse_constant=_refuse) for line in path.read_text("utf-8").splitlines()]
        if not all(isinstance(line[name], (int, float)) for line in lines for name in _SHOWN):
            raise ValueError("a number is missing")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise GenmnistError(f"{path} is damaged: resume the run to have it written again") from error
    return lines


def check_vacant(folder: Path) -> None:
    """Raise UsageError unless a run can be put into `folder`: it is absent, or an empty folder."""
    if (folder / "config.json").exists():
        raise UsageError(
            f"{folder} holds a run already: go on with it by --resume {folder}, or name another --out"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder: name another --out")


def latest(kind: str, root: Path | None = None) -> Run | None:
    """Return the latest finished run of a kind of model under `runs/`, if there is one."""
    folder = (root or ROOT) / kind
    finished = [path.parent for path in folder.glob("*/summary.json")] if folder.is_dir() else []
    return (
        Run(max(finished, key=lambda path: (path / "summary.json").stat().st_mtime_ns)) if finished else None
    )


@dataclass(frozen=True)
class Found:
    """A model file and where it came from, in words: a run, a file, or the bundled weights."""

    path: Path
    origin: str


def find(family: str | None = None, model: str | Path | None = None) -> Found:
    """Say which file a request for a model means.

    Args:
        family: the family asked for, or `classifier-noisy`; needed unless `model` is a path.
        model: a `.safetensors` file, a run folder, `latest` or `bundled`; None is the latest finished run
            of the family under `runs/`, else the bundled weights.

    Raises:
        UsageError: there is nothing of that name.
        GenmnistError: there is no such run, or it has saved no model yet.
    """
    if model in (None, "latest", "bundled"):
        if family not in KINDS:
            unknown = f"there is no family {family!r}: " if family else ""
            raise UsageError(
                f"{unknown}name a family ({', '.join(KINDS)}), a .safetensors file or a run folder"
            )
        run = latest(family) if model != "bundled" else None
        if run:
            return Found(run.model_file, f"run {run.folder}")
        if model == "latest":
            raise GenmnistError(
                f"there is no finished run under {ROOT / family}: "
                f"`genmnist train {family.replace('-', ' --')}` makes one"
            )
        return Found(WEIGHTS / f"{family}.safetensors", f"the bundled {family}")
    path = Path(str(model))
    if path.is_dir():
        run = Run.open(path)
        if not run.model_file.exists():
            raise GenmnistError(f"{path} has saved no model yet: go on with it by --resume {path}")
        return Found(run.model_file, f"run {path}" if run.finished else f"run {path}, which has not finished")
    if not path.exists():
        raise UsageError(
            f"there is no {path}: a model is a .safetensors file, a run folder, `latest` or `bundled`"
        )
    return Found(path, f"file {path}")


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON document, whole or not at all. Raises GenmnistError if it cannot be written."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")
