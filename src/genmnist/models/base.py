"""What every family of models offers, so that one loop trains and one command samples them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from genmnist.device import Precision
from genmnist.errors import UsageError
from genmnist.knobs import Knobs

Losses = dict[str, Float[Tensor, ""]]


class Model(nn.Module, ABC):
    """A model: what it is, where it computes, and what its loss is.

    A model is built from its `options` alone, so that a checkpoint can say what it holds.
    """

    family: ClassVar[str]
    unit: ClassVar[str]  # of its loss
    validation_stride: ClassVar[int] = 1  # of how many test images one is enough to validate on
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

    def computing(self) -> AbstractContextManager[None]:
        """Return the context in which this model's network runs."""
        return self.precision.autocast()

    def compiled_losses(self) -> Callable[..., Losses]:
        """Return `losses` with whatever gains from it run through torch.compile."""
        return torch.compile(self.losses)

    @property
    def device(self) -> torch.device:
        """Return the device that holds the weights."""
        return next(self.parameters()).device

    def place(self, device: torch.device, precision: str = "auto") -> Self:
        """Move the model to `device`, to compute there in `precision`."""
        self.precision = Precision.choose(precision, device)
        return self.to(device)


class Generator(Model):
    """A model that draws images."""

    @property
    def classes(self) -> int:
        """Return how many labels can be asked for, 0 … classes - 1; none, in most families."""
        return 0

    def told(self, labels: Sequence[int], first: int, count: int) -> Int64[Tensor, " count"] | None:
        """Return the labels of samples `first` … `first + count - 1`: those given, in turn; else all in turn.

        Raises:
            UsageError: the model has no such label.
        """
        if labels and not self.classes:
            raise UsageError("this model takes no label: a cfg does, or a ddpm that a classifier guides")
        for label in labels:
            if not 0 <= label < self.classes:
                raise UsageError(
                    f"there is no label {label}: those of this model are 0 to {self.classes - 1}"
                )
        turns = labels or range(self.classes)
        if not turns:
            return None
        return torch.tensor([turns[k % len(turns)] for k in range(first, first + count)], device=self.device)

    @abstractmethod
    def emerge(self, num: int, seed: int = 0, **options: Any) -> Iterator[UInt8[Tensor, "num 28 28"]]:
        """Yield the frames in which the samples of `sample` come about; the last are the samples."""

    @abstractmethod
    def draw(self, seed: int, first: int, count: int, **options: Any) -> Float[Tensor, "count 1 28 28"]:
        """Draw samples `first` … `first + count - 1` under `seed`, in one batch, as pixels in [0, 1]."""

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
                batch = quantise(self.draw(seed, first, min(batch_size, num - first), **options)).cpu()
            yield batch


class Latent(Generator):
    """A generator whose images are a function of points of a latent space."""

    @abstractmethod
    def prior(self, seed: int, count: int = 1, first: int = 0) -> Float[Tensor, "count ..."]:
        """Draw points `first` … `first + count - 1` under `seed`: those that samples come from."""

    @abstractmethod
    def embed(
        self, images: UInt8[Tensor, "b 28 28"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b ..."]:
        """Return the points that stand for images, whose labels a model with labels may be told."""

    @abstractmethod
    def interpolate(
        self,
        start: Float[Tensor, "b ..."],
        end: Float[Tensor, "b ..."],
        alphas: Float[Tensor, " steps"],
        space: str = "latent",
        path: str = "lerp",
        **options: Any,
    ) -> Float[Tensor, "b steps 28 28"]:
        """Walk from `end` (alpha 0) to `start` (alpha 1), as the reference report does.

        Args:
            start: the points z0 at alpha = 1.
            end: the points z1 at alpha = 0.
            alphas: where on the way to look.
            space: `latent` goes through the latent space; `pixel` fades between the two images; models with
                labels know `label` too.
            path: `lerp`, the straight line, or `slerp`, the great circle (Shoemake 1985).
            options: how to sample.
        """
