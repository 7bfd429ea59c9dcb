"""What `--help` looks like: what people come for first, panels by what they do, and examples at the end."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo

from genmnist.cli.values import bounded, joined, text

RUN, NETWORK, TRAINING, SAMPLING = "The run", "What the model is", "How it is trained", "How to sample"
MODEL, FIGURE, DEVICE, MESSAGES = "Model and data", "How it looks", "Device and speed", "Messages"
_LAST = (RUN, NETWORK, TRAINING, SAMPLING, MODEL, FIGURE, DEVICE, MESSAGES)
# The options that stand in the same panel in every command; the others stand in that of the command's own.
_PANELS = {
    "The digit": ("image", "digit"),
    MODEL: ("model", "dataset", "data_dir", "image_size", "colour", "plugin"),
    FIGURE: ("style", "scale", "title", "bounce"),
    DEVICE: ("batch_size", "device", "precision", "threads", "compiled", "deterministic"),
    MESSAGES: ("quiet", "as_json"),
}
_PANEL_OF = {name: panel for panel, names in _PANELS.items() for name in names}
_METAVARS = {int: "N", float: "X", str: "NAME", Path: "PATH", bool: ""}

# Options that take several values: `--label 3 8` is `--label 3,8`.
_SEVERAL = {"labels", "from_digits", "timesteps", "guidance_sweep"}


class Command(TyperCommand):
    """A command whose help ends in examples: those that its function has as `examples`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters; the option for help stands in the last panel."""
        parameters: list[Any] = super().get_params(ctx)
        parameters[-1].rich_help_panel = MESSAGES
        return _plain(parameters)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, and the examples after it."""
        super().format_help(ctx, formatter)
        if examples := getattr(self.callback, "examples", ()):
            typer.echo(" Examples:\n")
            typer.echo("".join(f"   genmnist {line}\n" for line in examples))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words, once those that belong to one option are one word."""
        several = {name for option in self.params if option.name in _SEVERAL for name in option.opts}
        return super().parse_args(ctx, joined(args, several))


class Group(TyperGroup):
    """Commands whose options look alike."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options."""
        return _plain(super().get_params(ctx))


def _plain(parameters: list[Any]) -> list[Any]:
    """Return parameters as help shows them: flags without their type, defaults without parentheses."""
    for parameter in parameters:
        if parameter.metavar is None:
            parameter.metavar = ""
        if isinstance(parameter.show_default, str):  # which the library would put into parentheses
            parameter.help += f" [dim]\\[default: {parameter.show_default}][/dim]"
            parameter.show_default = False
    return parameters


def dress(parameters: Sequence[inspect.Parameter], panel: str) -> list[inspect.Parameter]:
    """Return the options of a command as its help shows them, in order: its own `panel` first.

    Whatever takes a number reads it by `values.bounded`, whose sentences are ours.
    """
    dressed = [(_dress(parameter, panel), parameter) for parameter in parameters]
    panels = [name for (_, name), _ in dressed if name not in (panel, *_LAST)]
    order = [panel, *dict.fromkeys(panels), *_LAST]
    return [parameter for (parameter, _), _ in sorted(dressed, key=lambda item: order.index(item[0][1]))]


def _dress(parameter: inspect.Parameter, panel: str) -> tuple[inspect.Parameter, str]:
    """Return a parameter with all that its help needs, and the panel it stands in."""
    annotation, *metas = get_args(parameter.annotation) or (parameter.annotation,)
    if get_origin(parameter.annotation) is not Annotated or not metas:
        return parameter, panel  # the context
    info = copy.copy(metas[0])
    kind = next((part for part in (annotation, *get_args(annotation)) if part in _METAVARS), str)
    if kind in (int, float) and info.parser is None:
        info.parser = bounded(parameter.name, kind, info.min, info.max)
        info.min = info.max = None  # the library would check them too, and answer in words of its own
    if info.metavar is None:
        info.metavar = _METAVARS[kind]
    if isinstance(parameter.default, float):
        info.show_default = text(parameter.default)
    if isinstance(info, ArgumentInfo):
        panel = "Arguments"  # which stand in a panel of their own, whatever its name
    info.help = (info.help or "").replace("[", "\\[")  # or it would be taken for markup
    info.rich_help_panel = info.rich_help_panel or _PANEL_OF.get(parameter.name, panel)
    return parameter.replace(annotation=Annotated[annotation, info]), info.rich_help_panel
