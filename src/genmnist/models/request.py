"""What is asked of a generator, said once: checked as it is built, and passed down as it is."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor

from genmnist.errors import UsageError
from genmnist.models.guidance import Guidance

AskedLabels = int | str | Sequence[int | str] | npt.NDArray[Any] | Tensor
Watch = Callable[[float], None]
"""Called with the share that is done."""


_NO_LABELS = "this model takes no `labels`: it has none, and nothing guides it"


def unwatched(share: float) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class Request:
    """An endless row of images, of which whoever draws takes some. `Generator.request` builds it.

    Args:
        seed: fixes the images: number k depends on the seed and on k alone.
        how: the typed options of sampling.
        labels: those asked for, in turn; empty asks for all.
        names: what the labels 0, 1, … that there are to ask for are called; empty for one that the model
            never saw.
        guide: steers towards them.
        watch: called with the share of a batch, or of an animation, that is done.
        weaker: the model that autoguidance goes beyond, if it is asked for.

    Raises:
        UsageError: there is no such seed or label.
    """

    seed: int
    how: Any
    labels: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    guide: Guidance | None = None
    watch: Watch = unwatched
    weaker: Any = None

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, 0)
        if self.labels and not self.classes:
            raise UsageError(_NO_LABELS)
        for label in self.labels:
            if not 0 <= label < self.classes:
                raise UsageError(
                    f"there is no label {label}: those of this model are 0 to {self.classes - 1}"
                )

    @property
    def classes(self) -> int:
        """Return how many labels there are, 0 … classes - 1."""
        return len(self.names)

    @property
    def turns(self) -> tuple[int, ...]:
        """Return the labels of the images in turn, those asked for or else all that the model has seen."""
        return self.labels or tuple(label for label, name in enumerate(self.names) if name)

    def sequence(
        self, first: int, count: int, device: torch.device | None = None
    ) -> Int64[Tensor, " count"] | None:
        """Return the labels of images `first` … `first + count - 1`; None where there are none."""
        if not (turns := self.turns):
            return None
        return torch.tensor([turns[k % len(turns)] for k in range(first, first + count)], device=device)


def as_labels(given: AskedLabels | None, names: Sequence[str] = ()) -> tuple[int, ...]:
    """Return labels from one or several, each a whole number or a name.

    Args:
        given: NumPy arrays and tensors will do; None is none.
        names: what the labels 0, 1, … are called.

    Raises:
        UsageError: it is something else, or nothing is called so.
    """
    plain = given.tolist() if isinstance(given, Tensor | np.ndarray) else given
    listed = () if plain is None else plain if isinstance(plain, list | tuple | range) else (plain,)
    try:
        return tuple(_label(label, names) for label in listed)
    except TypeError:
        raise UsageError(
            f"`labels` must be whole numbers, or names of classes, such as 7 or [3, 1, 4], not {given!r:.60}"
        ) from None


def _label(given: Any, names: Sequence[str]) -> int:
    """Return the label of that name or number. Raises TypeError if it is neither."""
    if isinstance(given, str):
        if given in names and given:
            return [*names].index(given)
        if not names:
            raise UsageError(_NO_LABELS)
        called = ", ".join(name for name in names if name)
        raise UsageError(f"there is no label {given!r:.60}: those of this model are {called:.300}")
    if isinstance(given, bool):
        raise TypeError
    return operator.index(given)


def check_whole(name: str, number: object, least: int) -> None:
    """Raise UsageError unless a number is whole, and so large at least."""
    if type(number) is not int or number < least:
        raise UsageError(f"`{name}` must be a whole number of {least} or more, not {number!r:.60}")
