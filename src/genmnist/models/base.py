"""What every family of models offers, so that one loop trains and one command samples them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from genmnist.device import Precision
from genmnist.errors import UsageError
from genmnist.presets import Knobs

Losses = dict[str, Float[Tensor, ""]]


class Model(nn.Module, ABC):
    """A generative model: what its loss is, and how it is sampled.

    A model is built from its `options` alone, so that a checkpoint can say what it holds.
    """

    family: ClassVar[str]
    options: Knobs
    precision: Precision
    trained: dict[str, Any]  # what its checkpoint says of its training

    @classmethod
    @abstractmethod
    def from_options(cls, options: dict[str, Any]) -> Self:
        """Build an untrained model from the options that a checkpoint recorded.

        Raises:
            UsageError: an option is unknown or out of bounds.
        """

    @abstractmethod
    def losses(
        self, images: Float[Tensor, "b 1 28 28"], labels: Int64[Tensor, " b"], progress: float = 1.0
    ) -> Losses:
        """Return scalar losses, averaged over the batch; `loss` is the one that training minimises.

        Args:
            images: pixels in [0, 1].
            labels: the class of each image.
            progress: the share of training that is done, for terms that change with it.
        """

    @abstractmethod
    def emerge(self, num: int, seed: int = 0, **options: Any) -> Iterator[UInt8[Tensor, "num 28 28"]]:
        """Yield the frames in which the samples of `sample` come about; the last are the samples."""

    @abstractmethod
    def draw(self, seed: int, first: int, count: int, **options: Any) -> Float[Tensor, "count 1 28 28"]:
        """Draw samples `first` … `first + count - 1` under `seed`, in one batch, as pixels in [0, 1]."""

    def computing(self) -> AbstractContextManager[None]:
        """Return the context in which this model's network runs."""
        return self.precision.autocast()

    @property
    def device(self) -> torch.device:
        """Return the device that holds the weights."""
        return next(self.parameters()).device

    def place(self, device: torch.device, precision: str = "auto") -> Self:
        """Move the model to `device`, to compute there in `precision`."""
        self.precision = Precision.choose(precision, device)
        return self.to(device)

    def sample(
        self, num: int, seed: int = 0, batch_size: int = 256, **options: Any
    ) -> UInt8[Tensor, "num 28 28"]:
        """Draw `num` images; image k depends on `seed` and k alone.

        Raises:
            UsageError: a number that makes no sense.
        """
        batches = list(self.sample_batches(num, seed, batch_size, **options))
        return torch.cat(batches)

    def sample_batches(
        self, num: int, seed: int = 0, batch_size: int = 256, **options: Any
    ) -> Iterator[UInt8[Tensor, "b 28 28"]]:
        """Draw what `sample` draws, a batch at a time, in the memory of one batch."""
        from genmnist.data import quantise

        if num < 1 or batch_size < 1:
            raise UsageError(f"--num and --batch-size must be 1 or more, not {num} and {batch_size}")
        for first in range(0, num, batch_size):
            with torch.inference_mode():
                yield quantise(self.draw(seed, first, min(batch_size, num - first), **options)).cpu()
