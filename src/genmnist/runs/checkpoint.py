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
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from genmnist.errors import GenmnistError, UsageError
from genmnist.files import read_bytes, write_bytes
from genmnist.models import Model
from genmnist.options import Options
from genmnist.registry import FAMILIES, Registry, UnknownNameError
from genmnist.runs.documents import Header, ModelHeader, Progress, StateHeader, Training
from genmnist.version import __version__

FORMAT = 1
_MAX_HEADER = 1 << 24
_MAX_BYTES = 1 << 31
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def describe(model: Model, preset: str) -> dict[str, Any]:
    """Return what the header of every file of a model says."""
    return {
        "format": FORMAT, "family": model.family, "preset": preset, "options": model.options.asdict(),
        "version": __version__, "sources": sources(model),
    }  # fmt: skip


def sources(model: Model) -> dict[str, str]:
    """Return which plugin each named part of a model came from that is not genmnist's own."""
    parts = _parts(model.family, model.options)
    found = {f"{registry.kind} {name}": registry.origin(name) for registry, name in parts}
    found["network own"] = model.network_origin
    return {part: origin for part, origin in found.items() if origin}


def _parts(family: str, options: Options) -> list[tuple[Registry[Any], str]]:
    """Return the registry and the name of every named part of a model."""
    return [(FAMILIES, family), *options.named()]


def unknown(path: Path, error: UnknownNameError, origins: Mapping[str, str]) -> UsageError:
    """Say which plugin a file needs, whose part nobody has registered; a file alone never imports code."""
    origin = origins.get(f"{error.kind} {error.name}", "")
    plugin = (
        f"from {origin:.200}: give it as `plugin`" if origin else "that nothing here has: give its `plugin`"
    )
    return UsageError(f"{path} needs the {error.kind} {error.name!r:.60} {plugin}")


def write(path: Path, header: Header, tensors: dict[str, Tensor]) -> None:
    """Write a file, whole or not at all.

    Raises:
        GenmnistError: a number is not finite, or the file cannot be written.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise GenmnistError(
                f"{path} was not written: {name} is no longer finite; train with a lower `lr`"
            )
    text = msgspec.json.encode(header).decode()
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"genmnist": text, "sha256": _sum(text, contiguous)}
    write_bytes(path, safetensors.torch.save(contiguous, metadata))


def read(path: Path) -> tuple[ModelHeader | StateHeader, dict[str, Tensor]]:
    """Read a file that may be anything. Raises GenmnistError, in one sentence, for whatever it is not."""
    content = read_bytes(path, _MAX_BYTES, "it is no genmnist checkpoint")
    text, stated = _metadata(path, content)
    header = _header(path, text)
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise _damaged(path, f"its tensors cannot be read: {error}") from error
    if _sum(text, tensors) != stated:
        raise _damaged(path, "its contents do not have the sum that it states")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise _damaged(path, f"{name} holds numbers that are not finite")
    return header, tensors


def save(path: Path, model: Model, preset: str, training: Training, metrics: dict[str, float]) -> None:
    """Write a model's weights and what they are. Raises GenmnistError as `write` does."""
    write(
        path, ModelHeader(**describe(model, preset), training=training, metrics=metrics), model.state_dict()
    )


def save_state(path: Path, model: Model, preset: str, progress: Progress, tensors: dict[str, Tensor]) -> None:
    """Write the state of a training. Raises GenmnistError as `write` does."""
    write(path, StateHeader(**describe(model, preset), progress=progress), tensors)


def load(
    path: Path, family: str | None = None, network: nn.Module | None = None
) -> tuple[Model, ModelHeader]:
    """Build the model that a file describes and give it the file's weights, in float32 on the CPU.

    Args:
        path: a file that `save` wrote.
        family: the family it must be of, if that matters.
        network: the network, of a model that was trained with one from Python.

    Raises:
        UsageError: it needs a plugin, or a network, that was not given.
        GenmnistError: it is of another family, or anything but such a file.
    """
    header, tensors = read(path)
    if not isinstance(header, ModelHeader):
        raise GenmnistError(f"{path} is a training state, not a model: name its run folder, {path.parent}")
    if family and header.family != family:
        raise GenmnistError(
            f"{path} holds a {header.family:.40}, not a {family}: take the command for {header.family:.40}, "
            "or another file"
        )
    own = header.options.get("network") == "own"
    if network is not None and not own:
        raise UsageError(f"{path} says itself which network it has: leave `network` out")
    if own and network is None:
        given = header.sources.get("network own", "given from Python")
        raise UsageError(
            f"{path} has a network of its owner's, {given:.200}: load it by genmnist.load with the network "
            "given; for the command line register the network in a plugin and train again"
        )
    try:
        options = family_options(header)
        if own:
            model = FAMILIES[header.family].model_class(options, network)
        else:
            # Ours take no numbers but those of the file; of a plugin's own module nobody knows what it makes.
            foreign = any(registry.origin(name) for registry, name in _parts(header.family, options))
            with torch.random.fork_rng(devices=()) if foreign else torch.device("meta"):
                model = FAMILIES[header.family].model_class(options)
    except UnknownNameError as error:
        raise unknown(path, error, header.sources) from error
    except UsageError as error:
        raise _damaged(path, f"its options make no sense: {error}") from error
    try:
        assign(model, tensors, path)
    except GenmnistError as error:
        if own:
            reason = str(error).rpartition("damaged: ")[2]
            raise UsageError(f"the `network` given is not the one of {path}: {reason}") from error
        raise
    model.trained = header.training
    return model.eval(), header


def family_options(header: Header) -> Options:
    """Return the options of the model that a header describes. Raises UsageError if they do not fit."""
    return FAMILIES[header.family].options.of(header.options)


def assign(model: Model, tensors: dict[str, Tensor], path: Path) -> None:
    """Give a model the weights read from `path`. Raises GenmnistError unless every one is there and fits."""
    expected = model.state_dict()
    if tensors.keys() != expected.keys():
        stray = sorted(tensors.keys() ^ expected.keys())
        raise _damaged(path, f"it lacks or should not have {len(stray)} tensors, such as {stray[0]!r}")
    for name, tensor in sorted(tensors.items()):
        floats = expected[name].is_floating_point()
        if tensor.shape != expected[name].shape or (
            tensor.dtype not in _FLOATS if floats else tensor.dtype != expected[name].dtype
        ):
            raise _damaged(path, f"{name} is {_form(tensor)} where the model has {_form(expected[name])}")
    floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    model.load_state_dict(floats, assign=True)


def _metadata(path: Path, content: bytes) -> tuple[str, str]:
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
        raise _damaged(path, "its header is not one that this genmnist writes") from error


def _header(path: Path, text: str) -> ModelHeader | StateHeader:
    try:
        form = msgspec.json.decode(text, type=_Format).format
        if form > FORMAT:
            raise GenmnistError(f"{path} was written by a newer genmnist (format {form}): upgrade to read it")
        return msgspec.json.decode(text, type=ModelHeader | StateHeader)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise _damaged(path, "its header is not one that this genmnist writes") from error


class _Format(msgspec.Struct):
    format: Annotated[int, msgspec.Meta(ge=1, le=10**6)]


def _sum(text: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 sum of a file's JSON text and of its tensors, whatever their order in the file."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {_form(tensors[name])}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _damaged(path: Path, why: str) -> GenmnistError:
    lines = why.splitlines()
    return GenmnistError(f"{path} is not a genmnist checkpoint, or is damaged: {lines[0][:200]}")


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
