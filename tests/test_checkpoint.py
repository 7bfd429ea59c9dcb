"""Checkpoints come back as they went, and everything else is refused in one sentence."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genmnist import checkpoint
from genmnist.checkpoint import Document
from genmnist.errors import GenmnistError
from genmnist.models import VAE
from test_data import _mutate


@pytest.fixture
def saved(tmp_path: Path, small_vae: VAE) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, small_vae, "report", {"seed": 0}, {"val_loss": 1.5})
    return path


def _refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(GenmnistError, match=match) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def _document(**changes: Any) -> Document:
    options = {"network": "mlp", "hidden": 32, "latent": 4, "beta": 1.0, "kl_warmup": 0.0, "free_bits": 0.0}
    fields = {"kind": "model", "family": "vae", "preset": "report", "options": options}
    return Document(**(fields | changes))


def test_a_model_comes_back(saved: Path, small_vae: VAE) -> None:
    model, document = checkpoint.load(saved, "vae")
    assert document.options == small_vae.options.asdict()
    assert (document.training, document.metrics) == ({"seed": 0}, {"val_loss": 1.5})
    for name, tensor in small_vae.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_as_float32(tmp_path: Path, small_vae: VAE, dtype: torch.dtype) -> None:
    path = tmp_path / "half.safetensors"
    checkpoint.write(path, _document(), {name: t.to(dtype) for name, t in small_vae.state_dict().items()})
    model, _ = checkpoint.load(path)
    for name, tensor in small_vae.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.to(dtype).float())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["truncate", "flip", "extend", "swap"]),
    position=st.integers(0, 10**6),
    value=st.integers(0, 255),
)
def test_damaged_files_are_refused(saved: Path, kind: str, position: int, value: int) -> None:
    content = saved.read_bytes()
    damaged = _mutate(content, kind, position, value)
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
    _refused(path, "not one that genmnist wrote")


def test_files_that_lie(tmp_path: Path, small_vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    weights = small_vae.state_dict()
    bias = "encoder.1.bias"

    def refused(
        match: str, document: Document | None = None, tensors: dict[str, torch.Tensor] = weights
    ) -> None:
        checkpoint.write(path, document or _document(), tensors)
        _refused(path, match)

    refused("lacks or should not have 1 tensors", tensors={k: v for k, v in weights.items() if k != bias})
    refused("lacks or should not have 1 tensors", tensors=weights | {"stranger": torch.zeros(1)})
    refused(r"float32\[33\] where", tensors=weights | {bias: torch.zeros(33)})
    refused(r"int64\[32\] where", tensors=weights | {bias: torch.zeros(32, dtype=torch.int64)})
    refused("options make no sense", _document(options={"hidden": 10**12}))
    refused("options make no sense", _document(options={"latent": "__import__('os')"}))
    refused("where the model has", _document(options=_document().options | {"latent": 5}))
    refused("a family that this genmnist does not know", _document(family="gan"))
    refused("training state, not a model", _document(kind="state"))
    refused("lacks what genmnist writes", _document(metrics=[1]))
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    checkpoint.write(path, _document(), weights)
    monkeypatch.undo()
    _refused(path, "newer genmnist")


def test_numbers_that_are_not_finite_are_neither_written_nor_read(
    tmp_path: Path, small_vae: VAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    weights = small_vae.state_dict()
    weights["encoder.1.bias"][0] = float("nan")
    with pytest.raises(GenmnistError, match="no longer finite"):
        checkpoint.write(path, _document(), weights)
    assert not path.exists()
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "is_floating_point", lambda _: False)
        checkpoint.write(path, _document(), weights)
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
