"""The options that commands share, each declared and checked once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

import typer

from genmnist import distributed
from genmnist.cli import shell_completion
from genmnist.cli.console import Output
from genmnist.cli.help import NETWORK, SAMPLING, TRAINING, dress
from genmnist.cli.values import one_of, reader, text
from genmnist.device import check_device, check_precision
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.families.sampling import Sampling
from genmnist.figures import style
from genmnist.options import Field, Options, fields
from genmnist.registry import DATASETS, SAMPLERS
from genmnist.runs.find import Found, find

if TYPE_CHECKING:
    import torch

    from genmnist.distributed import Ranks
    from genmnist.drawing import Drawing
    from genmnist.models import Model as AnyModel

# The panel of each group of options; and those among them that people come for, which stand first of all.
_PANELS = {"how": SAMPLING, "model": NETWORK, "recipe": TRAINING}
_FIRST = {"guidance", "epochs"}


def _dataset(name: str) -> str:
    DATASETS.check(name)
    return name


def _folder(path: str | Path) -> Path:
    if not Path(path).is_dir():
        raise UsageError(f"{path} is not a folder: `data_dir` takes a folder of IDX files or of images")
    return Path(path)


def which_model(about: str, default: str | bool, *names: str, panel: str | None = None) -> Any:
    """Return an option that says which model, by a file, a run or a name."""
    completion = shell_completion.models
    return typer.Option(
        *names,
        metavar="MODEL",
        help=about,
        show_default=default,
        autocompletion=completion,
        rich_help_panel=panel,
    )


Model = Annotated[
    str | None,
    which_model(
        "A .safetensors file, a run folder, `latest`, `bundled` or `bundled:NAME`.",
        "the latest finished run under runs/, else bundled",
    ),
]


def _dataset_option(default: str) -> Any:
    return typer.Option(
        help=f"{', '.join(DATASETS.names())}, or one of a plugin.",
        show_default=default,
        parser=_dataset,
        autocompletion=shell_completion.among(DATASETS.names),
    )


DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="A folder of IDX files, or of images with a subfolder a class.",
        parser=_folder,
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Bring the images of a folder to so many pixels a side.",
        show_default="as they are",
        min=4,
        max=1024,
    ),
]
Colour = Annotated[
    bool | None,
    typer.Option(
        "--colour/--grey",
        help="Read the images of a folder in colour, or in grey.",
        show_default="as they are",
    ),
]
Plugin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE|MODULE",
        help="A Python file or module with networks, schedules, samplers, data sets or families of your own.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(help="Fixes everything random.", min=0, max=2**63 - 1)]
BatchSize = Annotated[
    int,
    typer.Option(
        help="How many to draw at a time; changes nothing else, but for rounding.",
        min=1,
        max=65536,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:N or mps.",
        callback=check_device,
        autocompletion=shell_completion.among(lambda: ("auto", "cpu", "cuda", "mps")),
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="auto, float32, bfloat16 or float16.",
        callback=check_precision,
        autocompletion=shell_completion.among(lambda: ("auto", "float32", "bfloat16", "float16")),
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="Threads of a CPU.",
        show_default="the fastest number, looked for now and then",
        min=1,
        max=1024,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


_held = contextlib.ExitStack()  # what the command that runs has taken, given back at its end


def compute_on(device: str, threads: int | None) -> torch.device:
    """Return a device, and compute with so many threads until the command ends.

    Args:
        device: its name.
        threads: of a CPU; None: the fastest number.
    """
    from genmnist.device import choose_device
    from genmnist.threads import taking

    place = choose_device(device)
    if threads is not None or place.type == "cpu":
        _held.enter_context(taking(threads))
    return place


@dataclass(frozen=True)
class Common:
    """What every command asks for that takes a model and makes pictures."""

    model: Model = None
    seed: Seed = 0
    device: Device = "auto"
    precision: Precision = "auto"
    threads: Threads = None

    def load(self, family: str | None, output: Output, found: Found | None = None) -> Any:
        """Load the model that was found, or else the one that is asked for, and say which it is.

        Raises:
            UsageError, GenmnistError: there is none, or it cannot be loaded.
        """
        found = found or find(family, self.model)  # says what is wrong before torch is imported
        compute_on(self.device, self.threads)
        model = self.open("model", family, found, output, self.precision)
        output.note(seed=self.seed)
        return model

    def open(self, role: str, family: str | None, found: Found, output: Output, precision: str) -> Any:
        """Load a model that was found, and say which it is. Raises GenmnistError if it cannot be loaded."""
        from genmnist import api

        model = api.load_found(found, family, self.device, precision)
        output.say(f"{role}: {found.origin}")
        output.note(**{role: found.origin})
        return model

    def ranks(self, model: AnyModel) -> Ranks:
        """Return the processes of the job, once all have been asked for the same of the same model.

        Raises:
            UsageError: they have not.
            GenmnistError: they do not find each other.
        """
        from genmnist.runs.checkpoint import weights_sum
        from genmnist.version import versions

        ranks = distributed.join(model.device)
        if ranks.size > 1:
            asked = {"command": " ".join(sys.argv[1:]), "precision": model.precision}
            ranks.agree(asked | {"model": weights_sum(model), "versions": versions()})
        return ranks

    def about(self, model: AnyModel) -> dict[str, str]:
        """Return what a picture's metadata says of how to make it again."""
        return about(model.origin, self.seed)

    def write(self, drawn: Drawing, out: Path, model: AnyModel, look: Look, output: Output) -> None:
        """Write what was drawn of a model, and say so. Raises GenmnistError if it cannot be written."""
        drawn.save(out, self.about(model), look)
        output.note(**drawn.facts)
        output.wrote(out, None if out.suffix == ".npz" else drawn.picture)


