"""The weaker model that autoguidance goes beyond, as commands ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli import shell_completion
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.families.sampling import Sampling
from genmnist.runs.find import find

if TYPE_CHECKING:
    from genmnist.models import Diffusion

_DEFAULT = "bundled:guide"


@dataclass(frozen=True)
class NoWeaker:
    """A family that knows no autoguidance."""

    def load(self, family: str, how: Any, common: opt.Common, output: Output) -> dict[str, Diffusion]:
        """Return the weaker model as `Generator.request` takes it, or nothing.

        Raises:
            UsageError, GenmnistError: there is none, or it cannot be loaded.
        """
        return {}


@dataclass(frozen=True)
class Weaker(NoWeaker):
    """A family that can be guided by a weaker model of its own."""

    weaker: Annotated[
        str | None,
        typer.Option(
            "--guide",
            metavar="MODEL",
            help="The weaker model that --autoguidance goes beyond: smaller, or trained for less long.",
            show_default=_DEFAULT,
            autocompletion=shell_completion.models,
        ),
    ] = None

    def load(self, family: str, how: Any, common: opt.Common, output: Output) -> dict[str, Diffusion]:
        """See `NoWeaker.load`."""
        if not how.autoguidance:
            if self.weaker is not None:
                raise UsageError("`weaker` needs `autoguidance` beside it: how far to go beyond that model")
            return {}
        from genmnist import api

        found = find(family, self.weaker or _DEFAULT)
        output.say(f"guide: {found.origin}")
        output.note(guide=found.origin)
        model = api.load_found(found, family, common.device, common.precision)
        return {"weaker": cast("Diffusion", model)}


def of(family: Family) -> type[NoWeaker]:
    """Return the options of a family."""
    return Weaker if family.sampling is not None and issubclass(family.sampling, Sampling) else NoWeaker
