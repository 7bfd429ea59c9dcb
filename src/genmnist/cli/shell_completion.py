"""What a shell completes besides commands and options: names, models and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from genmnist.registry import FAMILIES
from genmnist.runs.folder import ROOT


def among(choices: Callable[[], Iterable[object]]) -> Callable[[str], list[str]]:
    """Return a completion by choices, which are asked for when they are needed."""

    def complete(incomplete: str) -> list[str]:
        return [str(choice) for choice in choices() if str(choice).startswith(incomplete)]

    return complete


def runs(incomplete: str = "") -> list[str]:
    """Return the run folders that a text may become, the latest first."""
    folders = [path.parent for path in (*ROOT.glob("*/*/config.json"), *Path().glob("*/config.json"))]
    names = sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)
    return [str(name) for name in names if str(name).startswith(incomplete)]


def models(incomplete: str = "") -> list[str]:
    """Return the models that a text may become."""
    files = sorted(str(path) for path in Path().glob("*.safetensors"))
    return [name for name in ("latest", "bundled", *runs(), *files) if name.startswith(incomplete)]


def described(incomplete: str = "") -> list[str]:
    """Return what `info` can describe that a text may become."""
    return [name for name in (*FAMILIES.names(), *models()) if name.startswith(incomplete)]
