"""The tree of commands, with a subcommand for every family that knows the command."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from genmnist.cli import (
    average,
    compare,
    complete,
    data,
    doctor,
    edit,
    evaluate,
    explore,
    export,
    info,
    interpolate,
    new,
    reconstruct,
    report,
    reverse_trace,
    sample,
    score,
    train,
    traverse,
)
from genmnist.cli.help import Command, Group
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.registry import FAMILIES
from genmnist.version import __version__

_ABOUT = "Train, sample, explore and measure generative models of handwritten digits."

# The commands in the order in which they are of use: what each does, and the function that makes it for one
# family; or, of those that are for no family, the function itself.
_COMMANDS: dict[str, tuple[str, Callable[[Family], Callable[..., None]]] | Callable[..., None]] = {
    "train": ("Train a model; the run goes into a folder of its own.", train.command),
    "sample": ("Draw new images from a model.", sample.command),
    "reconstruct": ("Put images above what a model makes of them.", reconstruct.command),
    "traverse": ("Move one latent factor at a time.", traverse.command),
    "interpolate": ("Walk from one image to another.", interpolate.command),
    "reverse-trace": ("Watch images come out of noise.", reverse_trace.command),
    "complete": ("Draw what is hidden of a digit.", complete.command),
    "edit": ("Turn a digit into others like it.", edit.command),
    "evaluate": ("Measure a model, or images from anywhere.", evaluate.command),
    "average": average.average,
    "export": ("Write a model as ONNX, for runtimes without torch.", export.command),
    "score": score.score,
    "report": report.report,
    "explore": explore.explore,
    "compare": compare.compare,
    "info": info.info,
    "data": data.data,
    "doctor": doctor.doctor,
    "new": new.new,
}
_BY_FAMILY = {name: entry for name, entry in _COMMANDS.items() if isinstance(entry, tuple)}


class _Root(Group):
    """All commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return their names in order."""
        return [*_COMMANDS]


def build(words: Sequence[str] | None = None) -> typer.Typer:
    """Return the command line for the families that are known, plugins' included.

    Args:
        words: what was typed. What is not among them cannot be asked for and is not made, which would take
            half the time of a short command. None makes everything.
    """
    app = typer.Typer(
        name="genmnist",
        cls=_Root,
        help=_ABOUT,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    families: list[Any] = [FAMILIES[name] for name in FAMILIES.names()]
    named = [family for family in families if words and family.name in words]
    for name, entry in _COMMANDS.items():
        if not isinstance(entry, tuple):
            app.command(name, cls=Command)(entry)
            continue
        about, make = entry
        group = typer.Typer(cls=Group, help=about, no_args_is_help=True)
        for family in named or families:
            if name in family.commands and (words is None or name in words):
                function = make(family)
                function.__doc__ = family.commands[name]
                group.command(family.name, cls=Command)(function)
        if name == "evaluate":
            group.command("samples", cls=Command)(evaluate.samples)
        app.add_typer(group, name=name)
    return app


# What a family can do instead of what it cannot, the nearest first.
_INSTEAD = {
    "traverse": ("interpolate", "reverse-trace"),
    "reverse-trace": ("traverse", "interpolate"),
    "interpolate": ("sample",),
    "complete": ("reconstruct", "sample"),
    "edit": ("traverse", "sample"),
}


def check(words: Sequence[str]) -> None:
    """Raise UsageError if nothing knows the family in `words`, or if it does not know the command.

    It may be one that only the plugin of an installed package knows.
    """
    match words:
        case [command, family, *_] if command in _BY_FAMILY and family != "samples" and family[:1] != "-":
            _check_known(command, family)
        case [family, command, *rest] if command in _BY_FAMILY and family in FAMILIES:
            raise UsageError(f"the command comes first: `{shlex.join(['genmnist', command, family, *rest])}`")


def _check_known(command: str, family: str) -> None:
    """Raise UsageError, with what to use instead, unless a command is for a family."""
    known = FAMILIES[family].commands
    if command not in known:
        others = [*(name for name in _INSTEAD.get(command, ()) if name in known), *known]
        raise UsageError(
            f"{command} is for {', '.join(_knowing(command))}, not for {family}: take "
            f"`genmnist {command} {_knowing(command)[0]}`, or `genmnist {others[0]} {family}`"
        )


def _knowing(command: str) -> list[str]:
    """Return the families that know a command."""
    return [name for name in FAMILIES.names() if command in FAMILIES[name].commands]


def who_knows(option: str, words: Sequence[str]) -> str:
    """Return which families have an option that the command in `words` does not have, and how to ask one.

    Args:
        option: as it was typed.
        words: what was typed, all of it.
    """
    command, *_ = [*words, ""]
    tree: Any = typer.main.get_command(build([command])).commands.get(command)  # type: ignore[attr-defined]
    families = getattr(tree, "commands", {})
    knowing = [name for name, known in families.items() if any(option in p.opts for p in known.params)]
    # A model with labels of its own is the nearest to whoever asks for one.
    knowing.sort(key=lambda name: name not in FAMILIES or FAMILIES[name].labels != "own")
    if not knowing:
        return ""
    # What stands before the first option is of this command, such as a file.
    given = [*itertools.dropwhile(lambda word: not word.startswith("-"), words[1:])]
    example = shlex.join(["genmnist", command, knowing[0], *given])
    return f"{option} is for {', '.join(knowing)}: `{example}`"


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"genmnist {__version__}")
        raise typer.Exit
    return wanted


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


_root.__doc__ = _ABOUT
