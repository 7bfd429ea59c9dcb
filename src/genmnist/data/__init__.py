"""Data sets of any shape, resident in memory; arrays in and out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genmnist.data.facts import MNIST, DatasetFacts, Shape

if TYPE_CHECKING:
    from genmnist.data.adopt import as_splits
    from genmnist.data.dataset import Dataset, Splits, quantise, scale
    from genmnist.data.downloads import DOWNLOADS
    from genmnist.data.idx import read_idx, write_idx
    from genmnist.data.sources import Described, describe, load

__all__ = [
    "DOWNLOADS",
    "MNIST",
    "Dataset",
    "DatasetFacts",
    "Described",
    "Shape",
    "Splits",
    "as_splits",
    "describe",
    "load",
    "quantise",
    "read_idx",
    "scale",
    "write_idx",
]

_LAZY = {
    "as_splits": "adopt",
    **dict.fromkeys(("Dataset", "Splits", "quantise", "scale"), "dataset"),
    "DOWNLOADS": "downloads",
    **dict.fromkeys(("read_idx", "write_idx"), "idx"),
    **dict.fromkeys(("Described", "describe", "load"), "sources"),
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for: the facts of a set cost nothing."""
    if name not in _LAZY:
        raise AttributeError(f"module 'genmnist.data' has no attribute {name!r}")
    return getattr(import_module(f"genmnist.data.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return __all__
