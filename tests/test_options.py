"""Options: declared once, with their bounds, and held to them whoever sets them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Command, one_sentence
from genmnist.errors import UsageError
from genmnist.families import CFG, CLASSIFIER, DDPM, VAE, Recipe
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.sampling import GuidedSampling, Sampling
from genmnist.families.vae import PriorSampling, VAEOptions
from genmnist.options import Field, Options, about, fields, internal

CLASSES: list[type[Options]] = [
    *(family.options for family in (VAE, DDPM, CFG, CLASSIFIER)),
    *(Recipe, PriorSampling, Sampling, GuidedSampling),
]
FIELDS = [(kind, field) for kind in CLASSES for field in fields(kind)]
NUMBERS = [(kind, field) for kind, field in FIELDS if field.type in (int, float) and not field.literals]


class Sample(Options, frozen=True, kw_only=True):
    """Options of every type."""

    renamed: ClassVar[dict[str, str]] = {"size": "count"}

    count: Annotated[int, about("A number.", 1, 9)] = 3
    share: Annotated[float, about("A share.", 0, 1)] = 0.5
    kind: Annotated[Literal["one", "two"], about("A kind.")] = "one"
    side: Annotated[Literal[0, 1, 2], about("A side.")] = 0
    flag: Annotated[bool, about("A flag.")] = False
    shape: Annotated[tuple[int, int], internal()] = (1, 2)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("count", 0, "`count` must be a whole number between 1 and 9, not 0"),
        ("count", 10, "`count` must be a whole number between 1 and 9, not 10"),
        ("count", 2.5, "`count` must be a whole number between 1 and 9, not 2.5"),
        ("count", True, "`count` must be a whole number between 1 and 9, not True"),
        ("count", "3", "`count` must be a whole number between 1 and 9, not '3'"),
        ("count", 10**40, f"`count` must be a whole number between 1 and 9, not {10**40}"),
        ("share", -0.1, "`share` must be a number between 0 and 1, not -0.1"),
        ("share", math.inf, "`share` must be a number between 0 and 1, not inf"),
        ("share", math.nan, "`share` must be a number between 0 and 1, not nan"),
        ("share", False, "`share` must be a number between 0 and 1, not False"),
        ("kind", "three", "`kind` must be one of one, two, not 'three'"),
        ("kind", 1, "`kind` must be one of one, two, not 1"),
        ("side", 3, "`side` must be one of 0, 1, 2, not 3"),
        ("flag", 1, "`flag` must be either true or false, not 1"),
        ("flag", "yes", "`flag` must be either true or false, not 'yes'"),
        ("shape", (1, 2, 3), "`shape` must be a tuple like (1, 2), not (1, 2, 3)"),
        ("shape", 4, "`shape` must be a tuple like (1, 2), not 4"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(name: str, value: object, sentence: str) -> None:
    values: Any = {name: value}
    attempts: list[Callable[[], Sample]] = [
        lambda: Sample(**values), lambda: Sample.of(values), lambda: Sample().replace(values),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(UsageError) as raised:
            attempt()
        assert str(raised.value) == sentence


def test_values_come_back_in_the_type_of_their_field() -> None:
    values: Any = {"share": 1, "shape": [3, 4]}
    sample = Sample.of(values)
    assert isinstance(sample.share, float)
    assert sample.shape == (3, 4)
    assert sample == Sample(share=1.0, shape=(3, 4))
    with pytest.raises(AttributeError):
        sample.count = 4  # type: ignore[misc]


def test_nothing_is_changed_by_none_and_nothing_unknown_is_taken() -> None:
    assert Sample().replace({"count": None, "share": None}) == Sample()
    assert Sample.choose(count=5, share=None) == Sample(count=5)
    attempts: list[Callable[[], Sample]] = [
        lambda: Sample.of({"cuont": 3}),
        lambda: Sample().replace({"cuont": 3}),
    ]
    for attempt in attempts:
        with pytest.raises(
            UsageError, match="there is no option 'cuont' here; there are count, flag, kind, sha"
        ):
            attempt()


def test_old_names_are_still_understood() -> None:
    assert Sample.of({"size": 4}).count == 4
    assert Sample().replace({"size": 4}).count == 4
    assert "size" not in Sample().asdict()
    assert DiffusionOptions.of({"noise": "linear"}).noise_schedule == "linear"
    assert CFG.options.of({"noise": "straight"}).asdict()["noise_schedule"] == "straight"
    old = Recipe.of({"schedule": "steps", "drop": 0.5, "drop_every": 0.25})
    assert (old.lr_schedule, old.lr_drop, old.lr_drop_every) == ("steps", 0.5, 0.25)


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=lambda value: getattr(value, "name", ""))
def test_every_field_says_what_it_is(kind: type[Options], field: Field) -> None:
    assert field.check(field.default) == field.default
    if field.internal:
        assert not field.about
        return
    assert field.about[0].isupper()
    assert field.about.endswith(".")
    if field.type in (int, float) and not field.literals:
        assert field.low is not None, "without bounds infinity would pass"
        assert field.high is not None
        assert field.low <= field.default <= field.high
    elif field.type is str:
        assert field.default in field.choices


@pytest.mark.parametrize(("kind", "field"), NUMBERS, ids=lambda value: getattr(value, "name", ""))
def test_every_number_has_bounds(kind: type[Options], field: Field) -> None:
    assert field.low is not None
    assert field.high is not None
    for value in (field.low, field.high):
        assert field.check(field.type(value)) == field.type(value)
    for wrong in (field.low - 1, field.high + 1, math.inf, -math.inf, math.nan, True, None, "1", [1]):
        with pytest.raises(UsageError, match=f"`{field.name}` must be a"):
            field.check(wrong)
    if field.type is int:
        with pytest.raises(UsageError, match="a whole number between"):
            field.check(field.low + 0.5)
    elif int(field.high) >= field.low:
        assert isinstance(field.check(int(field.high)), float)


@pytest.mark.parametrize(
    "shape", [(1, -28, 28), (0, 28, 28), (1, 28), (1, 28, 10**9), (4, 8, 8), (1, 0, 5), "x"]
)
def test_shapes_that_no_image_has_are_refused(shape: Any) -> None:
    for kind in (VAE.options, DDPM.options, CLASSIFIER.options):
        with pytest.raises(UsageError, match=r"`shape` must be a tuple like \(1, 28, 28\), not "):
            kind.of({"shape": shape})


def value_of(field: Field) -> st.SearchStrategy[Any]:
    if field.choices:
        return st.sampled_from(field.choices)
    if field.type is bool:
        return st.booleans()
    if field.name == "class_names":
        return st.lists(st.text(max_size=9), max_size=9).map(tuple)
    if field.name == "shape":
        return st.tuples(st.sampled_from((1, 3)), st.integers(1, 1024), st.integers(1, 1024))
    assert field.low is not None
    assert field.high is not None
    low, high = field.low, field.high
    return st.integers(int(low), int(high)) if field.type is int else st.floats(float(low), float(high))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_goes_to_disk_comes_back(kind: type[Options], data: st.DataObject) -> None:
    import msgspec

    chosen = {field.name: value_of(field) for field in fields(kind)}
    # Which settings a sampler has, which lie beside others, and which follow from them, are other matters.
    for name in ("classes", "clusters", "eta", "variance", "guide_above", "guide_below"):
        chosen.pop(name, None)
    values = data.draw(st.fixed_dictionaries({}, optional=chosen))
    options = kind.of(values)
    assert options.asdict() == kind().asdict() | values
    assert kind.of(options.asdict()) == options
    assert options.replace(options.asdict()) == options
    assert kind.of(msgspec.json.decode(msgspec.json.encode(options.asdict()))) == options


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from([field.name for field in fields(VAEOptions)]),
    value=st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.integers())
    | st.binary(),
)
def test_anything_else_fits_or_is_a_sentence(name: str, value: object) -> None:
    try:
        options = VAEOptions.of({name: value})
    except UsageError:
        return
    assert VAEOptions.of(options.asdict()) == options


def test_samplers_have_only_the_settings_that_they_take() -> None:
    for kind in (Sampling, GuidedSampling):
        with pytest.raises(UsageError, match="`eta` is for the `sampler` ddim: heun has none"):
            kind.choose("heun", eta=0.5)
        with pytest.raises(UsageError, match="`variance` is for the `sampler` ancestral: ddim has none"):
            kind.choose("ddim", variance="beta-tilde")
        assert kind.choose("ddim", eta=0.5).random
        assert not kind.choose("ddim", eta=0.0).random
        assert kind.choose("ancestral").random
        with pytest.raises(UsageError, match="draws noise on its way"):
            kind.deterministic("ancestral")
    with pytest.raises(UsageError, match="nothing lies between them"):
        GuidedSampling(guide_above=0.5, guide_below=0.5)
    assert GuidedSampling.choose() == GuidedSampling.choose("ddim"), "a name and its default mean one thing"
    assert Sampling.choose() == Sampling.choose("dpm-solver") == Sampling()


def test_old_options_of_commands_are_hidden_and_work(genmnist: Command) -> None:
    shown = genmnist("train", "ddpm", "--noise", "linear", "--schedule", "constant", "--show", "--json").json
    assert shown["options"]["noise_schedule"] == "linear"
    assert shown["recipe"]["lr_schedule"] == "constant"
    help_page = genmnist("train", "ddpm", "--help").out
    assert "--noise-schedule" in help_page
    assert "--lr-schedule" in help_page
    assert "--noise " not in help_page
    assert " --schedule" not in help_page
    assert "there is no noise schedule 'x'" in one_sentence(genmnist("train", "ddpm", "--noise", "x"), 2)
    said = one_sentence(genmnist("train", "vae", "--latent", 0), 2)
    assert "--latent must be a whole number between 1 and 512, not 0" in said
    said = one_sentence(genmnist("train", "vae", "--beta", "inf"), 2)
    assert "--beta must be a number between 0 and 1000, not inf" in said
