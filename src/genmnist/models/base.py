"""What every family of models offers, so that one loop trains and one command samples them all."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from genmnist.data import Shape, quantise
from genmnist.device import autocast, choose_precision
from genmnist.errors import UsageError
from genmnist.families.family import ModelOptions
from genmnist.models.guidance import Guidance
from genmnist.options import Options
from genmnist.registry import FAMILIES

Losses = dict[str, Float[Tensor, ""]]
Watch = Callable[[float], None]  # called with the share that is done


class Model(nn.Module, ABC):
    """A model: what it is, where it computes, and what its loss is.

    A model is built from its `options` alone, so that a checkpoint can say what it holds; or from options and
    a `network` of your own, which whoever loads the checkpoint must give again.

    Args:
        options: what it is; None is the default of its family.
        network: what computes, instead of the network that the options name.

    Attributes:
        network_origin: the class of a network that was given, for the sentence that asks for it again.
        precision: the name of the precision in which the network runs.
        trained: what its checkpoint says of its training, a `genmnist.runs.documents.Training`; None before.
    """

    family: ClassVar[str]
    unit: ClassVar[str]  # of its loss
    validation_images: ClassVar[int | None] = None  # at most so many are enough to validate on; None is all
    options: ModelOptions

    def __init__(self, options: ModelOptions | None = None, network: nn.Module | None = None) -> None:
        super().__init__()
        options = options or FAMILIES[self.family].options()
        self.options = options if network is None else options.replace({"network": "own"})
        self.network_origin = (
            "" if network is None else f"{type(network).__module__}.{type(network).__qualname__}"
        )
        self.precision = "float32"
        self.trained: Any = None

    @abstractmethod
    def losses(
        self, images: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"], progress: float = 1.0
    ) -> Losses:
        """Return scalar losses, averaged over the batch; `loss` is the one that training minimises.

        Args:
            images: pixels in [0, 1].
            labels: the class of each image.
            progress: the share of training that is done, for terms that change with it.
        """

    def computing(self) -> AbstractContextManager[None]:
        """Return the context in which this model's network runs."""
        return autocast(self.device, self.precision)

    def compiled_losses(self) -> Callable[..., Losses]:
        """Return `losses` with whatever gains from it run through torch.compile."""
        return torch.compile(self.losses)

    @property
    def shape(self) -> Shape:
        """Return the form of its images: channels, height, width."""
        return self.options.shape

    @property
    def classes(self) -> int:
        """Return how many labels the model knows, 0 … classes - 1; none, in most families."""
        return getattr(self.options, "classes", 0)

    @property
    def device(self) -> torch.device:
        """Return the device that holds the weights; the CPU for a model that has none."""
        held = next(itertools.chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if held is None else held.device

    def place(self, device: torch.device, precision: str = "auto") -> Self:
        """Move the model to `device`, to compute there in `precision`. Raises UsageError if it is unknown."""
        self.precision = choose_precision(precision, device)
        return self.to(device)


class Generator(Model):
    """A model that draws images.

    Three things say what to draw: `labels`, the classes asked for, in turn; `guide`, an object that steers
    towards them (`genmnist.models.guidance`); and `how`, the typed options of sampling, which
    `how(**options)` builds from names.
    """

    def how(self, **options: Any) -> Options:
        """Return how to sample. Raises UsageError for an unknown option, or one that makes no sense."""
        sampling = FAMILIES[self.family].sampling
        if sampling is None:
            raise UsageError(f"a {self.family} draws nothing")
        return sampling.choose(**options)

    def label_sequence(
        self, labels: Sequence[int] | None, first: int, count: int, guide: Guidance | None = None
    ) -> Int64[Tensor, " count"] | None:
        """Return the labels of samples `first` … `first + count - 1`: those given, in turn; else all in turn.

        Raises:
            UsageError: the model, or its guide, has no such label.
        """
        classes = guide.classes if guide else self.classes
        if labels and not classes:
            raise UsageError("this model takes no `labels`: a cfg does, or a ddpm that a classifier guides")
        for label in labels or ():
            if not 0 <= label < classes:
                raise UsageError(f"there is no label {label}: those of this model are 0 to {classes - 1}")
        turns = labels or range(classes)
        if not turns:
            return None
        asked = [turns[k % len(turns)] for k in range(first, first + count)]
        return torch.tensor(asked, dtype=torch.int64, device=self.device)

    @abstractmethod
    def draw(
        self,
        seed: int,
        first: int,
        count: int,
        how: Any,
        labels: Sequence[int] | None = None,
        guide: Guidance | None = None,
        watch: Watch | None = None,
    ) -> Float[Tensor, "count c h w"]:
        """Draw samples `first` … `first + count - 1` under `seed`, in one batch, as pixels in [0, 1]."""

    def frames(
        self,
        num: int,
        seed: int = 0,
        *,
        labels: Sequence[int] | None = None,
        guide: Guidance | None = None,
        how: Any = None,
        watch: Watch | None = None,
    ) -> Iterator[UInt8[Tensor, "num h w *rgb"]]:
        """Yield the frames of an animation in which the samples of `sample` come about; the last are they.

        A family that shows nothing of how they come about has one frame.
        """
        yield self.sample(num, seed, labels=labels, guide=guide, how=how)

    def sample(
        self,
        num: int,
        seed: int = 0,
        batch_size: int = 256,
        *,
        labels: Sequence[int] | None = None,
        guide: Guidance | None = None,
        how: Any = None,
        **options: Any,
    ) -> UInt8[Tensor, "num h w *rgb"]:
        """Draw `num` images; image k depends on `seed` and k alone.

        Args:
            num: how many.
            seed: fixes them all.
            batch_size: how many to draw at a time; changes nothing else.
            labels: the classes asked for, in turn, of a model that knows labels, or is guided.
            guide: steers towards them; see `genmnist.models.guidance`.
            how: how to sample, as `how` returns it; or say so by name:
            options: those of sampling, such as `steps=32`.

        Returns:
            Bytes: [num, height, width] for grey images, [num, height, width, 3] in colour.

        Raises:
            UsageError: a number or a name that makes no sense.
        """
        if how is not None and options:
            raise UsageError("`how` and single options are two ways to say one thing: give one of them")
        how = how or self.how(**options)
        batches = self.sample_batches(num, seed, batch_size, labels=labels, guide=guide, how=how)
        return torch.cat(list(batches))

    def sample_batches(
        self,
        num: int,
        seed: int = 0,
        batch_size: int = 256,
        *,
        labels: Sequence[int] | None = None,
        guide: Guidance | None = None,
        how: Any = None,
        watch: Watch | None = None,
    ) -> Iterator[UInt8[Tensor, "b h w *rgb"]]:
        """Draw what `sample` draws, a batch at a time, in the memory of one batch.

        `watch` is called with the share of the batch in work that is done.
        """
        if num < 1 or batch_size < 1:
            raise UsageError(f"`num` and `batch_size` must be 1 or more, not {num} and {batch_size}")
        how = how or self.how()
        self.label_sequence(labels, 0, 0, guide)  # says what is wrong with them before anything starts
        for first in range(0, num, batch_size):
            with torch.inference_mode():
                count = min(batch_size, num - first)
                batch = quantise(self.draw(seed, first, count, how, labels, guide, watch)).cpu()
            yield batch


class Latent(Generator):
    """A generator whose images are a function of points of a latent space."""

    @abstractmethod
    def prior(self, seed: int, count: int = 1, first: int = 0) -> Float[Tensor, "count ..."]:
        """Draw points `first` … `first + count - 1` under `seed`: those that samples come from."""

    @abstractmethod
    def embed(
        self, images: UInt8[Tensor, "b h w *rgb"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b ..."]:
        """Return the points that stand for images, whose labels a model with labels may be given."""

    @abstractmethod
    def interpolate(
        self,
        start: Float[Tensor, "b ..."],
        end: Float[Tensor, "b ..."],
        alphas: Float[Tensor, " steps"],
        space: str = "latent",
        path: str = "lerp",
        *,
        labels: Any = None,
        guide: Guidance | None = None,
        how: Any = None,
    ) -> Float[Tensor, "b steps c h w"]:
        """Walk from `end` (alpha 0) to `start` (alpha 1), as the reference report does.

        Args:
            start: the points z0 at alpha = 1.
            end: the points z1 at alpha = 0.
            alphas: where on the way to look.
            space: `latent` goes through the latent space; `pixel` fades between the two images; models with
                labels know `label` too.
            path: `lerp`, the straight line, or `slerp`, the great circle (Shoemake 1985).
            labels: of each start and of each end, in models with labels.
            guide: steers towards them.
            how: how to sample, where the way from the ends is a function of them.
        """
