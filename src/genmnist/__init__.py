"""genmnist: train, sample, explore and measure generative models of handwritten digits.

>>> import genmnist
>>> model = genmnist.load("vae", device="cpu")
>>> model.sample(64, seed=0).shape
torch.Size([64, 28, 28])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genmnist.errors import GenmnistError, InterruptedRunError, UsageError
from genmnist.version import __version__

if TYPE_CHECKING:
    from genmnist.api import (
        average,
        compare,
        evaluate,
        export,
        info,
        load,
        report,
        resume,
        sample,
        score,
        train,
    )
    from genmnist.registry import plugin
    from genmnist.runs.find import find
    from genmnist.runs.folder import Run

__all__ = [
    "GenmnistError",
    "InterruptedRunError",
    "Run",
    "UsageError",
    "__version__",
    "average",
    "compare",
    "evaluate",
    "export",
    "find",
    "info",
    "load",
    "plugin",
    "report",
    "resume",
    "sample",
    "score",
    "train",
]

# What needs no torch, and where it is; all else is in the API, which does.
_QUICK = {"Run": "genmnist.runs.folder", "find": "genmnist.runs.find", "plugin": "genmnist.registry"}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for, so that `genmnist --help` answers at once."""
    if name not in __all__:
        raise AttributeError(f"module 'genmnist' has no attribute {name!r}")
    return getattr(import_module(_QUICK.get(name, "genmnist.api")), name)


def __dir__() -> list[str]:
    return __all__
