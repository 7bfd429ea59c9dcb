"""What commands ask of a model: labels, by its own or by a classifier that guides it, and a weaker guide."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.runs.find import find

if TYPE_CHECKING:
    from genmnist import models
    from genmnist.models import Diffusion, Generator, Guidance

# What labels are to a command, and what its help shows as their default.
IN_TURN = "Which labels, by number or name, in turn: 7, or 3,1,4, or 0-9", "all"
ENDS = (
    "A label to keep, by number or name, or two to walk between: 3, or 3,8",
    "those of the digits it walks between",
)
IN_ROWS = "Which labels to make of it, by number or name, a row each: 7, or 3,8, or 0-9", "any"

_WEAKER = "bundled:guide"


@dataclass(frozen=True)
class Request:
    """How a model is asked for classes, if it can be; `of` makes it the options of a family."""

    family: ClassVar[Family]
    labels: str | None = None
    classifier_guidance: Annotated[
        float,
        typer.Option(
            help="Steer towards the labels by a classifier; 1 is Bayes' rule.",
            min=0,
            max=1000,
        ),
    ] = 0.0
    classifier: Annotated[
        str | None,
        opt.which_model(
            "Which one: a file or a run of `train classifier --noisy`, `latest` or `bundled`.",
            "the latest finished run, else bundled",
        ),
    ] = None

    @property
    def asked(self) -> list[int | str]:
        """Return the labels asked for, by number or name. Raises UsageError if that is no way to ask."""
        if self.family.labels == "classifier" and not self.classifier_guidance:
            for option, value in (("labels", self.labels), ("classifier", self.classifier)):
                if value is not None:
                    raise UsageError(
                        f"`{option}` needs `classifier_guidance` beside it: this model has no labels of its "
                        "own, as a cfg has"
                    )
        return values.labels(self.labels, "labels") if self.labels is not None else []

    def guide(self, common: opt.Common, output: Output) -> Guidance | None:
        """Return the classifier as a guide. Raises UsageError, GenmnistError if that cannot be."""
        if not self.classifier_guidance:
            return None
        from genmnist.models import ByClassifier

        found = find("classifier", self.classifier, variant="noisy")
        # In float32: in less, the gradient of an image depends a little on the images beside it.
        classifier = common.open("classifier", "classifier", found, output, "float32")
        output.note(classifier_guidance=self.classifier_guidance)
        return ByClassifier(classifier, self.classifier_guidance)


def of(family: Family, about: str, default: str) -> type[Request]:
    """Return the options of a family, where labels are what `about` says to the command."""
    beside = "; beside --classifier-guidance." if family.labels == "classifier" else "."
    option = typer.Option("--label", metavar="LABELS", help=about + beside, show_default=default)
    labels = ("labels", Annotated[str | None, option], None)
    return dataclasses.make_dataclass(
        "Request", [labels], bases=(Request,), namespace={"family": family}, frozen=True
    )


@dataclass(frozen=True)
class Weaker:
    """The weaker model that autoguidance goes beyond."""

    weaker: Annotated[
        str | None,
        opt.which_model(
            "The weaker model that --autoguidance goes beyond: smaller, or trained for less long.",
            _WEAKER,
            "--guide",
        ),
    ] = None

    def load(self, family: str, how: Any, common: opt.Common, output: Output) -> dict[str, Diffusion]:
        """Return the weaker model as `Generator.request` takes it, or nothing.

        Raises:
            UsageError, GenmnistError: there is none, or it cannot be loaded.
        """
        if not getattr(how, "autoguidance", 0):
            if self.weaker is not None:
                raise UsageError("`weaker` needs `autoguidance` beside it: how far to go beyond that model")
            return {}
        found = find(family, self.weaker or _WEAKER)
        return {"weaker": common.open("guide", family, found, output, common.precision)}


def ask(
    model: Generator,
    labels: list[int | str],
    request: Request,
    weaker: Weaker,
    how: Any,
    common: opt.Common,
    output: Output,
) -> models.Request:
    """Return what is asked of a model, with whatever guides it loaded; `labels` are what were `asked`.

    Raises:
        UsageError, GenmnistError: a guide is not there, or is not for this model, or there is no such label.
    """
    guide = request.guide(common, output)
    beyond = weaker.load(model.family, how, common, output)
    return model.request(common.seed, labels=labels, guide=guide, how=how, **beyond)
