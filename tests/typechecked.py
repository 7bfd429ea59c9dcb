"""How the tests check annotations: by beartype, an int being as good as a float (PEP 484)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_CONF = BeartypeConf(is_pep484_tower=True)


def typechecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check what a function takes and returns, unless that is `Self`, which a method alone does not know."""
    if any("Self" in str(annotation) for annotation in function.__annotations__.values()):
        return function
    checked: Callable[..., Any] = beartype(conf=_CONF)(function)
    return checked
