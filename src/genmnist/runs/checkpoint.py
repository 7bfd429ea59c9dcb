"""One safe file in, one safe file out: weights and what they are, in one safetensors file.

The file's header carries a JSON document under the key `genmnist` and the SHA-256 sum of everything under
the key `sha256`; the tensors follow. Reading believes nothing: sizes are checked before memory is taken, the
sum against the contents, options against their bounds, every tensor's name, shape and type against the model
that the options describe, and every number must be finite. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec
import safetensors.torch
import torch
from torch import Tensor, nn

from genmnist.errors import GenmnistError, UsageError
from genmnist.files import decode, opened, read_into, write_bytes
from genmnist.models import Model
from genmnist.options import Options
from genmnist.registry import FAMILIES, Registry, UnknownNameError
from genmnist.runs.documents import Header, ModelHeader, Progress, StateHeader, Training
from genmnist.version import __version__

FORMAT = 1
_MAX_HEADER = 1 << 24
_MAX_BYTES = 1 << 31
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_AT_ONCE = 1 << 20  # numbers that are looked at together
# What a tensor's type is called in a file.
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


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


def write(path: Path, header: Header, tensors: dict[str, Tensor], former: Path | None = None) -> None:
    """Write a file, whole or not at all; `former` is where the one before it is kept, if it is.

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
    write_bytes(path, safetensors.torch.save(contiguous, metadata), former)


def read(path: Path) -> tuple[ModelHeader | StateHeader, dict[str, Tensor]]:
    """Read a file that may be anything. Raises GenmnistError, in one sentence, for whatever it is not."""
    with _open(path) as stored:
        return stored.header, stored.tensors()


def header(path: Path) -> ModelHeader | StateHeader:
    """Return what a file says of itself, before its tensors are looked at. Raises GenmnistError as `read`."""
    with _open(path) as stored:
        return stored.header


def save(path: Path, model: Model, preset: str, training: Training, metrics: dict[str, float]) -> None:
    """Write a model's weights and what they are. Raises GenmnistError as `write` does."""
    write(
        path, ModelHeader(**describe(model, preset), training=training, metrics=metrics), model.state_dict()
    )


def save_state(
    path: Path, former: Path, model: Model, preset: str, progress: Progress, tensors: dict[str, Tensor]
) -> None:
    """Write the state of a training, and keep the one before. Raises GenmnistError as `write` does."""
    write(path, StateHeader(**describe(model, preset), progress=progress), tensors, former)


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
    with _open(path) as stored:
        return _load(stored, family, network)


def _load(stored: _Stored, family: str | None, network: nn.Module | None) -> tuple[Model, ModelHeader]:
    path, header = stored.path, stored.header
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
        check(model, stored.forms, path)  # before any memory is taken for them
        assign(model, stored.tensors(), path)
    except GenmnistError as error:
        if own:
            reason = str(error).rpartition("damaged: ")[2]
            raise UsageError(f"the `network` given is not the one of {path}: {reason}") from error
        raise
    model.trained = header.training
    return model.eval(), header


def weights_sum(model: Model) -> str:
    """Return the SHA-256 sum of a model's weights."""
    return _sum("", {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})


def family_options(header: Header) -> Options:
    """Return the options of the model that a header describes. Raises UsageError if they do not fit."""
    return FAMILIES[header.family].options.of(header.options)


def assign(model: Model, tensors: dict[str, Tensor], path: Path) -> None:
    """Give a model the weights read from `path`. Raises GenmnistError unless every one is there and fits."""
    check(model, {name: _form(tensor) for name, tensor in tensors.items()}, path)
    floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    model.load_state_dict(floats, assign=True)


def check(model: Model, forms: Mapping[str, Form], path: Path) -> None:
    """Raise GenmnistError unless these are the forms of a model's weights."""
    expected = model.state_dict()
    if forms.keys() != expected.keys():
        stray = sorted(forms.keys() ^ expected.keys())
        raise _damaged(path, f"it lacks or should not have {len(stray)} tensors, such as {stray[0]!r}")
    for name, form in sorted(forms.items()):
        wanted = Form(expected[name].dtype, tuple(expected[name].shape))
        types = _FLOATS if wanted.dtype.is_floating_point else (wanted.dtype,)
        if form.shape != wanted.shape or form.dtype not in types:
            raise _damaged(path, f"{name} is {form} where the model has {wanted}")


