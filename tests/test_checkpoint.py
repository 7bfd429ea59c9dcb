"""Checkpoints come back as they went, and everything else is refused in one sentence."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, settings

from damage import mutate, mutations, tamper
from genmnist.errors import GenmnistError, UsageError
from genmnist.families import Recipe
from genmnist.families.ddpm import DiffusionOptions
from genmnist.models import VAE, Diffusion
from genmnist.runs import checkpoint
from genmnist.runs.documents import Header, ModelHeader, Progress, StateHeader, Training
from genmnist.runs.find import WEIGHTS

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def saved(tmp_path: Path, small_vae: VAE) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, small_vae, "report", Training(seed=0), {"val_loss": 1.5})
    return path


def _refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(GenmnistError, match=match) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def _header(**changes: Any) -> ModelHeader:
    options = {"network": "mlp", "hidden": 32, "latent": 4, "beta": 1.0, "kl_warmup": 0.0, "free_bits": 0.0}
    fields: dict[str, Any] = {
        "format": 1,
        "family": "vae",
        "preset": "report",
        "options": options,
        "version": "0.1.0",
    }
    return ModelHeader(**(fields | changes))


def test_a_model_comes_back(saved: Path, small_vae: VAE) -> None:
    model, header = checkpoint.load(saved, "vae")
    assert checkpoint.family_options(header) == small_vae.options
    assert (header.training, header.metrics) == (Training(seed=0), {"val_loss": 1.5})
    assert model.trained == header.training
    assert not model.training
    for name, tensor in small_vae.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_as_float32(tmp_path: Path, small_vae: VAE, dtype: torch.dtype) -> None:
    path = tmp_path / "half.safetensors"
    checkpoint.write(path, _header(), {name: t.to(dtype) for name, t in small_vae.state_dict().items()})
    model, _ = checkpoint.load(path)
    for name, tensor in small_vae.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.to(dtype).float())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@mutations
def test_damaged_files_are_refused(saved: Path, kind: str, position: int, value: int) -> None:
    content = saved.read_bytes()
    damaged = mutate(content, kind, position, value)
    path = saved.with_name("damaged.safetensors")
    path.write_bytes(damaged)
    if damaged != content and _meaning(damaged) != _meaning(content):
        _refused(path)


def _meaning(content: bytes) -> object:
    """Return what a file says, so that a changed blank in its header does not count as damage."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        return json.loads(content[8 : 8 + length]), content[8 + length :]
    except (ValueError, struct.error, RecursionError, OverflowError, MemoryError):
        return None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 a zip file, as torch.save writes",
        b"\x80\x02}q\x00.",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 50_000_000) + b"{" * 100,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        struct.pack("<Q", 19) + b'{"__metadata__":[]} ',
    ],
    ids=["empty", "zip", "pickle", "endless header", "header past the end", "list", "deep", "metadata"],
)
def test_foreign_and_hostile_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    _refused(path, "not a genmnist checkpoint")


def test_a_safetensors_file_of_someone_else(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    _refused(path, "not one that this genmnist writes")


def test_files_that_lie(tmp_path: Path, small_vae: VAE) -> None:
    path = tmp_path / "x.safetensors"
    weights = small_vae.state_dict()
    bias = "encoder.1.bias"

    def refused(match: str, header: Header | None = None, tensors: dict[str, torch.Tensor] = weights) -> None:
        checkpoint.write(path, header or _header(), tensors)
        _refused(path, match)

    refused("lacks or should not have 1 tensors", tensors={k: v for k, v in weights.items() if k != bias})
    refused("lacks or should not have 1 tensors", tensors=weights | {"stranger": torch.zeros(1)})
    refused(r"float32\[33\] where", tensors=weights | {bias: torch.zeros(33)})
    refused(r"int64\[32\] where", tensors=weights | {bias: torch.zeros(32, dtype=torch.int64)})
    refused("options make no sense", _header(options={"hidden": 10**12}))
    refused("options make no sense", _header(options={"latent": "__import__('os')"}))
    refused("options make no sense", _header(options={"shape": [1, 10**9, 10**9]}))
    refused("options make no sense", _header(options={"shape": [1, 0, 28]}))
    refused("options make no sense", _header(options={"colour": 1}))
    refused("where the model has", _header(options=_header().options | {"latent": 5}))
    refused("where the model has", _header(options=_header().options | {"shape": [3, 28, 28]}))
    refused("written by a newer genmnist", _header(format=99))
    progress = Progress(step=1, steps=2, seconds=0.1, count=1, epoch_seconds=0.1, history=[])
    fields = {name: getattr(_header(), name) for name in Header.__struct_fields__}
    refused("training state, not a model", StateHeader(**fields, progress=progress))


def _set(**changes: Any) -> Change:
    return lambda document: document.update(changes)


def _set_training(**changes: Any) -> Change:
    return lambda document: document["training"].update(changes)


LIES: list[tuple[Change, str]] = [
    (lambda document: document.pop("kind"), "its header is not one that this genmnist writes"),
    (lambda document: document.pop("format"), "its header is not one that this genmnist writes"),
    (lambda document: document.pop("options"), "its header is not one that this genmnist writes"),
    (_set(kind="picture"), "its header is not one that this genmnist writes"),
    (_set(kind=["model"]), "its header is not one that this genmnist writes"),
    (_set(kind="state"), "its header is not one that this genmnist writes"),  # without any progress
    (_set(format="1"), "its header is not one that this genmnist writes"),
    (_set(format=0), "its header is not one that this genmnist writes"),
    (_set(format=2), r"written by a newer genmnist \(format 2\): upgrade to read it"),
    (_set(format=10**30), "its header is not one that this genmnist writes"),
    (_set(family=3), "its header is not one that this genmnist writes"),
    (_set(preset=None), "its header is not one that this genmnist writes"),
    (_set(options=[1]), "its header is not one that this genmnist writes"),
    (_set(metrics=[1]), "its header is not one that this genmnist writes"),
    (_set(metrics={"val_loss": "low"}), "its header is not one that this genmnist writes"),
    (_set(training=[]), "its header is not one that this genmnist writes"),
    (_set_training(step=-1), "its header is not one that this genmnist writes"),
    (_set_training(steps="many"), "its header is not one that this genmnist writes"),
    (_set_training(seconds=-0.5), "its header is not one that this genmnist writes"),
    (_set_training(seconds=float("nan")), "its header is not one that this genmnist writes"),
    (_set_training(seed=-3), "its header is not one that this genmnist writes"),
    (_set_training(validation="train"), "its header is not one that this genmnist writes"),
    (_set_training(image_size=0), "its header is not one that this genmnist writes"),
    (_set_training(versions={"torch": 2}), "its header is not one that this genmnist writes"),
    (_set(sources=["x"]), "its header is not one that this genmnist writes"),
    (_set(options={"latent": 4.5}), "options make no sense: `latent` must be a whole number"),
    (_set(options={"latent": "\x1b[31m"}), "options make no sense: `latent`"),
    (_set(options={"network": "own"}), "has a network of its owner's"),
]


@pytest.mark.parametrize("number", range(len(LIES)))
def test_headers_that_lie(saved: Path, number: int) -> None:
    change, sentence = LIES[number]
    checkpoint.load(saved)
    tamper(saved, change)
    _refused(saved, sentence)


def test_tampering_is_what_it_says(saved: Path) -> None:
    """A header that is rewritten as it was is read as it was: what refuses the others is what they say."""
    before = checkpoint.read(saved)[0]
    tamper(saved, lambda document: None)
    assert checkpoint.read(saved)[0] == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"family": "gan"}, "needs the family 'gan' that nothing here has: give its `plugin`"),
        ({"options": {"network": "mine"}}, "needs the autoencoder 'mine' that nothing here has"),
        (
            {"options": {"network": "mine"}, "sources": {"autoencoder mine": "my_models.py"}},
            "needs the autoencoder 'mine' from my_models.py: give it as `plugin`",
        ),
    ],
)
def test_what_only_a_plugin_has_is_asked_for(saved: Path, changes: dict[str, Any], sentence: str) -> None:
    tamper(saved, _set(**changes))
    _refused(saved, sentence)
    with pytest.raises(UsageError):
        checkpoint.load(saved)


