"""The tree of commands, with a subcommand for every family that knows the command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from genmnist.cli import (
    compare,
    data,
    doctor,
    evaluate,
    info,
    interpolate,
    reconstruct,
    report,
    reverse_trace,
    sample,
    train,
    traverse,
)
from genmnist.cli import options as opt
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.registry import FAMILIES
from genmnist.version import __version__

_ABOUT = "Train, sample, explore and measure generative models of handwritten digits."

# By command: what it does, and the function that makes it for one family.
_BY_FAMILY: dict[str, tuple[str, Callable[[Family], Callable[..., None]]]] = {
    "train": ("Train a model; the run goes into a folder of its own.", train.command),
    "sample": ("Draw new images from a model.", sample.command),
    "reconstruct": ("Put images above what a model makes of them.", reconstruct.command),
    "traverse": ("Move one latent factor at a time.", traverse.command),
    "interpolate": ("Walk from one image to another.", interpolate.command),
    "reverse-trace": ("Watch images come out of noise.", reverse_trace.command),
    "evaluate": ("Measure a model, or images from anywhere.", evaluate.command),
}
_OTHERS: dict[str, Callable[..., None]] = {
    "report": report.report,
    "compare": compare.compare,
    "info": info.info,
    "data": data.data,
    "doctor": doctor.doctor,
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Return the command line for the families that are known, plugins' included.

    Args:
        words: what was typed; it may ask for a family that only the plugin of an installed package knows.

    Raises:
        UsageError: nothing knows it, or it does not know the command.
    """
    match words:
        case [command, family, *_] if command in _BY_FAMILY and family != "samples" and family[:1] != "-":
            _check_known(command, family)
    app = typer.Typer(name="genmnist", help=_ABOUT, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_root)
    families: list[Any] = [FAMILIES[name] for name in FAMILIES.names()]
    for name, (about, make) in _BY_FAMILY.items():
        group = typer.Typer(help=about, no_args_is_help=True)
        for family in families:
            if name in family.commands:
                function = make(family)
                function.__doc__ = family.commands[name]
                group.command(family.name)(function)
        if name == "evaluate":
            group.command("samples")(evaluate.samples)
        app.add_typer(group, name=name)
    for name, function in _OTHERS.items():
        app.command(name)(function if hasattr(function, "__signature__") else opt.with_options(function))
    return app


def _check_known(command: str, family: str) -> None:
    if command not in FAMILIES[family].commands:
        knowing = [name for name in FAMILIES.names() if command in FAMILIES[name].commands]
        others = ", ".join(FAMILIES[family].commands)
        raise UsageError(f"{command} is for {', '.join(knowing)}; a {family} knows {others}")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"genmnist {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


_root.__doc__ = _ABOUT
