"""What every family of models offers, so that one loop trains and one command samples them all."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from genmnist import notebook
from genmnist.data import Shape, quantise
from genmnist.device import autocast, choose_precision
from genmnist.distributed import ALONE, Ranks
from genmnist.errors import UsageError
from genmnist.families.family import ModelOptions
from genmnist.models.graphs import Graphs
from genmnist.models.guidance import Guidance
from genmnist.models.paths import PATHS, lerp
from genmnist.models.request import AskedLabels, Request, Watch, as_labels, check_whole, unwatched
from genmnist.nn.unet import Labels
from genmnist.options import Options
from genmnist.registry import FAMILIES, Registry

Images = Float[Tensor, "b c h w"]
Losses = dict[str, Float[Tensor, ""]]
Join = Callable[[Sequence[Tensor]], Tensor]


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
        origin: which model this is, in words, such as `the bundled vae`; empty unless it was loaded.
        trained: what its checkpoint says of its training, a `genmnist.runs.documents.Training`; None before.
    """

    family: ClassVar[str]
    unit: ClassVar[str]  # of its loss
    optional: ClassVar[tuple[str, ...]] = ()  # how names of tensors begin that a model to start from may lack
    validation_images: ClassVar[int | None] = None  # at most so many are enough to validate on; None is all
    options: ModelOptions

    def __init__(self, options: ModelOptions | None = None, network: nn.Module | None = None) -> None:
        super().__init__()
        options = options or FAMILIES[self.family].options()
        if isinstance(network, str):
            raise UsageError(
                f"`network` takes a module; choose a registered one by options={{'network': {network!r:.60}}}"
            )
        if network is not None and not isinstance(network, nn.Module):
            raise UsageError(
                f"`network` must be an nn.Module, an object and not a class, not {network!r:.60}"
            )
        self.options = options if network is None else options.replace({"network": "own"})
        self.network_origin = (
            "" if network is None else f"{type(network).__module__}.{type(network).__qualname__}"
        )
        self.precision = "float32"
        self.origin = ""
        self.trained: Any = None

    def build(self, parts: Registry[Any], name: str, network: nn.Module | None) -> Any:
        """Return the network that was given, or else the part of that name. Raises UsageError."""
        built = network if network is not None else parts[name](self.options)
        if not isinstance(built, nn.Module):
            raise UsageError(
                f"the {parts.kind} {name} must be built as an nn.Module, not {type(built).__name__}"
            )
        return built

    @abstractmethod
    def losses(self, images: Images, labels: Int64[Tensor, " b"], progress: float = 1.0) -> Losses:
        """Return scalar losses, averaged over the batch; `loss` is the one that training minimises.

        Args:
            images: pixels in [0, 1].
            labels: the class of each image.
            progress: the share of training that is done, for terms that change with it.
        """

    def begin(self, images: UInt8[Tensor, "n h w *rgb"]) -> None:
        """Take from the training images, before the first step, what a model needs to know of them."""

    def graphs(self) -> Graphs:
        """Return by name what other runtimes can compute of it; a family that lists `export` has some."""
        return {}

    def settle(self, join: Join) -> None:
        """Learn what must be learned from all of a batch, once `losses` has seen all of its shares.

        Args:
            join: puts the rows of the batch together, in order, from those of the shares that `losses` was
                called with here; other processes' are among them.
        """

    @property
    def needs_whole_batch(self) -> bool:
        """Tell whether the loss of a batch is more than the mean of the losses of its parts."""
        return False

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
    def class_names(self) -> tuple[str, ...]:
        """Return what the labels are called; empty for a label that no image of its data had."""
        names: tuple[str, ...] = getattr(self.options, "class_names", ())
        return names if len(names) == self.classes else tuple(map(str, range(self.classes)))

    @property
    def device(self) -> torch.device:
        """Return the device that holds the weights; the CPU for a model that has none."""
        held = next(itertools.chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if held is None else held.device

    def __repr__(self) -> str:
        """Say in a line which model it is; `print(model.network)`, or another part, shows its layers."""
        return f"<{', '.join(self._facts().values())}>"

    def _repr_html_(self) -> str:
        """Show in a notebook which model it is."""
        return notebook.table([*self._facts().items()])

    def _facts(self) -> dict[str, str]:
        """Return what to say of it."""
        count = sum(weight.numel() for weight in self.parameters())
        return {
            "model": self.origin or f"a {self.family} of no file",
            "kind": FAMILIES[self.family].title,
            "images": " x ".join(map(str, self.shape)),
            "weights": f"{count:,} weights",
            "computes": f"on {self.device} in {self.precision}",
        }

    def place(self, device: torch.device, precision: str = "auto") -> Self:
        """Move the model to `device`, to compute there in `precision`. Raises UsageError if it is unknown."""
        self.precision = choose_precision(precision, device)
        return self.to(device)


class Frame(NamedTuple):
    """A moment in which images come about: what to call it, and how far they are, as bytes."""

    moment: str
    images: UInt8[Tensor, "num h w *rgb"]


class Generator(Model):
    """A model that draws images: as many as are wanted of what a `Request` asks for."""

    def how(self, how: Options | None = None, /, **options: Any) -> Any:
        """Return how to sample: as the options say, or `how` itself if it is a way in which this family can.

        Raises:
            UsageError: an option is unknown or makes no sense, or `how` is of another family.
        """
        sampling = FAMILIES[self.family].sampling
        if sampling is None:
            raise UsageError(f"a {self.family} draws nothing")
        if how is None:
            return sampling.choose(**options)
        if options:
            raise UsageError("`how` and single options are two ways to say one thing: give one of them")
        if not isinstance(how, sampling):
            raise UsageError(f"`how` must be what this model's own `how` returns, not {how!r:.60}")
        return how

    def deterministic(self, **options: Any) -> Any:
        """Return how to sample as a function of given ends, which interpolation asks for.

        Raises:
            UsageError: an option is unknown or makes no sense, or noise would be drawn on the way.
        """
        sampling = type(self.how())
        return getattr(sampling, "deterministic", sampling.choose)(**options)

    def request(
        self,
        seed: int = 0,
        *,
        labels: AskedLabels | None = None,
        guide: Guidance | None = None,
        how: Options | None = None,
        watch: Watch = unwatched,
        **options: Any,
    ) -> Request:
        """Return what to draw, once it is known to make sense.

        Args:
            seed: fixes the images.
            labels: the classes asked for, in turn, of a model that knows labels or is guided; None is all.
            guide: steers towards them; see `genmnist.models.guidance`.
            how: how to sample, as `how` returns it; or say so by name:
            watch: called with the share of a batch, or of an animation, that is done.
            options: those of sampling, such as `steps=32`.

        Raises:
            UsageError: there is no such seed, label or option, or the guide is not for this model.
        """
        if guide is not None:
            if not isinstance(guide, Guidance):
                raise UsageError(f"`guide` must be a Guidance, such as ByClassifier, not {guide!r:.60}")
            if FAMILIES[self.family].labels != "classifier":
                raise UsageError(f"a {self.family} cannot be guided: leave `guide` out")
            guide.check(self.shape)
        names = self.class_names if guide is None else guide.class_names
        return Request(seed, self.how(how, **options), as_labels(labels, names), names, guide, watch)

    def condition(
        self, request: Request, first: int, count: int, images: UInt8[Tensor, "count h w *rgb"] | None = None
    ) -> Int64[Tensor, " count"] | None:
        """Return what the model is told of images `first` … `first + count - 1` of a request, if anything is.

        These are the labels asked for; a family may know more of `images` that are given.
        """
        return request.sequence(first, count, self.device)

    @abstractmethod
    def draw(self, request: Request, first: int, count: int) -> Float[Tensor, "count c h w"]:
        """Draw images `first` … `first + count - 1` of a request, in one batch, as pixels in [0, 1]."""

    def frames(self, request: Request, num: int) -> Iterator[Frame]:
        """Yield frames in which the first `num` images of a request come about; they are the last frame.

        A family that shows nothing of how they come about has one frame.
        """
        yield Frame("", torch.cat([*self.sample_batches(request, num)]))

    def sample(
        self, num: int, seed: int = 0, batch_size: int = 256, ranks: Ranks = ALONE, **asked: Any
    ) -> UInt8[Tensor, "num h w *rgb"]:
        """Draw `num` images; image k depends on `seed` and k alone.

        Args:
            num: how many.
            seed: fixes them all.
            batch_size: how many to draw at a time; changes nothing else, but for rounding.
            ranks: the processes that share the work; each has all the images in the end.
            asked: what else `request` takes: `labels`, `guide`, and `how` or options such as `steps=32`.

        Returns:
            Bytes: [num, height, width] for grey images, [num, height, width, 3] in colour.

        Raises:
            UsageError: a number or a name that makes no sense.
        """
        return torch.cat([*self.sample_batches(self.request(seed, **asked), num, batch_size, ranks)])

    def sample_batches(
        self, request: Request, num: int, batch_size: int = 256, ranks: Ranks = ALONE
    ) -> Iterator[UInt8[Tensor, "b h w *rgb"]]:
        """Draw the first `num` images of a request, a batch at a time, in the memory of one batch.

        Processes that share the work draw a batch each at a time; all of them get every batch, in order.
        """
        check_whole("num", num, 1)
        check_whole("batch_size", batch_size, 1)

        def draw(first: int) -> Tensor:
            with torch.inference_mode():
                return quantise(self.draw(request, first, min(batch_size, num - first))).cpu()

        yield from ranks.each(draw, range(0, num, batch_size))


class Latent(Generator):
    """A generator whose images are a function of points of a latent space."""

    def decode(
        self, points: Tensor, labels: Labels | None = None, request: Request | None = None, /
    ) -> Images:
        """Return the images of points, in [0, 1]; of labels, and as a request has it, where that matters."""
        raise UsageError(f"a {self.family} has no way between images: its models have no decode()")

    @abstractmethod
    def prior(self, seed: int, count: int = 1, first: int = 0) -> Float[Tensor, "count ..."]:
        """Draw points `first` … `first + count - 1` under `seed`: those that samples come from."""

    @abstractmethod
    def embed(
        self, images: UInt8[Tensor, "b h w *rgb"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b ..."]:
        """Return the points that stand for images, whose labels a model with labels may be given."""

    @torch.inference_mode()
    def interpolate(
        self,
        start: Float[Tensor, "b ..."],
        end: Float[Tensor, "b ..."],
        alphas: Float[Tensor, " steps"],
        space: str = "latent",
        path: str | None = None,
        *,
        labels: tuple[Labels, Labels] | None = None,
        request: Request | None = None,
    ) -> Float[Tensor, "b steps c h w"]:
        """Walk from `start` (alpha 0) to `end` (alpha 1), as `torch.lerp` does.

        Args:
            start: the points at alpha = 0, which the reference report calls z1.
            end: the points at alpha = 1, its z0.
            alphas: where on the way to look.
            space: `latent` goes through the latent space; `pixel` fades between the two images; in `label`,
                of models with labels, nothing else moves: every image comes from the start.
            path: `lerp`, the straight line, or `slerp`, the great circle (Shoemake 1985), on which noise
                keeps its variance (Song, Meng & Ermon 2021, section 5.3). None: as suits the family.
            labels: of each start and of each end, in models with labels, or with a guide; mixed on the way.
            request: how to sample, and what guides, where the way from the ends is a function of them.
        """
        start, end, alphas = start.to(self.device), end.to(self.device), alphas.to(self.device)
        if space == "pixel":
            first, second = labels or (None, None)
            return lerp(self.decode(start, first, request), self.decode(end, second, request), alphas)
        way = PATHS[path or FAMILIES[self.family].path]
        between = way(start, start if space == "label" else end, alphas)
        mixed = None
        if labels is not None:
            classes = (request.classes if request else 0) or getattr(self.options, "classes", 0)
            one, other = (F.one_hot(label.to(self.device), classes + 1).float() for label in labels)
            mixed = lerp(one, other, alphas).flatten(0, 1)
        return self.decode(between.flatten(0, 1), mixed, request).view(*between.shape[:2], *self.shape)
