"""What is asked of a generator, said once: checked as it is built, and passed down as it is."""

from __future__ import annotations

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

AskedLabels = Sequence[int] | npt.NDArray[Any] | Tensor
Watch = Callable[[float], None]
"""Called with the share that is done."""


def unwatched(share: float) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class Request:
    """An endless row of images, of which whoever draws takes some. `Generator.request` builds it.

    Args:
        seed: fixes the images: number k depends on the seed and on k alone.
        how: the typed options of sampling.
        labels: those asked for, in turn; empty asks for all.
        classes: how many labels there are to ask for, 0 … classes - 1.
        guide: steers towards them.
        watch: called with the share of a batch, or of an animation, that is done.

    Raises:
        UsageError: there is no such seed or label.
    """

    seed: int
    how: Any
    labels: tuple[int, ...] = ()
    classes: int = 0
    guide: Guidance | None = None
    watch: Watch = unwatched

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, 0)
        if self.labels and not self.classes:
            raise UsageError("this model takes no `labels`: it has none, and nothing guides it")
        for label in self.labels:
            if not 0 <= label < self.classes:
                raise UsageError(
                    f"there is no label {label}: those of this model are 0 to {self.classes - 1}"
                )

    @property
    def turns(self) -> Sequence[int]:
        """Return the labels that images take in turn, all that there are unless some were asked for."""
        return self.labels or range(self.classes)

    def sequence(self, first: int, count: int) -> Int64[Tensor, " count"] | None:
        """Return the labels of images `first` … `first + count - 1`; None where there are none."""
        turns = self.turns
        return torch.tensor([turns[k % len(turns)] for k in range(first, first + count)]) if turns else None


def as_labels(given: AskedLabels | None) -> tuple[int, ...]:
    """Return labels from whatever holds whole numbers. Raises UsageError if it is something else."""
    plain = given.tolist() if isinstance(given, Tensor | np.ndarray) else () if given is None else given
    if not isinstance(plain, list | tuple | range) or not all(type(label) is int for label in plain):
        raise UsageError(f"`labels` must be a list of whole numbers, such as [7], not {given!r:.60}")
    return tuple(plain)


def check_whole(name: str, number: object, least: int) -> None:
    """Raise UsageError unless a number is whole, and so large at least."""
    if type(number) is not int or number < least:
        raise UsageError(f"`{name}` must be a whole number of {least} or more, not {number!r:.60}")
