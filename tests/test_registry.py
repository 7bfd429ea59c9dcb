"""Named parts: every one can be used, is a choice wherever there is one, and says so when a name is wrong."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import typer
from torch import nn

from conftest import Command, one_sentence
from genmnist import registry
from genmnist.cli.app import build
from genmnist.data import DOWNLOADS, Splits
from genmnist.diffusion import samplers
from genmnist.diffusion.schedules import CLEAN, Schedule
from genmnist.diffusion.spacings import spaced
from genmnist.diffusion.targets import Denoised
from genmnist.diffusion.times import Spread
from genmnist.errors import UsageError
from genmnist.families import Family
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.sampling import GuidedSampling, Sampling
from genmnist.families.vae import VAEOptions
from genmnist.models import Generator, Model
from genmnist.options import Field, Options, fields
from genmnist.registry import (
    AUTOENCODERS,
    DATASETS,
    FAMILIES,
    NETWORKS,
    SAMPLERS,
    SCHEDULES,
    SPACINGS,
    TARGETS,
    TIMES,
    WEIGHTS,
    Registry,
)

ALL: dict[str, Registry[Any]] = {
    name: value for name, value in vars(registry).items() if isinstance(value, Registry)
}
BATCH = (2, 1, 12, 12)


def options_classes() -> list[type[Options]]:
    """Return every class of options that a family has."""
    families = [FAMILIES[name] for name in FAMILIES.names()]
    classes = [kind for family in families for kind in (family.options, family.sampling) if kind is not None]
    return list(dict.fromkeys(classes))


NAMED: list[tuple[type[Options], Field]] = [
    (kind, field) for kind in options_classes() for field in fields(kind) if field.registry is not None
]


def test_there_are_ten_kinds_of_parts() -> None:
    first = ("NETWORKS", "AUTOENCODERS", "SCHEDULES", "TARGETS", "WEIGHTS", "TIMES")
    assert set(ALL) == {*first, "SAMPLERS", "SPACINGS", "DATASETS", "FAMILIES"}
    assert len({parts.kind for parts in ALL.values()}) == len(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_unknown_names_are_answered_with_the_choices(kind: str) -> None:
    parts = ALL[kind]
    for ask in (parts.check, parts.facts, parts.origin, parts.__getitem__):
        with pytest.raises(registry.UnknownNameError) as raised:
            ask("nonesuch")
        assert str(raised.value) == (
            f"there is no {parts.kind} 'nonesuch'; choose one of {', '.join(parts.names())}, "
            "or give the `plugin` that has it"
        )
        assert (raised.value.kind, raised.value.name) == (parts.kind, "nonesuch")
    assert "nonesuch" not in parts
    assert all(name in parts and parts.origin(name) == "" for name in parts.names())
    with pytest.raises(UsageError, match=f"there is a {parts.kind} {parts.names()[0]!r} already"):
        parts.register(parts.names()[0])(object())


def test_names_are_lower_case_and_taken_once_a_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: Registry[Any] = Registry("thing", "nowhere", {})
    for name in ("Fast", "two words", "", "-fast", "naïve"):
        with pytest.raises(UsageError, match="is no name for a thing: take lower-case letters, digits and"):
            parts.register(name)
    monkeypatch.setattr(registry, "THINGS", parts, raising=False)
    line = "from genmnist.registry import THINGS\nTHINGS.register('fast')(1)\n"
    plugin = tmp_path / "things.py"
    plugin.write_text(line + "THINGS.register('fast')(2)\n")
    with pytest.raises(
        UsageError, match=r"there is a thing 'fast' already, of .*things.py: take another name"
    ):
        registry.plugin(plugin)
    plugin.write_text(line)
    registry.plugin(plugin)  # once it is mended
    assert parts["fast"] == 1
    for value in (1, 2):
        parts.register("mine")(value)  # as a cell of a notebook that is run again does
    assert parts["mine"] == 2


@pytest.mark.parametrize("kind", ALL)
def test_every_name_is_that_of_something(kind: str) -> None:
    parts = ALL[kind]
    for name in parts.names():
        assert callable(parts[name]) or isinstance(parts[name], Family)
        listed = parts.facts(name).get("parameters")
        if listed is not None:
            assert listed == tuple(inspect.signature(parts[name]).parameters)


@pytest.mark.parametrize("name", NETWORKS.names())
def test_networks(name: str) -> None:
    options = DiffusionOptions(shape=BATCH[1:], network=name, size="tiny")
    network = NETWORKS[name](options)
    assert isinstance(network, nn.Module)
    assert network(torch.randn(BATCH), torch.zeros(2)).shape == BATCH
    assert network(torch.randn(BATCH), torch.zeros(2), labels=None).shape == BATCH


@pytest.mark.parametrize("name", AUTOENCODERS.names())
def test_autoencoders(name: str) -> None:
    network = AUTOENCODERS[name](VAEOptions(shape=(3, 12, 12), network=name, hidden=8, latent=5))
    assert network.encoder(torch.rand(2, 3, 12, 12)).shape == (2, 10)
    assert network.decoder(torch.randn(2, 5)).shape == (2, 3, 12, 12)


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_schedules(name: str) -> None:
    schedule = SCHEDULES[name](100)
    assert isinstance(schedule, Schedule)
    assert (schedule.name, len(schedule), schedule.log_snrs.dtype) == (name, 100, torch.float64)
    assert (schedule.log_snrs.diff() < 0).all()
    t = torch.tensor([CLEAN, 0.0, 31.5, 99.0])
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert alpha[0] == 1
    assert sigma[0] == 0
    sums = alpha + sigma if schedule.straight else alpha.square() + sigma.square()
    torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize("name", TARGETS.names())
@pytest.mark.parametrize("weight", WEIGHTS.names())
def test_targets_and_weights(name: str, weight: str) -> None:
    from genmnist.diffusion.targets import denoised, target

    clean, noise = torch.randn(BATCH), torch.randn(BATCH)
    alpha, sigma = torch.tensor(0.8), torch.tensor(0.6)
    found = denoised(
        name, target(name, clean, noise, alpha, sigma), alpha * clean + sigma * noise, alpha, sigma
    )
    torch.testing.assert_close(found.x0, clean)
    torch.testing.assert_close(found.epsilon, noise)
    levels = torch.tensor([0.9, 0.5]), torch.tensor([0.3, 0.8]), torch.tensor([-0.1, -0.2])
    weights = WEIGHTS[weight](name, *levels)
    assert weights.shape == (2,)
    assert (weights > 0).all()


@pytest.mark.parametrize("name", TIMES.names())
def test_times(name: str) -> None:
    known = (Spread(),) if TIMES.facts(name).get("adapts") else ()
    t = TIMES[name](SCHEDULES["cosine"](100), torch.linspace(0.01, 0.99, 50, dtype=torch.float64), *known)
    assert t.shape == (50,)
    assert t.min() >= 0
    assert t.max() <= 99
    assert t[0] != t[-1]


@pytest.mark.parametrize("name", SPACINGS.names())
def test_spacings(name: str) -> None:
    t = spaced(SCHEDULES["linear"](100), 7, name)
    assert len(t) == 8
    assert t[-1] == CLEAN
    assert t == sorted(t, reverse=True)
    assert t[0] <= 99


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_samplers(name: str) -> None:
    """With a denoiser that knows the one image there is, every sampler comes to that image."""
    schedule, image = SCHEDULES["cosine"](100), torch.full(BATCH, 0.25)

    def denoise(x: torch.Tensor, t: float) -> Denoised:
        return Denoised(image, (x - schedule.alpha(t) * image) / schedule.sigma(t))

    timesteps = spaced(schedule, 6)
    settings: dict[str, Any] = (
        {"noise": lambda: torch.randn(BATCH)} if name in ("ancestral", "consistency") else {}
    )
    steps = [*SAMPLERS[name](denoise, torch.randn(BATCH), schedule, timesteps, **settings)]
    assert [step.t for step in steps] == timesteps[1:]
    assert all(isinstance(step, samplers.Step) for step in steps)
    torch.testing.assert_close(steps[-1].x, image)
    for sampling in (Sampling, GuidedSampling):
        how = sampling.choose(name)
        assert how.sampler == name
        assert how == sampling.choose(sampler=name, steps=None)
        assert set(sampling.settings(name)) <= {field.name for field in fields(sampling)}


def test_data_sets() -> None:
    """What needs the network is described; the bundled set is loaded."""
    splits = DATASETS["mnist"]()
    assert isinstance(splits, Splits)
    assert splits.shape == (1, 28, 28)
    for name in DATASETS.names():
        assert DATASETS.facts(name)["about"]
        assert name == "mnist" or name in DOWNLOADS


@pytest.mark.parametrize("name", FAMILIES.names())
def test_families(name: str) -> None:
    """Every family says enough of itself to be built, to be trained and, if it draws, to draw."""
    family = FAMILIES[name]
    assert family.name == name
    for preset in family.presets.values():
        assert type(preset.options) is family.options
    _, first = family.preset()
    small = {"size": "tiny", "hidden": 16, "width": 8, "shape": (1, 12, 12)}
    known = {field.name for field in fields(family.options)}
    options = first.options.replace({key: value for key, value in small.items() if key in known})
    torch.manual_seed(0)
    model = family.model_class(options)
    assert isinstance(model, Model)
    assert model.family == name
    assert model.shape == (1, 12, 12)
    losses = model.losses(torch.rand(4, 1, 12, 12), torch.arange(4))
    assert math.isfinite(losses["loss"].item())
    losses["loss"].backward()
    assert any(weight.grad is not None for weight in model.parameters())
    assert isinstance(model, Generator) == (family.sampling is not None) == ("sample" in family.commands)
    if isinstance(model, Generator):
        names = {field.name for field in fields(cast("type[Options]", family.sampling))}
        few: dict[str, Any] = {"steps": 2} if "steps" in names else {}
        assert model.eval().sample(2, **few).shape == (2, 12, 12)
        with pytest.raises(UsageError, match="there is no option 'nonesuch'"):
            model.sample(2, nonesuch=3)
    with pytest.raises(UsageError, match=f"there is no preset 'nonesuch' of {name}; choose one of "):
        family.preset("nonesuch")


@pytest.mark.parametrize(
    ("options", "field"), NAMED, ids=lambda value: getattr(value, "name", getattr(value, "__name__", ""))
)
def test_every_option_with_a_registry_takes_its_names_and_no_others(
    options: type[Options], field: Field
) -> None:
    parts = field.registry
    assert parts is not None
    assert field.choices == parts.names()
    assert "own" not in field.choices
    for name in parts.names():
        changed = options.choose(**{field.name: name})
        assert getattr(changed, field.name) == name
        assert (parts, name) in [*changed.named()]
        assert options.of(changed.asdict()) == changed
    with pytest.raises(
        UsageError, match=f"there is no {parts.kind} 'nonesuch'; choose one of {parts.names()[0]}"
    ):
        options.of({field.name: "nonesuch"})
    with pytest.raises(UsageError, match=f"`{field.name}` must be a name, not 3"):
        options.of({field.name: 3})


def test_every_registry_is_the_choice_of_an_option() -> None:
    """But for data sets and families, which have options and commands of their own."""
    asked = {field.registry for _, field in NAMED}
    assert asked == set(ALL.values()) - {DATASETS, FAMILIES}


def _parameters(command: str, family: str) -> dict[str, Any]:
    tree: Any = typer.main.get_command(build((command, family)))
    return {parameter.name: parameter for parameter in tree.commands[command].commands[family].params}


@pytest.mark.parametrize("family", FAMILIES.names())
def test_names_are_listed_by_the_help_of_the_commands_that_take_them(family: str) -> None:
    described = FAMILIES[family]
    by_command = {"train": described.options, "sample": described.sampling, "evaluate": described.sampling}
    for command, options in by_command.items():
        if command not in described.commands or options is None:
            continue
        parameters = _parameters(command, family)
        for field in fields(options):
            if field.internal:
                assert field.name not in parameters
            elif field.choices:
                shown = parameters[field.name].help
                *most, last = map(str, field.choices)
                assert f"{', '.join(most)} or {last}." in shown if most else shown.endswith(f": {last}.")
        if "dataset" in parameters:
            assert ", ".join(DATASETS.names()) in parameters["dataset"].help
    for command in described.commands:
        assert _parameters(command, family)


def test_help_shows_the_choices_and_wrong_ones_are_answered_with_them(genmnist: Command) -> None:
    done = genmnist("train", "ddpm", "--help", importing=False)
    assert done.status == 0, done.err
    shown = " ".join(done.out.replace("│", " ").split())
    for parts in (SCHEDULES, TARGETS, WEIGHTS, TIMES):
        *most, last = parts.names()
        assert f"{', '.join(most)} or {last}." in shown
    assert ", ".join(DATASETS.names()) in shown
    wrong: list[tuple[tuple[str, ...], Registry[Any]]] = [
        (("train", "ddpm", "--noise-schedule", "x"), SCHEDULES),
        (("train", "vae", "--network", "x"), AUTOENCODERS),
        (("train", "vae", "--dataset", "x"), DATASETS),
        (("sample", "cfg", "--spacing", "x"), SPACINGS),
        (("sample", "x"), FAMILIES),
    ]
    for words, parts in wrong:
        said = one_sentence(genmnist(*words, importing=False), 2)
        assert (
            f"there is no {parts.kind} 'x'; choose one of {', '.join(parts.names())}, or give the --plugin"
            in said
        )
