"""One safe file in, one safe file out: weights and what they are, in one safetensors file.

The file's header carries a JSON document under the key `genmnist` and the SHA-256 sum of everything under
the key `sha256`; the tensors follow. Reading believes nothing: sizes are checked before memory is taken, the
sum against the contents, options against their bounds, every tensor's name, shape and type against the model
that the options describe, and every number must be finite. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from genmnist.errors import GenmnistError, UsageError
from genmnist.files import write_bytes
from genmnist.models import FAMILIES, Model
from genmnist.version import __version__

FORMAT = 1
_MAX_HEADER = 1 << 24
_MAX_BYTES = 1 << 31
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


@dataclass
class Document:
    """What a file says of itself: its kind (`model` or `state`), the model, and how it came about."""

    kind: str
    family: str
    preset: str
    options: dict[str, Any]
    version: str = __version__
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


def write(path: Path, document: Document, tensors: dict[str, Tensor]) -> None:
    """Write a file, whole or not at all.

    Raises:
        GenmnistError: a number is not finite, or the file cannot be written.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise GenmnistError(
                f"{path} was not written: {name} is no longer finite; train with a lower --lr"
            )
    text = json.dumps({"format": FORMAT, **vars(document)})
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"genmnist": text, "sha256": _sum(text, contiguous)}
    write_bytes(path, safetensors.torch.save(contiguous, header))


def read(path: Path) -> tuple[Document, dict[str, Tensor]]:
    """Read a file that may be anything. Raises GenmnistError, in one sentence, for whatever it is not."""
    content = _content(path)
    text, stated = _header(path, content)
    document = _document(path, text)
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise _damaged(path, f"its tensors cannot be read: {error}") from error
    if _sum(text, tensors) != stated:
        raise _damaged(path, "its contents do not have the sum that it states")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise _damaged(path, f"{name} holds numbers that are not finite")
    return document, tensors


def save(path: Path, model: Model, preset: str, training: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write a model's weights and what they are. Raises GenmnistError as `write` does."""
    document = Document(
        "model", model.family, preset, model.options.asdict(), training=training, metrics=metrics
    )
    write(path, document, model.state_dict())


def load(path: Path, family: str | None = None) -> tuple[Model, Document]:
    """Build the model that a file describes and give it the file's weights, in float32 on the CPU.

    Args:
        path: a file that `save` wrote.
        family: the family it must be of, if that matters.

    Raises:
        GenmnistError: it is of another family, or anything but such a file.
    """
    document, tensors = read(path)
    if document.kind != "model":
        raise GenmnistError(f"{path} is a training state, not a model: name its run folder, {path.parent}")
    if family and document.family != family:
        raise GenmnistError(f"{path} holds a {document.family}, not a {family}: choose another --model")
    try:
        with torch.device("meta"):
            model = FAMILIES[document.family].from_options(document.options)
    except UsageError as error:
        raise _damaged(path, f"its options make no sense: {error}") from error
    assign(model, tensors, path)
    return model.eval(), document


def assign(model: Model, tensors: dict[str, Tensor], path: Path) -> None:
    """Give a model the weights read from `path`. Raises GenmnistError unless every one is there and fits."""
    expected = model.state_dict()
    if tensors.keys() != expected.keys():
        stray = sorted(tensors.keys() ^ expected.keys())
        raise _damaged(path, f"it lacks or should not have {len(stray)} tensors, such as {stray[0]!r}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or tensor.dtype not in _FLOATS:
            raise _damaged(path, f"{name} is {_form(tensor)} where the model has {_form(expected[name])}")
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise _damaged(path, "it is no regular file")
        if path.stat().st_size > _MAX_BYTES:
            raise _damaged(path, f"it is larger than {_MAX_BYTES >> 20:,} MiB")
        return path.read_bytes()
    except OSError as error:
        raise GenmnistError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _header(path: Path, content: bytes) -> tuple[str, str]:
    """Return the JSON text and the sum that a file's header carries."""
    if len(content) < 8:
        raise _damaged(path, "it is too short")
    (length,) = struct.unpack("<Q", content[:8])
    if not 2 <= length <= min(_MAX_HEADER, len(content) - 8):
        raise _damaged(path, "it is truncated or no safetensors file")
    try:
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        return str(metadata["genmnist"]), str(metadata["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, "its header is not one that genmnist wrote") from error


def _document(path: Path, text: str) -> Document:
    try:
        fields = json.loads(text, parse_constant=_refuse)
        form = fields.pop("format")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, "its header is not one that genmnist wrote") from error
    if not isinstance(form, int) or form > FORMAT:
        raise GenmnistError(
            f"{path} was written by a newer genmnist (format {form!r:.20}): upgrade to read it"
        )
    kinds = {"kind": str, "family": str, "preset": str, "options": dict, "version": str, "training": dict,
             "metrics": dict}  # fmt: skip
    if fields.keys() != kinds.keys() or not all(isinstance(fields[key], kind) for key, kind in kinds.items()):
        raise _damaged(path, "its header lacks what genmnist writes there")
    if fields["family"] not in FAMILIES:
        raise GenmnistError(
            f"{path} holds a {fields['family']!r:.40}, a family that this genmnist does not know"
        )
    return Document(**fields)


def _sum(text: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 sum of a file's JSON text and of its tensors, whatever their order in the file."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {_form(tensors[name])}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _damaged(path: Path, why: str) -> GenmnistError:
    lines = why.splitlines()
    return GenmnistError(f"{path} is not a genmnist checkpoint, or is damaged: {lines[0][:200]}")


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