def about(model: str = "", seed: int | None = None) -> dict[str, str]:
    """Return what a picture's metadata says of how to make it again by the command that runs."""
    return style.about(["genmnist", *sys.argv[1:]], model, seed)


def choice(argument: str, choices: tuple[str, ...], about: str, default: str | bool = True) -> Any:
    """Return an option that is one of `choices`, whose help shows a default in words where it has one."""
    completion = shell_completion.among(lambda: choices)
    return typer.Option(
        help=about, parser=one_of(argument, choices), autocompletion=completion, show_default=default
    )


_STYLES = tuple(style.STYLES)


@dataclass(frozen=True)
class Look(style.Look):
    """How a figure is to look."""

    style: Annotated[str, choice("style", _STYLES, f"The ground of figures: {' or '.join(_STYLES)}.")] = (
        "light"
    )
    scale: Annotated[
        int | None,
        typer.Option(
            help="Enlarge each pixel so many times.",
            show_default="as a page has room",
            min=1,
            max=32,
        ),
    ] = None
    title: Annotated[str, typer.Option(help="A line above.", show_default="the figure's own")] = ""


@dataclass(frozen=True)
class MovingLook(Look):
    """How a figure or an animation is to look."""

    bounce: Annotated[
        bool | None,
        typer.Option(
            "--bounce/--no-bounce",
            help="Run an animation back, too.",
            show_default="yes, but not into noise",
        ),
    ] = None


@dataclass(frozen=True)
class Data:
    """Where images come from; unless it is said, where those came from that the model was trained on."""

    dataset: Annotated[str | None, _dataset_option("what the model saw")] = None
    data_dir: DataDir = None
    image_size: ImageSize = None
    colour: Colour = None

    def given(self) -> dict[str, Any]:
        """Return what was given, as `genmnist.data.load` takes it. Raises UsageError if it makes no sense."""
        if self.data_dir is None:
            colour = "grey" if self.colour is False else "colour"
            for name, value in (("image_size", self.image_size), (colour, self.colour)):
                if value is not None:
                    raise UsageError(f"`{name}` is for the images of a folder: name one by `data_dir`")
        elif self.dataset is not None:
            raise UsageError("`dataset` and `data_dir` are two ways to say one thing: give one of them")
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Data)}


@dataclass(frozen=True)
class FirstData(Data):
    """Where images come from, where there is no model yet."""

    dataset: Annotated[str | None, _dataset_option("mnist")] = None


def runs(about: str) -> Any:
    """Return the argument of a command that looks at models of all families together."""
    return typer.Argument(
        metavar="[RUN]...",
        help=about,
        show_default="the bundled models",
        autocompletion=shell_completion.runs,
    )


def with_options(
    command: Callable[..., None],
    groups: Mapping[str, type[Any]] | None = None,
    default: Callable[[Field], str | bool] = lambda field: False,
    panel: str = "Options",
    examples: Iterable[str] = (),
    without: Collection[str] = (),
) -> Callable[..., None]:
    """Give a command an option for every field of some classes, in place of the parameters of these classes.

    A class is a dataclass of options, such as `Common`, of which the command gets an instance; or it is a
    class of `Options`, in a help panel of their own, of which the command gets a dict by field name; what was
    not given is None there, for which `--help` shows what `default` says.

    Every command has `--quiet` and `--json` too, for the `output` by which it speaks, and which is finished
    when the command is; and `--plugin`: plugins are loaded before there are commands, and only shown here. It
    may ask for Typer's `context`.

    Args:
        command: what is run.
        groups: the classes by parameter, where they are not those that it is annotated with.
        default: see above.
        panel: what its help calls the options that are the command's own.
        examples: what its help shows in the end, without `genmnist`.
        without: the options that it does not have, and that stay as they are by default.
    """
    asked = inspect.signature(command, eval_str=True).parameters
    own = {name: p.annotation for name, p in asked.items() if dataclasses.is_dataclass(p.annotation)}
    groups = own | {**(groups or {})}
    parameters = [_keyword("context", typer.Context, inspect.Parameter.empty)]
    for parameter in asked.values():
        group = groups.get(parameter.name)
        if parameter.annotation in (typer.Context, Output):
            continue
        if group is None:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        elif issubclass(group, Options):
            parameters += _of_options(group, _PANELS[parameter.name], default)
        else:
            hints = get_type_hints(group, include_extras=True)
            parameters += [_keyword(f.name, hints[f.name], f.default) for f in _typed(group)]
    shared = (("plugin", Plugin, None), ("quiet", Quiet, False), ("as_json", Json, False))
    parameters = [parameter for parameter in parameters if parameter.name not in without]
    parameters = dress([*parameters, *(_keyword(*one) for one in shared)], panel)

    @functools.wraps(command)
    def expanded(context: Any, **given: Any) -> None:
        quiet, as_json, _ = (given.pop(name) for name in ("quiet", "as_json", "plugin"))
        output = Output(context.command_path.removeprefix("genmnist "), as_json, quiet)
        given |= {"output": output} | ({"context": context} if "context" in asked else {})
        for name, group in groups.items():
            if issubclass(group, Options):
                given[name] = _values(group, given)
            else:
                given[name] = group(**{f.name: given.pop(f.name) for f in _typed(group) if f.name in given})
        with _held:
            command(**given)
        output.finish()

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    expanded.examples = tuple(examples)  # type: ignore[attr-defined]
    del expanded.__wrapped__  # whose signature typer would read instead
    return expanded


