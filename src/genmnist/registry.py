"""Named parts: networks, schedules, samplers, data sets, whole families; ours, and those of plugins.

One mechanism for all of them. What is registered is at once a choice of `--help`, of the Python API and of
checkpoints. Nothing here needs torch: our own parts stand in the tables below as `module:attribute` and are
imported when they are first used. A part of your own is registered where it is defined:

    from genmnist.registry import SCHEDULES

    @SCHEDULES.register("quick")
    def quick(timesteps): ...

and becomes known by `genmnist … --plugin my_models.py`, by `genmnist.plugin("my_models.py")`, or, in an
installed package, by an entry point of the group `genmnist`, which is looked at only when a name is unknown.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from genmnist.errors import GenmnistError, UsageError

if TYPE_CHECKING:
    from genmnist.families.family import Family

T = TypeVar("T")

ENTRY_POINTS = "genmnist"


class UnknownNameError(UsageError):
    """A name that no part has; it may be that of a plugin which was not given.

    Attributes:
        kind: what sort of part was looked for, such as `noise schedule`.
        name: the name.
    """

    def __init__(self, kind: str, name: str, choices: tuple[str, ...]) -> None:
        super().__init__(
            f"there is no {kind} {name!r:.60}; choose one of {', '.join(choices)}, or give the `plugin` that "
            "has it"
        )
        self.kind, self.name = kind, name


@dataclass(frozen=True, eq=False)
class _Loading:
    """One import of a plugin."""

    name: str


@dataclass(frozen=True)
class _Entry:
    part: Any  # the part itself, or where it is
    origin: str = ""  # the plugin or module that registered it; empty for ours
    facts: Mapping[str, Any] = field(default_factory=dict)
    loading: _Loading | None = None  # the import that registered it


class Registry(Generic[T]):
    """Parts of one kind, by name.

    Args:
        kind: what they are, in words.
        module: where our own are defined.
        ours: by name, what each is called there, or the part itself; and facts, if there are any.
    """

    def __init__(self, kind: str, module: str, ours: Mapping[str, str | tuple[Any, dict[str, Any]]]) -> None:
        self.kind = kind
        self._entries: dict[str, _Entry] = {}
        for name, value in ours.items():
            part, facts = (value, {}) if isinstance(value, str) else value
            self._entries[name] = _Entry(f"{module}:{part}" if isinstance(part, str) else part, facts=facts)

    def register(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Return a decorator that registers a part under a name.

        Args:
            name: lower case; what users type.
            facts: what is known of it without calling it, such as the number of `steps` that suits a sampler.

        Raises:
            UsageError: another part has this name, or nobody could type it.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
            raise UsageError(
                f"{name!r:.60} is no name for a {self.kind}: take lower-case letters, digits and dashes"
            )

        def add(part: T) -> T:
            # A family is an object; its model tells where it is from.
            module = getattr(getattr(part, "model", part), "__module__", None) or "Python"
            loading = _loading[-1] if _loading else None
            origin = loading.name if loading else str(module)
            before = self._entries.get(name)
            # A notebook's cell that is run again replaces its part, as a plugin does that was mended.
            if before is not None and (before.origin != origin or (loading and before.loading is loading)):
                owner = before.origin or "genmnist itself"
                raise UsageError(f"there is a {self.kind} {name!r} already, of {owner}: take another name")
            self._entries[name] = _Entry(part, origin, facts, loading)
            return part

        return add

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> T:
        entry = self._entry(name)
        if isinstance(entry.part, str):
            module, _, attribute = entry.part.partition(":")
            return cast("T", getattr(importlib.import_module(module), attribute))
        return cast("T", entry.part)

    def names(self) -> tuple[str, ...]:
        """Return the names in the order of registration, ours first."""
        return tuple(name for name, entry in self._entries.items() if not entry.facts.get("hidden"))

    def check(self, name: str) -> None:
        """Raise UnknownNameError unless there is a part of that name."""
        self._entry(name)

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return what was registered with a part."""
        return self._entry(name).facts

    def origin(self, name: str) -> str:
        """Return the plugin or module that registered a part; empty for ours."""
        return self._entry(name).origin

    def parameters(self, name: str) -> tuple[str, ...]:
        """Return the names of a part's parameters, without importing it where the facts list them."""
        listed = self.facts(name).get("parameters")
        return tuple(inspect.signature(cast("Any", self[name])).parameters) if listed is None else listed

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            load_entry_points()
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self.names())
        return self._entries[name]


_loading: list[_Loading] = []  # the plugins that are being imported, innermost last
_loaded: set[str] = set()