class Form(NamedTuple):
    """The type and the shape of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}{list(self.shape)}"

    @property
    def size(self) -> int:
        """Return how many bytes such a tensor has."""
        return math.prod(self.shape) * self.dtype.itemsize


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the header of a safetensors file says of a tensor."""

    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0, le=_MAX_BYTES)], ...]
    data_offsets: tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]]


class _Stored:
    """An open file, of which the header is read and believed to be one; its tensors are still on the disk."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_BYTES:
            raise GenmnistError(
                f"{path} is larger than {_MAX_BYTES >> 20:,} MiB: it is no genmnist checkpoint"
            )
        length = int.from_bytes(file.read(8), "little")
        if size < 8:
            raise _damaged(path, "it is too short")
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise _damaged(path, "it is truncated or no safetensors file")
        self.start = 8 + length
        text = file.read(length)
        try:
            parts = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            metadata = decode(bytes(parts.pop("__metadata__")), dict[str, str])
            self.text, self.stated = metadata["genmnist"], metadata["sha256"]
            entries = {name: decode(bytes(part), _Entry) for name, part in parts.items()}
            self.forms = {name: Form(_TYPES[one.dtype], one.shape) for name, one in entries.items()}
        except (ValueError, KeyError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise _damaged(path, "its header is not one that this genmnist writes") from error
        self.header = _header(path, self.text)
        self.places: dict[str, int] = {}
        place = 0
        for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
            if entry.data_offsets != (place, place + self.forms[name].size):
                raise _damaged(path, f"the place of {name} is not where its header says")
            self.places[name], place = self.start + place, entry.data_offsets[1]
        if place != size - self.start:
            raise _damaged(path, "it is truncated, or longer than its header says")

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors. Raises GenmnistError unless they have the sum stated and are finite."""
        digest = hashlib.sha256(self.text.encode())
        for name in sorted(self.forms):  # first without memory for them: most files that are damaged end here
            digest.update(f"{name} {self.forms[name]}".encode())
            self._hash(name, digest)
        if digest.hexdigest() != self.stated:
            raise _damaged(self.path, "its contents do not have the sum that it states")
        return {name: self._tensor(name) for name in sorted(self.forms)}

    def _hash(self, name: str, digest: Any) -> None:
        self.file.seek(self.places[name])
        left = self.forms[name].size
        while left:
            piece = self.file.read(min(left, _AT_ONCE))
            if not piece:
                raise _damaged(self.path, "it is truncated")
            digest.update(piece)
            left -= len(piece)

    def _tensor(self, name: str) -> Tensor:
        form = self.forms[name]
        content = torch.empty(form.size, dtype=torch.uint8)
        self.file.seek(self.places[name])
        if not read_into(self.file, content.numpy().data):
            raise _damaged(self.path, "it is truncated")
        flat = content.view(form.dtype)
        finite = not form.dtype.is_floating_point or all(
            bool(part.isfinite().all()) for part in flat.split(_AT_ONCE)
        )
        if not finite:
            raise _damaged(self.path, f"{name} holds numbers that are not finite")
        return flat.reshape(form.shape)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[_Stored]:
    """Open a file that may be anything, and read its header. Raises GenmnistError for whatever it is not."""
    with opened(path, "it is no genmnist checkpoint") as file:
        yield _Stored(path, file)


def _header(path: Path, text: str) -> ModelHeader | StateHeader:
    try:
        form = decode(text, _Format).format
        if form > FORMAT:
            raise GenmnistError(f"{path} was written by a newer genmnist (format {form}): upgrade to read it")
        header: ModelHeader | StateHeader = decode(text, ModelHeader | StateHeader)
        return header
    except (ValueError, OverflowError) as error:
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


def _form(tensor: Tensor) -> Form:
    return Form(tensor.dtype, tuple(tensor.shape))
