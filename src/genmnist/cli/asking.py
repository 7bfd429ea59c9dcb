"""How a model is asked for certain digits: by labels of its own, or by a classifier that steers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.runs import find

if TYPE_CHECKING:
    from genmnist.models import Diffusion, Model

_PANEL = "Label"

Label = Annotated[
    str | None,
    typer.Option(
        help="Which digits, in turn: 7, or 3,1,4, or 0-9.", show_default="all", rich_help_panel=_PANEL
    ),
]


@dataclass(frozen=True)
class Nothing:
    """A model that cannot be asked for anything."""

    @property
    def labels(self) -> list[int]:
        """Return the labels asked for. Raises UsageError if that is no way to ask."""
        return []

    def steer(self, model: Model, common: opt.Common, output: Output) -> Model:
        """Return what draws as it was asked to. Raises UsageError, GenmnistError if that cannot be."""
        return model


@dataclass(frozen=True)
class ByLabel(Nothing):
    """A model with labels."""

    label: Label = None

    @property
    def labels(self) -> list[int]:
        """Return the labels asked for. Raises UsageError if that is no way to ask."""
        return opt.whole_numbers(self.label, "--label") if self.label is not None else []


@dataclass(frozen=True)
class ByClassifier(Nothing):
    """A model without labels, and a classifier that can steer it."""

    label: Label = None
    classifier_guidance: Annotated[
        float,
        typer.Option(
            help="Steer towards the labels by a classifier; 1 is Bayes' rule.",
            min=0,
            max=1000,
            callback=opt.finite,
            rich_help_panel=_PANEL,
        ),
    ] = 0.0
    classifier: Annotated[
        str | None,
        typer.Option(
            help="Which one: a file or a run of `train classifier --noisy`, `latest` or `bundled`.",
            show_default="the latest finished run, else bundled",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @property
    def labels(self) -> list[int]:
        """Return the labels asked for. Raises UsageError if that is no way to ask."""
        if self.classifier_guidance:
            return ByLabel(self.label).labels
        for option, value in (("--label", self.label), ("--classifier", self.classifier)):
            if value is not None:
                raise UsageError(
                    f"{option} needs --classifier-guidance beside it: a ddpm has no labels of its own, "
                    "as a cfg has"
                )
        return []

    def steer(self, model: Model, common: opt.Common, output: Output) -> Model:
        """Return the model, steered by the classifier. Raises UsageError, GenmnistError if that cannot be."""
        if not self.classifier_guidance:
            return model
        from genmnist import api
        from genmnist.models import Classifier, ClassifierGuided

        found = find("classifier-noisy", self.classifier)
        output.say(f"classifier: {found.origin}")
        output.note(classifier=found.origin, classifier_guidance=self.classifier_guidance)
        # In float32: in less, the gradient of an image depends a little on the images beside it.
        classifier = cast("Classifier", api.load_found(found, "classifier", common.device, "float32"))
        return ClassifierGuided(cast("Diffusion", model), classifier, self.classifier_guidance)


ASKING: dict[str, type[Nothing]] = {"vae": Nothing, "ddpm": ByClassifier, "cfg": ByLabel}