def _typed(group: type[Any]) -> list[Any]:
    """Return the fields of a dataclass that are options: those annotated as such."""
    hints = get_type_hints(group, include_extras=True)
    return [field for field in dataclasses.fields(group) if get_origin(hints[field.name]) is Annotated]


def _of_options(
    group: type[Options], panel: str, default: Callable[[Field], str | bool]
) -> list[inspect.Parameter]:
    """Return a parameter for every field of a class of options, and a hidden one for each old name."""
    shown = [field for field in fields(group) if not field.internal]
    parameters = []
    for field in shown:
        said = field.about
        if field.choices:
            *most, last = map(str, field.choices)
            listed = f"{', '.join(most)} or {last}" if most else last
            said = f"{said.rstrip('.')}: {listed}."
        option = _option(field, help=said, show_default=default(field))
        option.rich_help_panel = None if field.name in _FIRST else panel
        parameters.append(_keyword(field.name, Annotated[field.type | None, option], None))
    by_name = {field.name: field for field in shown}
    for old, new in group.renamed.items():
        option = _option(by_name[new], f"--{old.replace('_', '-')}", hidden=True)
        parameters.append(_keyword(old, Annotated[by_name[new].type | None, option], None))
    return parameters


def _option(field: Field, *names: str, **facts: Any) -> Any:
    """Return an option that is read and checked as a field is."""
    if field.type is bool:
        return typer.Option(*names, **facts)
    completion = shell_completion.among(lambda: field.choices) if field.choices else None
    return typer.Option(*names, parser=reader(field), autocompletion=completion, **facts)


def _values(group: type[Options], given: dict[str, Any]) -> dict[str, Any]:
    """Take what was given for a class of options out of all that was given."""
    shown = (field.name for field in fields(group) if not field.internal)
    return {name: given.pop(name) for name in (*shown, *group.renamed)}


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def command(panel: str, *examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command its options: see `with_options`."""
    return functools.partial(with_options, panel=panel, examples=examples)


def for_family(
    command: Callable[..., None],
    family: Family,
    choose: Callable[..., Options],
    panel: str,
    examples: Iterable[str],
    **groups: type[Any],
) -> Callable[..., None]:
    """Give a command that draws or measures its options, as `with_options` does, but for what a family lacks.

    Args:
        command, panel, examples, groups: see `with_options`.
        family: as it is described.
        choose: what makes settings of sampling of those that are given; their defaults are shown.
    """
    return with_options(command, groups, _sampling_default(choose), panel, examples, _lacking(family))


def _lacking(family: Family) -> set[str]:
    """Return the options of drawing and measuring that make no sense for a family, as it is described."""
    own, classifier = family.labels == "own", family.labels == "classifier"
    known = {
        "labels": own or classifier,
        "classifier_guidance": classifier,
        "classifier": classifier,
        "per_class": own,
        "guidance_sweep": own,
        "weaker": family.sampling is not None and issubclass(family.sampling, Sampling),
        "likelihood_steps": "likelihood" in family.measures,
    }
    return {option for option, makes_sense in known.items() if not makes_sense}


def _sampling_default(choose: Callable[..., Options]) -> Callable[[Field], str]:
    """Return what `--help` is to show for a setting of sampling: its default, if all samplers share it."""
    known = [choose()]
    if hasattr(known[0], "sampler"):
        for name in SAMPLERS.names():
            with contextlib.suppress(UsageError):  # one that is not for this command
                known.append(choose(sampler=name))

    def shown(field: Field) -> str:
        default, *others = (getattr(settings, field.name) for settings in known)
        shared = field.name == "sampler" or all(other == default for other in others)
        return text(default) if shared else "the sampler's"

    return shown
