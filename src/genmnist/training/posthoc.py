"""The average of a run's weights, of a length that is chosen when the training is over.

The mathematics is in `genmnist.training.profiles`; `genmnist.training.lengths` judges lengths.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import msgspec
from torch import Tensor, nn

from genmnist import notebook
from genmnist.errors import GenmnistError, UsageError
from genmnist.families.recipe import LONGEST, SHORTEST, Recipe
from genmnist.models import Model
from genmnist.runs import checkpoint
from genmnist.runs.documents import ModelHeader
from genmnist.runs.folder import Run
from genmnist.training import profiles
from genmnist.training.profiles import Profile

_FARTHEST = 0.1  # that a profile may be from the one wanted, of its norm
_MOST = 2 * 2 * 128  # files, twice as many as a recipe can ask for
_OF_A_RUN = ("recipe", "seed", "data_checksum", "start")  # what all of its files say alike
_GRID = 0.005  # of lengths, to say which can be had


class Snapshots:
    """The averages that a run has kept on its way, which need not have ended.

    Args:
        run: a run or its folder.
        network: the network, of a run that was given one from Python.

    Raises:
        UsageError: it is no run, or was not told to keep any.
        GenmnistError: it has kept none yet, or a file there is damaged or not of this run.
    """

    def __init__(self, run: str | Path | Run, network: nn.Module | None = None) -> None:
        self.run = run if isinstance(run, Run) else Run.open(run)
        self.config, self._network = self.run.config, network
        paths = sorted(self.run.averages.glob("*.safetensors"))
        if not paths and not Recipe.of(self.config.recipe).snapshots:
            raise UsageError(
                f"{self.run.folder} has kept no averages to choose from: train with `snapshots`, such as 32"
            )
        if not paths:
            raise GenmnistError(f"{self.run.folder} has kept no average yet: `resume` it")
        if len(paths) > _MOST:
            raise GenmnistError(f"{self.run.averages} has {len(paths):,} files, more than any run keeps")
        headers = {path: self._header(path) for path in paths}
        trained = {path: header.training for path, header in headers.items()}
        profiles = {path: Profile(one.step, one.average or 0.0) for path, one in trained.items()}
        self._paths = sorted(paths, key=profiles.__getitem__)
        self._headers = [headers[path] for path in self._paths]
        self._profiles = [profiles[path] for path in self._paths]
        for one, (before, after) in zip(self._paths[1:], pairwise(self._profiles), strict=True):
            if before == after:
                raise GenmnistError(f"{one} is there by another name, too: remove one of them")

    @property
    def step(self) -> int:
        """Return the last step of which there is a snapshot: averages end there."""
        return self._profiles[-1].step

    @property
    def _count(self) -> int:
        """Return at how many steps averages were kept."""
        return len({profile.step for profile in self._profiles})

    @cached_property
    def lengths(self) -> tuple[float, float]:
        """Return the least and the greatest length that the snapshots can express."""
        count = round((LONGEST - SHORTEST) / _GRID)
        grid = [SHORTEST + (LONGEST - SHORTEST) * number / count for number in range(count + 1)]
        known = [*grid, *(profile.length for profile in self._profiles if profile.step == self.step)]
        able = [length for length in known if self._combined(length)[1] <= _FARTHEST]
        return min(able), max(able)

    def error(self, length: float) -> float:
        """Return how far the profile of an average is from the one of its length, of the norm of that.

        Raises:
            UsageError: it is too far.
        """
        return self._checked(length)[1]

    def average(self, length: float, watch: Callable[[float], None] = lambda share: None) -> Model:
        """Return the model whose weights are the average of a length, in the memory of three models.

        Args:
            length: the standard deviation of the profile as a share of the training, sigma_rel.
            watch: called with the share that is done.

        Raises:
            UsageError: the snapshots cannot express that length.
            GenmnistError: a file is damaged.
        """
        coefficients, _ = self._checked(length)
        sums: dict[str, Tensor] = {}
        for done, (factor, path, header) in enumerate(
            zip(coefficients.tolist(), self._paths, self._headers, strict=True), 1
        ):
            with _dispensable():
                model, there = checkpoint.load(path, self.config.family, self._network)
            if there != header:
                raise GenmnistError(f"{path} has changed while it was read: try again")
            for name, tensor in model.state_dict().items():
                if tensor.is_floating_point():
                    sums[name] = sums.get(name, 0.0) + factor * tensor.double()
                else:
                    sums[name] = tensor  # the last one's, which counts
            watch(done / len(self._paths))
        model.load_state_dict(sums)
        if not all(weight.isfinite().all() for weight in model.state_dict().values()):
            raise GenmnistError(f"the average of {self.run.averages} is not finite: its files are damaged")
        model.trained = msgspec.structs.replace(header.training, average=float(length))
        model.origin = f"run {self.run.folder}, the average of length {length:g}"
        return model.eval()

    def save(self, model: Model, path: Path) -> None:
        """Write an average as a model's file. Raises GenmnistError if that fails."""
        checkpoint.save(path, model, self.config.preset, model.trained, {})

    def _checked(self, length: float) -> tuple[Tensor, float]:
        """Return what adds up to an average, and how nearly. Raises UsageError if nothing does."""
        number = not isinstance(length, bool) and isinstance(length, int | float)
        if not number or not SHORTEST <= length <= LONGEST:
            raise UsageError(f"`length` must be between {SHORTEST:g} and {LONGEST:g}, not {length!r:.60}")
        coefficients, error = self._combined(length)
        if error > _FARTHEST:
            low, high = self.lengths
            raise UsageError(
                f"`length` {length:g} is not within what {self._count} snapshots can express, "
                f"{low:.3g} to {high:.3g}: take another, or train with more `snapshots`"
            )
        return coefficients, error

    def _combined(self, length: float) -> tuple[Tensor, float]:
        return profiles.combine(self._profiles, Profile(self.step, length))

    def _header(self, path: Path) -> ModelHeader:
        """Return what a file says of itself. Raises GenmnistError unless it is a snapshot of this run."""
        with _dispensable():
            header = checkpoint.header(path)
        if not isinstance(header, ModelHeader):
            raise GenmnistError(f"{path} is a training state, not a snapshot: remove it")
        training = header.training
        if training.average is None or not SHORTEST <= training.average <= LONGEST or training.step < 1:
            raise GenmnistError(f"{path} does not say which average it is: remove it")
        alike = header.family == self.config.family and header.options == self.config.options
        if not alike or any(getattr(training, name) != getattr(self.config, name) for name in _OF_A_RUN):
            raise GenmnistError(f"{path} is not a snapshot of this run: remove it")
        return header


@contextlib.contextmanager
def _dispensable() -> Iterator[None]:
    """Say of a file that cannot be read that the average does not depend on it."""
    try:
        yield
    except UsageError:  # a plugin or a network is missing
        raise
    except GenmnistError as error:
        raise GenmnistError(f"{error}; without that file the other snapshots will do") from error


def average(
    run: str | Path | Run, length: float, *, out: str | Path | None = None, network: nn.Module | None = None
) -> Model:
    """Return the model whose weights are the average of a length, on the CPU, and write it if so asked.

    Raises as `Snapshots` and `Snapshots.average` do.
    """
    snapshots = Snapshots(run, network)
    with notebook.bar("averaging") as advance:
        model = snapshots.average(length, advance)
    if out is not None:
        snapshots.save(model, Path(out))
    return model
