"""What a family of models says of itself; commands, presets, evaluation and the report ask it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from msgspec import Meta

from genmnist.data.facts import MAX_SIDE, MNIST, Shape
from genmnist.errors import UsageError
from genmnist.families.recipe import Recipe
from genmnist.options import Options, fields, internal

__all__ = ["Family", "ModelOptions", "Preset", "Recipe"]


Channels = Annotated[int, Meta(ge=1, le=3)]
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
ClassNames = Annotated[tuple[Annotated[str, Meta(max_length=255)], ...], internal(), Meta(max_length=256)]
"""What the labels 0, 1, … of a model are called; empty for one that no image of its data had."""


class ModelOptions(Options, frozen=True, kw_only=True):
    """What every model is built from: the form of its images, and what its family adds."""

    shape: Annotated[tuple[Channels, Side, Side], internal()] = MNIST.shape  # channels, height, width

    def suited(self, device: str) -> Self:
        """Return a copy in which whatever was left to the kind of device, `cpu` or `cuda`, is decided."""
        return self

    def of_own_network(self) -> Self:
        """Return the options that a network of somebody's own is trained with, but for those asked for."""
        return self

    def of_source(self, source: ModelOptions) -> ModelOptions:
        """Return the options of a model that goes on from the weights of another: its own, as a rule.

        Raises:
            UsageError: such a model is no beginning for this one.
        """
        return source


@dataclass(frozen=True)
class Preset:
    """A model and how to train it, with the sentence that `--help` shows.

    Args:
        about: that sentence.
        options: of the model.
        recipe: how it is trained.
        budget: seconds, instead of the recipe's epochs.
        validation: what training looks at: images held out from the training images, or, only to repeat what
            was published so, the test images, with all training images trained on.
    """

    about: str
    options: ModelOptions
    recipe: Recipe = field(default_factory=Recipe)
    budget: float | None = None
    validation: Literal["held-out", "test"] = "held-out"


# What the models of a family must have that lists a command, or a measure of `evaluate`.
_NEEDS = {
    "sample": ("draw",),
    "traverse": ("prior", "embed", "usage", "traverse"),
    "interpolate": ("prior", "embed", "interpolate"),
    "reverse-trace": ("timesteps", "trace"),
    "evaluate": ("draw",),
    "export": ("graphs",),
    "complete": ("complete",),
    "edit": ("edit",),
    "autoencoder": ("encode", "decode", "usage"),
    "likelihood": ("denoise", "timesteps"),
    "reverse": ("trace",),
    "guidance": ("guidance",),
    "walks": ("prior", "embed", "interpolate"),
}


@dataclass(frozen=True)
class Family:
    """A family of models.

    Args:
        name: as users type it.
        title: what it is, in words.
        model: its class, or where that is, as `module:attribute`.
        presets: recipes by name; the first is the default.
        commands: the commands that know it, and what `--help` says of it there.
        sampling: the options of sampling, of a family that draws images.
        labels: how it is asked for classes: not at all; by labels of its own; or by a classifier's guidance.
        batch_size: how many images to draw at a time.
        spaces: what `interpolate` can walk through besides pixels, and how.
        path: `lerp` or `slerp`, which suits its latent space.
        measures: what `evaluate` measures besides samples, by name in `genmnist.evaluation.suite`.
        walk_ends: where those walks begin and end: at `digits` of the data, or at points of the `prior`.
        variants: models of the family that are kept apart from the others, and the options that tell them.
        sources: the families whose models it is trained from, the default one first; empty for a family that
            starts from random weights, or goes on from a model of its own.
        story: what the report page says of it, if it is on the page.
    """

    name: str
    title: str
    model: str | type
    presets: Mapping[str, Preset]
    commands: Mapping[str, str]
    sampling: type[Options] | None = None
    labels: Literal["none", "own", "classifier"] = "none"
    batch_size: int = 64
    spaces: tuple[str, ...] = ("latent", "pixel")
    path: Literal["lerp", "slerp"] = "lerp"
    measures: tuple[str, ...] = ()
    walk_ends: Literal["digits", "prior"] = "prior"
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    story: str = ""

    @property
    def options(self) -> type[ModelOptions]:
        """Return the class of its models' options."""
        return type(next(iter(self.presets.values())).options)

    @property
    def model_class(self) -> Any:
        """Return the class of its models; this imports torch.

        Raises:
            UsageError: the family lists a command or a measure for which its models lack a method.
        """
        model = self.model
        if isinstance(model, str):
            module, _, attribute = model.partition(":")
            model = getattr(importlib.import_module(module), attribute)
        for name in (*self.commands, *self.measures):
            if lacking := [method for method in _NEEDS.get(name, ()) if not hasattr(model, method)]:
                raise UsageError(
                    f"the family {self.name} lists {name}, but its models have no {lacking[0]}()"
                )
        return model

    def preset(self, name: str | None = None) -> tuple[str, Preset]:
        """Return the name and the entry of a preset. Raises UsageError if there is none of that name."""
        name = name or next(iter(self.presets))
        if name not in self.presets:
            raise UsageError(
                f"there is no preset {name!r:.60} of {self.name}; choose one of {', '.join(self.presets)}"
            )
        return name, self.presets[name]

    def fitted(
        self, options: ModelOptions, shape: Shape, class_names: tuple[str, ...], given: Mapping[str, Any]
    ) -> ModelOptions:
        """Return the options with the shape of the data, and with their classes where the family has any.

        Raises:
            UsageError: the data have more classes than the family takes, or than were given.
        """
        for name in ("shape", "class_names"):
            if name in given:
                raise UsageError(f"the `{name}` comes from the data: leave it out of the options")
        changes: dict[str, Any] = {"shape": shape}
        classes = len(class_names)
        known = [entry for entry in fields(type(options)) if entry.name == "classes" and not entry.internal]
        if known:
            chosen, most = given.get("classes"), known[0].high
            if most is not None and classes > most:
                raise UsageError(
                    f"the data have labels up to {classes - 1}, and a {self.name} knows {most:g} classes at "
                    "most: train a model without labels, such as vae or ddpm, or give fewer classes"
                )
            if chosen is not None and chosen < classes:
                raise UsageError(
                    f"the data have labels up to {classes - 1}: `classes` must be {classes} or more"
                )
            if classes < 2:
                raise UsageError(
                    f"a {self.name} is for two classes or more, and these data have one: give labels that "
                    "differ, or train a model without labels, such as vae or ddpm"
                )
            changes["classes"] = chosen or classes
            changes["class_names"] = class_names + ("",) * (changes["classes"] - classes)
        return options.replace(changes)

    def variant(self, options: Mapping[str, Any]) -> str:
        """Return the variant that a model of these options is; empty for an ordinary one."""
        for name, telling in self.variants.items():
            if all(options.get(key) == value for key, value in telling.items()):
                return name
        return ""
