"""What `import genmnist` gives: load a model, train one, draw, measure, report, and know more by plugins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from torch import Tensor, nn

from genmnist import notebook
from genmnist.data import as_splits
from genmnist.device import choose_device, describe_machine
from genmnist.distributed import ALONE, Ranks
from genmnist.drawing import Samples
from genmnist.errors import UsageError
from genmnist.exporting import export
from genmnist.models import VAE, Classifier, ConditionalDiffusion, Diffusion, Generator, Model
from genmnist.models.request import check_whole
from genmnist.options import Options
from genmnist.registry import plugin
from genmnist.report.comparison import compare
from genmnist.runs import checkpoint
from genmnist.runs.documents import ModelHeader, StateHeader
from genmnist.runs.find import Found, find, find_data
from genmnist.runs.folder import Run
from genmnist.training.posthoc import average
from genmnist.training.session import resume, train
from genmnist.version import versions

if TYPE_CHECKING:
    from genmnist.evaluation.scores import Terms
    from genmnist.evaluation.suite import Evaluation

__all__ = [
    "average",
    "compare",
    "evaluate",
    "export",
    "find",
    "find_data",
    "info",
    "load",
    "load_found",
    "plugin",
    "report",
    "resume",
    "sample",
    "score",
    "train",
    "versions",
]

Which = str | Path | Run | None


class _Rest(TypedDict, total=False):
    device: str
    precision: str
    network: nn.Module | None


@overload
def load(family: Literal["vae"], model: Which = ..., **rest: Unpack[_Rest]) -> VAE: ...
@overload
def load(family: Literal["ddpm"], model: Which = ..., **rest: Unpack[_Rest]) -> Diffusion: ...
@overload
def load(family: Literal["cfg"], model: Which = ..., **rest: Unpack[_Rest]) -> ConditionalDiffusion: ...
@overload
def load(family: Literal["classifier"], model: Which = ..., **rest: Unpack[_Rest]) -> Classifier: ...
@overload
def load(family: str | None = ..., model: Which = ..., **rest: Unpack[_Rest]) -> Model: ...
def load(
    family: str | None = None,
    model: Which = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    network: nn.Module | None = None,
) -> Model:
    """Load a trained model, ready to sample: the bundled one, unless another is named.

    >>> import genmnist
    >>> model = genmnist.load("vae", device="cpu")
    >>> model.origin
    'the bundled vae'
    >>> model.sample(2, seed=0).shape
    torch.Size([2, 28, 28])

    Args:
        family: `vae`, `ddpm`, `cfg`, `classifier`, or one that a plugin registers.
        model: which one: a `.safetensors` file, a run or its folder, `latest`, `bundled` or
            `bundled:NAME`; None is `bundled`, where the command line looks for your latest run first.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`.
        network: the network, of a model that was trained with one from Python.

    Raises:
        UsageError, GenmnistError: see `find`, `genmnist.device` and `genmnist.runs.checkpoint`.
    """
    which = "bundled" if model is None and family is not None else model
    return load_found(find(family, which), family, device, precision, network)


def load_found(
    found: Found,
    family: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    network: nn.Module | None = None,
) -> Model:
    """Load the model of a file that `find` found. Raises as `load` does."""
    place = choose_device(device)
    model, _ = checkpoint.load(found.path, family, network)
    model.origin = found.origin
    return model.place(place, precision)


def info(path: str | Path) -> tuple[ModelHeader | StateHeader, dict[str, Tensor]]:
    """Return what a checkpoint, or the one in a run folder, says of itself, and its tensors by name.

    Raises:
        UsageError, GenmnistError: see `find` and `genmnist.runs.checkpoint.read`.
    """
    return checkpoint.read(find(None, path).path)


def sample(
    model: Generator | str,
    num: int | None = None,
    seed: int = 0,
    *,
    which: Which = None,
    device: str = "auto",
    batch_size: int = 64,
    **asked: Any,
) -> Samples:
    """Draw images that show themselves in a notebook, as a grid and in motion.

    >>> import genmnist
    >>> sevens = genmnist.sample("cfg", 4, labels=7, guidance=3.0)
    >>> sevens.images.shape
    torch.Size([4, 28, 28])
    >>> sevens.labels
    tensor([7, 7, 7, 7])

    Args:
        model: a model, or the family of one to `load`.
        num: how many; None: 64, or ten of each label.
        seed: fixes them; image k depends on the seed and on k alone.
        which, device: for `load`, of a family: which of its models, and where to compute.
        batch_size: how many to draw at a time.
        asked: what else `Generator.request` takes, such as `labels`, `guidance`, `steps` and `guide`.

    Returns:
        `images` and `labels` are tensors; `grid()` and `animate()` draw them, `write(path)` writes a file.

    Raises:
        UsageError: a number or a name that makes no sense, or a model that draws nothing.
        GenmnistError: as `load` does.
    """
    if isinstance(model, str):
        loaded: Any = load(model, which, device=device)
    elif which is None:
        loaded = model
    else:
        raise UsageError("`which` chooses among the models of a family: `model` is one already")
    if not isinstance(loaded, Generator):
        raise UsageError(f"`model` must be a model that draws, or the name of its family, not {model!r:.60}")
    request = loaded.request(seed, **asked)
    if num is None:
        num = 10 * len(request.turns) if len(request.turns) > 1 else 64
    check_whole("num", num, 1)
    check_whole("batch_size", batch_size, 1)
    drawn = Samples(loaded, request, num, batch_size)
    _ = drawn.images  # what is wrong is said now
    return drawn


def evaluate(
    model: Generator,
    data: Any = None,
    features: Classifier | None = None,
    *,
    num: int | None = None,
    quick: bool = False,
    likelihood_steps: int | None = None,
    seed: int = 0,
    how: Options | None = None,
    weaker: Diffusion | None = None,
    ranks: Ranks = ALONE,
    watch: Callable[[str, float], None] | None = None,
) -> Evaluation:
    """Measure a model: its samples against test images, and whatever else its family can be measured by.

    Args:
        model: which one.
        data: the real images, as `genmnist.train` takes them; None are those that the model was trained on.
        features: a classifier of your own to measure distances by; None is the one that ships.
        num: how many samples to draw; None: 10,000, or 1,000 if it is to be quick.
        quick: do a tenth of the work.
        likelihood_steps: of the chain in discrete time by which a diffusion model with the target categorical
            is measured besides the bound in continuous time; None: 500.
        seed: of the samples.
        how: how to sample, as `model.how` returns it.
        weaker: the model that autoguidance goes beyond, if `how` asks for it.
        ranks: the processes that share the work, as `genmnist.distributed.join` returns them; all must ask
            for the same, and all get the same.
        watch: called with the name of a stage and the share of it that is done; None: a notebook shows a bar.

    Returns:
        What was measured: `document` has the numbers, `genmnist.figures.evaluated` draws them.

    Raises:
        UsageError: the model, the data and the features do not fit one another.
    """
    from genmnist.evaluation import distances, suite

    splits = find_data(model.trained) if data is None else as_splits(data)
    effort = suite.QUICK if quick else suite.FULL
    effort = replace(effort, num=effort.num if num is None else num)
    if likelihood_steps is not None:
        if not getattr(model, "knows_values", False):
            raise UsageError("`likelihood_steps` is for a diffusion model with the target categorical")
        effort = replace(effort, steps=likelihood_steps)
    how = model.how(how)
    space = distances.own_features(features) if features else distances.bundled_features(model.device)
    with notebook.bar("") as advance:
        told = watch or (lambda stage, share: advance(share, stage))
        measured = suite.measure(model, splits, space, effort, told, seed, how, weaker, ranks)
    document = measured.document.replace(
        num=effort.num,
        quick=quick,
        seed=seed,
        options=how.asdict(),
        given_labels=bool(model.classes),
        data=splits.test.name,
        data_checksum=splits.checksum(),
        versions=versions(),
        machine=describe_machine(),
    )
    return replace(measured, document=document)


def score(
    model: Model,
    images: Any,
    labels: Any = None,
    *,
    looks: int = 32,
    seed: int = 0,
    batch_size: int = 16,
    watch: Callable[[int], None] = lambda done: None,
) -> Terms:
    """Measure how likely a model holds each image to be, in bits per dimension: fewer are likelier.

    Args:
        model: a diffusion model with the target categorical, such as `genmnist.load("ddpm",
            "bundled:likelihood")`.
        images: uint8, grey [n, h, w] or colour [n, h, w, 3], of the model's shape; of NumPy or tensors.
        labels: integers [n] for a model with labels; None: they may be any.
        looks: at how many noise levels to look at each image; the estimate has no bias for any number.
        seed: fixes the noise, and which noise levels.
        batch_size: images at a time.
        watch: called with how many images are done.

    Returns:
        The terms of the bound by image: `bits` is their sum, `levels` its profile over noise levels.

    Raises:
        UsageError: the model does not know values, or images, labels or numbers do not fit.
    """
    from genmnist.data.adopt import take_arrays
    from genmnist.evaluation import scores

    if not isinstance(model, Diffusion):
        raise UsageError(scores.NO_LIKELIHOOD)
    taken, own = take_arrays(images, labels, "what is to be scored")
    check_whole("seed", seed, 0)
    for found in scores.terms(model, taken, own, looks, seed=seed, batch_size=batch_size):
        watch(len(found.prior))
    return found


def report(
    runs: Sequence[str | Path | Run] = (), out: str | Path = "report", seed: int = 0, device: str = "auto"
) -> Path:
    """Write the report page, and return its path. Raises as `genmnist.report.build.report` does."""
    from genmnist.report.build import report as build

    index, _ = build(runs, out, seed, device)
    return index
