"""How a model is asked for classes: by labels of its own, or by a classifier that guides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli import shell_completion, values
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.runs.find import find

if TYPE_CHECKING:
    from genmnist.cli.weaker import NoWeaker
    from genmnist.models import Classifier, Generator, Guidance, Request


def _label(about: str, default: str) -> Any:
    return typer.Option("--label", metavar="LABELS", help=about, show_default=default)


_IN_TURN = "Which labels, by number or name, in turn: 7, or 3,1,4, or 0-9"
_ENDS = "A label to keep, by number or name, or two to walk between: 3, or 3,8"
_IN_ROWS = "Which labels to make of it, by number or name, a row each: 7, or 3,8, or 0-9"
_BESIDE = "; beside --classifier-guidance."


@dataclass(frozen=True)
class NoLabels:
    """A model that cannot be asked for anything."""

    @property
    def asked(self) -> list[int | str]:
        """Return the labels asked for, by number or name. Raises UsageError if that is no way to ask."""
        return []

    def guide(self, common: opt.Common, output: Output) -> Guidance | None:
        """Return what guides the model from without. Raises UsageError, GenmnistError if it cannot."""
        return None


@dataclass(frozen=True)
class OwnLabels(NoLabels):
    """A model with labels."""

    labels: Annotated[str | None, _label(f"{_IN_TURN}.", "all")] = None

    @property
    def asked(self) -> list[int | str]:
        """Return the labels asked for, by number or name. Raises UsageError if that is no way to ask."""
        return values.labels(self.labels, "labels") if self.labels is not None else []


@dataclass(frozen=True)
class ClassifierLabels(NoLabels):
    """A model without labels, and a classifier that can guide it."""

    labels: Annotated[str | None, _label(f"{_IN_TURN}{_BESIDE}", "all")] = None
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
        typer.Option(
            metavar="MODEL",
            help="Which one: a file or a run of `train classifier --noisy`, `latest` or `bundled`.",
            show_default="the latest finished run, else bundled",
            autocompletion=shell_completion.models,
        ),
    ] = None

    @property
    def asked(self) -> list[int | str]:
        """Return the labels asked for, by number or name. Raises UsageError if that is no way to ask."""
        if self.classifier_guidance:
            return OwnLabels(self.labels).asked
        for option, value in (("labels", self.labels), ("classifier", self.classifier)):
            if value is not None:
                raise UsageError(
                    f"`{option}` needs `classifier_guidance` beside it: this model has no labels of its "
                    "own, as a cfg has"
                )
        return []

    def guide(self, common: opt.Common, output: Output) -> Guidance | None:
        """Return the classifier as a guide. Raises UsageError, GenmnistError if that cannot be."""
        if not self.classifier_guidance:
            return None
        from genmnist import api
        from genmnist.models import ByClassifier

        found = find("classifier", self.classifier, variant="noisy")
        output.say(f"classifier: {found.origin}")
        output.note(classifier=found.origin, classifier_guidance=self.classifier_guidance)
        # In float32: in less, the gradient of an image depends a little on the images beside it.
        classifier = cast("Classifier", api.load_found(found, "classifier", common.device, "float32"))
        return ByClassifier(classifier, self.classifier_guidance)


@dataclass(frozen=True)
class OwnEnds(OwnLabels):
    """A model with labels, to walk with."""

    labels: Annotated[str | None, _label(f"{_ENDS}.", "those of the digits it walks between")] = None


@dataclass(frozen=True)
class ClassifierEnds(ClassifierLabels):
    """A model without labels and a classifier that can guide it, to walk with."""

    labels: Annotated[str | None, _label(f"{_ENDS}{_BESIDE}", "those of the digits it walks between")] = None


@dataclass(frozen=True)
class OwnWishes(OwnLabels):
    """A model with labels, to change a digit by."""

    labels: Annotated[str | None, _label(f"{_IN_ROWS}.", "any")] = None


@dataclass(frozen=True)
class ClassifierWishes(ClassifierLabels):
    """A model without labels and a classifier that can guide it, to change a digit by."""

    labels: Annotated[str | None, _label(f"{_IN_ROWS}{_BESIDE}", "any")] = None


WAYS: dict[str, type[NoLabels]] = {"none": NoLabels, "classifier": ClassifierLabels, "own": OwnLabels}
ENDS = WAYS | {"classifier": ClassifierEnds, "own": OwnEnds}
WISHES = WAYS | {"classifier": ClassifierWishes, "own": OwnWishes}


def ask(
    model: Generator,
    labels: list[int | str],
    request: NoLabels,
    weaker: NoWeaker,
    how: Any,
    common: opt.Common,
    output: Output,
) -> Request:
    """Return what is asked of a model, with whatever guides it loaded; `labels` are what was `asked`.

    Raises:
        UsageError, GenmnistError: a guide is not there, or is not for this model, or there is no such label.
    """
    guide = request.guide(common, output)
    beyond = weaker.load(model.family, how, common, output)
    return model.request(common.seed, labels=labels, guide=guide, how=how, **beyond)