def plugin(target: str | Path) -> None:
    """Import a plugin, whose parts are known from then on.

    Args:
        target: a Python file, or the name of a module.

    Raises:
        UsageError: there is no such file or module.
        GenmnistError: it cannot be imported.
    """
    name = str(target)
    path = Path(name)
    if name.endswith(".py") or path.is_file():
        if not path.is_file():
            raise UsageError(f"there is no file {name}: `plugin` takes a Python file or the name of a module")
        key, module = str(path.resolve()), f"genmnist_plugin_{path.stem}"
        if _importable(path):  # and then it is imported once, whoever else imports it
            key = module = path.stem
    else:
        key = module = name
    if key in _loaded:
        return
    _loading.append(_Loading(name))
    try:
        if key == module:
            importlib.import_module(module)
        else:
            _import_file(path, module)
    except GenmnistError:
        raise
    except ModuleNotFoundError as error:
        if error.name == module.partition(".")[0]:
            raise UsageError(
                f"there is no module {name!r}: `plugin` takes a Python file or the name of a module"
            ) from error
        raise GenmnistError(f"the plugin {name} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a user's file may raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise GenmnistError(f"the plugin {name} cannot be imported: {reason}{_place(error, path)}") from error
    finally:
        _loading.pop()
    _loaded.add(key)


def load_entry_points() -> None:
    """Import the plugins of installed packages, once.

    Raises:
        GenmnistError: one of them cannot be imported.
    """
    if ENTRY_POINTS in _loaded:
        return
    _loaded.add(ENTRY_POINTS)
    from importlib import metadata  # here, because it takes as long as all of this module

    failed = []
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            plugin(point.module)
        except GenmnistError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _importable(path: Path) -> bool:
    """Tell whether a file is the module of its name that Python would import."""
    if not path.stem.isidentifier():
        return False
    try:
        spec = importlib.util.find_spec(path.stem)
    except ValueError:  # a module without a spec, such as __main__
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path.resolve()


def _import_file(path: Path, module: str) -> None:
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file: `plugin` takes one, or the name of a module")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[module]
        raise


def _place(error: BaseException, path: Path) -> str:
    """Say in which line of a plugin's file an error arose, if in one."""
    if isinstance(error, SyntaxError):
        return ""  # its message says so
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
    return f" (line {lines[-1]})" if lines else ""


def _alike(*names: str) -> dict[str, str]:
    """Return the attributes of parts that are called as their functions are."""
    return {name: name.replace("-", "_") for name in names}


def _own(options: Any) -> Any:
    """Refuse to build a network that only its owner has. Raises UsageError."""
    raise UsageError(
        "this model's network was given from Python: give it there again, `network=…`, or register it"
    )


# A network that was given from Python, by the name under which it is recorded.
_OWN = (_own, {"hidden": True})

# The tables of our own parts. The facts of a sampler are the settings that suit it, and its parameters:
# `noise` where it draws fresh noise on its way, `eta` where that is a share.
NETWORKS: Registry[Callable[[Any], Any]] = Registry(
    "network", "genmnist.nn.unet", {"unet": "build", "own": _OWN}
)
AUTOENCODERS: Registry[Callable[[Any], Any]] = Registry(
    "autoencoder",
    "genmnist.nn.vae",
    {"mlp": ("MLP", {"width": 400}), "conv": ("Conv", {"width": 32}), "own": _OWN},
)
SCHEDULES: Registry[Callable[..., Any]] = Registry(
    "noise schedule",
    "genmnist.diffusion.schedules",
    _alike("linear", "cosine", "arctan", "straight", "log-snr"),
)
TARGETS: Registry[Callable[..., Any]] = Registry(
    "target",
    "genmnist.diffusion.targets",
    {**_alike("epsilon", "x0", "v", "flow"), "categorical": ("categorical", {"values": True})},
)
WEIGHTS: Registry[Callable[..., Any]] = Registry(
    "weight", "genmnist.diffusion.targets", _alike("simple", "min-snr", "likelihood")
)
TIMES: Registry[Callable[..., Any]] = Registry(
    "distribution of times",
    "genmnist.diffusion.times",
    {**_alike("uniform", "logit-normal", "log-normal", "broad"), "adaptive": ("adaptive", {"adapts": True})},
)
_PLAIN = ("denoise", "x", "schedule", "timesteps")
SAMPLERS: Registry[Callable[..., Any]] = Registry(
    "sampler",
    "genmnist.diffusion.samplers",
    {
        "dpm-solver": ("dpm_solver", {"steps": 16, "parameters": _PLAIN}),
        "heun": ("heun", {"steps": 12, "parameters": _PLAIN}),
        "ddim": ("ddim", {"steps": 50, "parameters": (*_PLAIN, "noise", "eta")}),
        "consistency": ("consistency", {"steps": 2, "spacing": "trailing",
                                        "parameters": (*_PLAIN, "noise")}),
        "ancestral": ("ancestral", {"steps": 1000, "spacing": "trailing",
                                    "parameters": (*_PLAIN, "noise", "variance", "gradient")}),
    },
)  # fmt: skip
SPACINGS: Registry[Callable[..., Any]] = Registry(
    "spacing", "genmnist.diffusion.spacings", _alike("shifted", "trailing", "leading", "log-snr")
)
DATASETS: Registry[Callable[[], Any]] = Registry(
    "data set",
    "genmnist.data.sources",
    {
        "mnist": ("mnist", {"about": "70,000 handwritten digits (LeCun et al. 1998)"}),
        "fashion-mnist": ("fashion_mnist", {"about": "ten kinds of clothing (Xiao et al. 2017)"}),
        "kmnist": ("kmnist", {"about": "ten cursive Japanese characters (Clanuwat et al. 2018)"}),
        "emnist-digits": ("emnist_digits", {"about": "280,000 digits of its source (Cohen et al. 2017)"}),
        "qmnist": ("qmnist", {"about": "MNIST rebuilt from its source (Yadav & Bottou 2019)"}),
        "cifar10": ("cifar10", {"about": "ten kinds of animals and vehicles, in colour (Krizhevsky 2009)"}),
        "svhn": ("svhn", {"about": "digits of house numbers, in colour (Netzer et al. 2011)"}),
    },
)
FAMILIES: Registry[Family] = Registry(
    "family",
    "genmnist.families",
    {"vae": "VAE", "ddpm": "DDPM", "cfg": "CFG", "few": "FEW", "classifier": "CLASSIFIER"},
)
