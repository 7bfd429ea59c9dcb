"""Run folders. Needs no torch: the command line asks before it starts."""

from __future__ import annotations

import contextlib
import datetime
import itertools
from collections.abc import Iterator
from pathlib import Path

from genmnist import notebook
from genmnist.errors import GenmnistError, UsageError
from genmnist.files import TEMPORARY, cannot_write, read_document, write_document
from genmnist.runs.documents import Config, EpochMetrics, Summary, read_metrics

ROOT = Path("runs")
BY_EPOCH, CONFIG, CURVES, EVALUATION = "samples-by-epoch.png", "config.json", "losses.png", "evaluation.json"

_LOCK, _SAMPLES = ".lock", "samples"


class Run:
    """A run folder.

    `config.json` says all that is needed to repeat the run; `metrics.jsonl` has a line an epoch;
    `model.safetensors` the weights worth keeping; `state.safetensors` all that resuming needs, and
    `state-before.safetensors` the same as it was saved before, should the first be damaged;
    `averages/` has snapshots of averages of the weights, if the recipe says so, each a model of its own;
    `summary.json` is there once the run has finished; `diverged.txt` once a loss was not finite.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config_file = self.folder / CONFIG
        self.metrics_file = self.folder / "metrics.jsonl"
        self.model_file = self.folder / "model.safetensors"
        self.state_file = self.folder / "state.safetensors"
        self.former_state_file = self.folder / "state-before.safetensors"
        self.summary_file = self.folder / "summary.json"
        self.evaluation_file = self.folder / EVALUATION
        self.by_epoch_file = self.folder / BY_EPOCH
        self.curves_file = self.folder / CURVES
        self.diverged_file = self.folder / "diverged.txt"
        self.lock_file = self.folder / _LOCK
        self.samples = self.folder / _SAMPLES
        self.averages = self.folder / "averages"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        """Show in a notebook what came of it: its curve, and numbers."""
        config, metrics = self.config, self.metrics
        facts: dict[str, object] = {"family, preset": f"{config.family}, {config.preset}"}
        if metrics:
            last = metrics[-1]
            facts |= {"steps": f"{last.step:,} of {config.steps or last.step:,}"}
            facts |= {
                name.replace("_", " "): f"{value:.5g}"
                for name, value in last.flat().items()
                if name.endswith("loss") or name.startswith("val_")
            }
            facts |= {"seconds": f"{last.seconds:.0f}"}
        if not self.finished:
            facts |= {"state": "it has not finished: genmnist.resume goes on with it"}
        pictures = (path for path in (self.curves_file, self.by_epoch_file) if path.is_file())
        shown = [notebook.picture(path.read_bytes(), width=700) for path in pictures]
        return notebook.titled(f"run {self.folder}", notebook.table([*facts.items()]), *shown)

    @classmethod
    @contextlib.contextmanager
    def created(cls, config: Config, folder: str | Path | None = None) -> Iterator[Run]:
        """Make the folder of a new run, `runs/<family>/<time>` unless `folder` names another; keep it locked.

        Whoever is killed here leaves a folder in which a run can be made.

        Raises:
            UsageError: `folder` holds a run already, or something else.
            GenmnistError: it cannot be written, or another process makes a run there.
        """
        if folder is None:
            now = datetime.datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S")
            base = ROOT / config.family / now
            others = (base.with_name(f"{now}-{number}") for number in itertools.count(2))
            folders = itertools.chain([base], others)
        else:
            check_vacant(Path(folder))
            folders = itertools.chain([Path(folder)])
        for run in map(cls, folders):
            new = not run.folder.exists()
            try:
                run.folder.mkdir(parents=True, exist_ok=folder is not None)
                break
            except FileExistsError:
                continue
            except OSError as error:
                raise cannot_write(run.folder, error) from error
        with run.locked():
            check_vacant(run.folder)  # again: another may have been here first
            try:
                write_document(run.config_file, config)
            except BaseException:  # such as a full disk
                with contextlib.suppress(OSError):
                    run.lock_file.unlink()
                    if new:
                        run.folder.rmdir()
                raise
            run.samples.mkdir(exist_ok=True)
            yield run

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
        from filelock import FileLock, Timeout

        with contextlib.ExitStack() as held:
            try:
                held.enter_context(FileLock(self.lock_file, timeout=0))
            except Timeout as error:
                raise GenmnistError(
                    f"another process is training {self.folder}: wait for it, or stop it"
                ) from error
            except OSError as error:
                raise cannot_write(self.folder, error) from error
            yield

    def picture(self, epoch: int) -> Path:
        """Return where the picture of the samples after an epoch goes."""
        return self.samples / f"epoch_{epoch:03d}.png"

    def snapshot(self, step: int, length: float) -> Path:
        """Return where the average of a length goes as it is after a step."""
        return self.averages / f"{step:08d}-{length:g}.safetensors"

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
    def config(self) -> Config:
        """Return what `create` was given. Raises GenmnistError if the file is damaged."""
        return read_document(self.config_file, Config, "it is not what genmnist writes there")

    @property
    def summary(self) -> Summary:
        """Return what was written when it finished. Raises GenmnistError if it is not there or damaged."""
        return read_document(self.summary_file, Summary, "resume the run to have it written again")

    @property
    def metrics(self) -> list[EpochMetrics]:
        """Return the metrics of every epoch so far. Raises GenmnistError if the file is damaged."""
        return read_metrics(self.metrics_file)


def check_vacant(folder: Path) -> None:
    """Raise UsageError unless a run can be put into `folder`: it is absent, or an empty folder.

    One that was killed as it began has left nothing in it that counts.
    """
    if (folder / CONFIG).exists():
        raise UsageError(f"{folder} holds a run already: `resume` it, or name another `out`")
    if folder.exists() and (not folder.is_dir() or not all(map(_is_left, folder.iterdir()))):
        raise UsageError(f"{folder} is not an empty folder: name another `out`")


def _is_left(path: Path) -> bool:
    """Tell whether this may be all that is left of a run that was killed before it had a configuration."""
    empty = path.name == _SAMPLES and path.is_dir() and not any(path.iterdir())
    return empty or path.name == _LOCK or path.name.startswith(TEMPORARY)
