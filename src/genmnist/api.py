"""What `import genmnist` gives: load a model, train one, draw, measure, report, and know more by plugins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

from torch import Tensor, nn

from genmnist.device import choose_device
from genmnist.models import VAE, Classifier, ConditionalDiffusion, Diffusion, Model
from genmnist.registry import plugin
from genmnist.runs import checkpoint
from genmnist.runs.documents import ModelHeader, StateHeader
from genmnist.runs.find import Found, find, find_data
from genmnist.runs.folder import Run
from genmnist.training.session import resume, train
from genmnist.version import versions

__all__ = [
    "find", "find_data", "info", "load", "load_found", "plugin", "report", "resume", "train", "versions",
]  # fmt: skip

Which = str | Path | Run | None


@overload
def load(
    family: Literal["vae"],
    model: Which = ...,
    device: str = ...,
    precision: str = ...,
    network: nn.Module | None = ...,
) -> VAE: ...
@overload
def load(
    family: Literal["ddpm"],
    model: Which = ...,
    device: str = ...,
    precision: str = ...,
    network: nn.Module | None = ...,
) -> Diffusion: ...
@overload
def load(
    family: Literal["cfg"],
    model: Which = ...,
    device: str = ...,
    precision: str = ...,
    network: nn.Module | None = ...,
) -> ConditionalDiffusion: ...
@overload
def load(
    family: Literal["classifier"], model: Which = ..., device: str = ..., precision: str = ...
) -> Classifier: ...
@overload
def load(
    family: str | None = ...,
    model: Which = ...,
    device: str = ...,
    precision: str = ...,
    network: nn.Module | None = ...,
) -> Model: ...
def load(
    family: str | None = None,
    model: Which = None,
    device: str = "auto",
    precision: str = "auto",
    network: nn.Module | None = None,
) -> Model:
    """Load a trained model, ready to sample.

    >>> import genmnist
    >>> genmnist.load("vae", "bundled", device="cpu").sample(2, seed=0).shape
    torch.Size([2, 28, 28])

    Args:
        family: `vae`, `ddpm`, `cfg`, `classifier`, or one that a plugin registers.
        model: which one; see `find`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`.
        network: the network, of a model that was trained with one from Python.

    Raises:
        UsageError, GenmnistError: see `find`, `genmnist.device` and `genmnist.runs.checkpoint`.
    """
    return load_found(find(family, model), family, device, precision, network)


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
    return model.place(place, precision)


def info(path: str | Path) -> tuple[ModelHeader | StateHeader, dict[str, Tensor]]:
    """Return what a checkpoint, or the one in a run folder, says of itself, and its tensors by name.

    Raises:
        UsageError, GenmnistError: see `find` and `genmnist.runs.checkpoint.read`.
    """
    return checkpoint.read(find(None, path).path)


def report(
    runs: Sequence[str | Path | Run] = (), out: str | Path = "report", seed: int = 0, device: str = "auto"
) -> Path:
    """Write the report page, and return its path. Raises as `genmnist.report.build.report` does."""
    from genmnist.report.build import report as build

    index, _ = build(runs, out, seed, device)
    return index
