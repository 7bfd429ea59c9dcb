"""What every model promises from the moment it is built, whatever its family."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

import genmnist
from conftest import CPU
from genmnist.data import Splits
from genmnist.errors import UsageError
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.classifier import ClassifierOptions
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE, Classifier, ConditionalDiffusion, Diffusion, Generator, Model
from genmnist.registry import FAMILIES

BUILD: dict[str, Callable[[], Model]] = {
    "vae": lambda: VAE(VAEOptions(hidden=16, latent=4)),
    "vae, conv": lambda: VAE(VAEOptions(network="conv", hidden=4, latent=4)),
    "ddpm": lambda: Diffusion(DiffusionOptions(size="tiny")),
    "cfg": lambda: ConditionalDiffusion(ConditionalOptions(size="tiny")),
    "classifier": lambda: Classifier(ClassifierOptions(width=8)),
    "classifier, noisy": lambda: Classifier(ClassifierOptions(width=8, noisy=True)),
}
every_model = pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)


@pytest.mark.parametrize("model_class", [VAE, Diffusion, ConditionalDiffusion, Classifier])
def test_a_model_works_as_soon_as_it_is_built(model_class: type[Model], few: Splits) -> None:
    """Without options, without a device, without a precision."""
    torch.manual_seed(0)
    model = model_class()
    losses = model.losses(*few.train.batch(torch.arange(8)))
    assert losses["loss"].isfinite()
    losses["loss"].backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.ndim > 1)
    assert (model.device, model.precision) == (CPU, "float32")
    assert model.options == FAMILIES[model.family].options()


@every_model
def test_a_generator_draws_as_soon_as_it_is_built(build: Callable[[], Model]) -> None:
    torch.manual_seed(0)
    model = build()
    if isinstance(model, Generator):
        options: dict[str, Any] = {} if model.family == "vae" else {"steps": 2}
        drawn = model.sample(2, **options)
        assert (drawn.shape, drawn.dtype) == ((2, 28, 28), torch.uint8)
        *_, last = model.frames(model.request(**options), 2)
        assert torch.equal(last.images, drawn)
    else:
        assert FAMILIES[model.family].sampling is None


@every_model
def test_what_was_built_has_not_been_trained(build: Callable[[], Model]) -> None:
    assert build().trained is None


@pytest.mark.parametrize("family", ["vae", "ddpm", "cfg", "classifier"])
def test_a_loaded_model_says_what_it_was_trained_on(family: str) -> None:
    trained = genmnist.load(family, "bundled", device="cpu").trained
    assert trained is not None
    assert (trained.dataset, trained.data_dir, trained.validation) == ("mnist", None, "test")
    assert trained.data_checksum.startswith("1e35582d42a9")
    assert trained.step == trained.steps > 0
    assert trained.recipe["batch_size"] in (64, 128)


@every_model
@pytest.mark.parametrize("move", ["to", "deepcopy"])
def test_the_precision_goes_where_the_model_goes(
    build: Callable[[], Model], move: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that `.to` moves computes where it is, and keeps no device of where it was."""
    model = build().place(CPU, "bfloat16")
    if move == "to":
        model.to("meta")
        moved, where = model, "meta"
    else:
        moved, where = copy.deepcopy(model), "cpu"
        model.to("meta")
    asked: list[str] = []
    plain = torch.autocast

    def recorded(device_type: str, *words: Any, **options: Any) -> torch.autocast:
        asked.append(device_type)
        return plain("cpu", *words, **options)

    def lowered(precision: str) -> None:  # what a small MLP does instead: bfloat16 products, or TF32
        asked.append({"medium": "cpu", "high": "meta"}.get(precision, "as before"))

    monkeypatch.setattr(torch, "autocast", recorded)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lowered)
    assert moved.device.type == where
    assert moved.precision == "bfloat16"
    with moved.computing():
        assert asked == [where]


def test_precisions_are_names() -> None:
    model = BUILD["vae"]()
    for name in ("float32", "bfloat16"):
        assert model.place(CPU, name).precision == name
    assert model.place(CPU, "auto").precision in ("float32", "bfloat16")
    with pytest.raises(UsageError, match="there is no precision 'float64'"):
        model.place(CPU, "float64")
    with pytest.raises(UsageError, match="`precision` float16 is not for the MLP"):
        model.place(CPU, "float16")


def test_a_latent_space_without_a_decoder_has_no_ways_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a plugin may be, whose author forgot it."""
    monkeypatch.delattr(VAE, "decode")
    ends = torch.zeros(1, 20), torch.ones(1, 20)
    with pytest.raises(UsageError, match="a vae has no way between images: its models have no decode"):
        VAE().interpolate(*ends, torch.linspace(0, 1, 3))