@pytest.mark.parametrize("family", ["vae", "ddpm", "cfg", "classifier", "classifier-noisy"])
def test_bundled_headers_are_as_they_always_were_and_are_read(family: str) -> None:
    """They say `noise` and `schedule`, and nothing of shapes, validation or plugins."""
    path = WEIGHTS / f"{family}.safetensors"
    content = path.read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    old = json.loads(metadata["genmnist"])
    assert not {"sources"} & old.keys()
    assert not {"shape", "noise_schedule"} & old["options"].keys()
    model, header = checkpoint.load(path)
    assert model.shape == (1, 28, 28)
    for name, value in old["options"].items():
        assert getattr(model.options, {"noise": "noise_schedule"}.get(name, name)) == value
    assert header.training.validation == "test"
    assert header.training.recipe == old["training"]["recipe"]
    assert Recipe.of(header.training.recipe).lr_schedule == old["training"]["recipe"]["schedule"]
    assert (header.metrics, header.version) == (old["metrics"], "0.1.0")


def test_a_model_says_which_parts_it_has_from_elsewhere(tmp_path: Path, small_vae: VAE) -> None:
    assert checkpoint.sources(small_vae) == {}

    class Mine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor, log_snr: torch.Tensor, labels: object = None) -> torch.Tensor:
            return self.level * x

    path = tmp_path / "mine.safetensors"
    model = Diffusion(DiffusionOptions(), Mine())
    checkpoint.save(path, model, "fast", Training(), {})
    origin = checkpoint.read(path)[0].sources["network own"]
    assert origin.endswith("Mine")
    _refused(path, re.escape(f"has a network of its owner's, {origin}: load it by genmnist.load"))
    again, _ = checkpoint.load(path, network=Mine())
    assert torch.equal(again.state_dict()["network.level"], torch.zeros(1))


def test_a_network_is_not_given_to_a_file_that_has_one(saved: Path) -> None:
    with pytest.raises(UsageError, match="says itself which network it has: leave `network` out"):
        checkpoint.load(saved, network=torch.nn.Linear(1, 1))


def test_numbers_that_are_not_finite_are_neither_written_nor_read(
    tmp_path: Path, small_vae: VAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    weights = small_vae.state_dict()
    weights["encoder.1.bias"][0] = float("nan")
    with pytest.raises(GenmnistError, match="no longer finite"):
        checkpoint.write(path, _header(), weights)
    assert not path.exists()
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "is_floating_point", lambda _: False)
        checkpoint.write(path, _header(), weights)
    _refused(path, "not finite")


def test_another_family_is_named(saved: Path) -> None:
    with pytest.raises(GenmnistError, match="holds a vae, not a ddpm"):
        checkpoint.load(saved, "ddpm")


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _refused(tmp_path / "absent.safetensors", "cannot read")
    path = tmp_path / "large.safetensors"
    path.write_bytes(bytes(100))
    monkeypatch.setattr(checkpoint, "_MAX_BYTES", 10)
    _refused(path, "larger than")
