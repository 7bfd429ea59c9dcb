"""What runs write and read back: each document is one declared type. Needs no torch."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from genmnist.errors import GenmnistError
from genmnist.files import decode, read_bytes, write_bytes

Count = Annotated[int, Meta(ge=0, le=10**12)]
Positive = Annotated[int, Meta(ge=1, le=10**12)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]  # finite
Threads = Annotated[int, Meta(ge=1, le=1024)]
_MOST_METRICS = 1 << 26  # bytes, of half a million lines
Values = dict[str, Any]


class Config(msgspec.Struct, kw_only=True):
    """`config.json`: all that is needed to repeat a run."""

    family: str
    preset: str
    options: Values
    recipe: Values
    steps: Positive | None
    plan: Annotated[str, Meta(max_length=10_000)] = ""  # of those steps, where a budget has corrected them
    budget: Seconds | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    dataset: str  # or `own`, for one that was given from Python
    data_dir: str | None = None
    image_size: Positive | None = None
    colour: bool | None = None
    validation: Literal["held-out", "test"] = "test"  # as runs were before there was a choice
    data_checksum: str
    start: str | None = None  # the model whose weights it went on from
    device: str
    precision: Annotated[str, Meta(pattern="^(float32|bfloat16|float16)$")]
    threads: Threads  # at first
    ranks: Positive = 1  # processes that train
    balanced: bool = False  # the number of threads follows the machine
    compiled: bool = False
    deterministic: bool = False
    sample_every: Count
    save_every: Seconds
    sources: dict[str, str] = {}  # which plugin each part came from that is not genmnist's own
    versions: dict[str, str]
    machine: str
    command: list[str] = []


# What decides a run, besides its length: with any of it changed it would be another run.
_IDENTITY = (
    "family", "options", "recipe", "seed", "validation", "data_checksum", "start", "precision",
)  # fmt: skip


def identity(config: Config) -> Values:
    """Return what decides a run, by the names that its arguments have."""
    facts = {name: getattr(config, name) for name in _IDENTITY}
    return {**facts.pop("options"), **facts.pop("recipe"), **facts}


def identity_sum(config: Config) -> str:
    """Return a sum of what decides a run, by which a training state knows its configuration."""
    return hashlib.sha256(msgspec.json.encode(identity(config), order="sorted")).hexdigest()


class EpochMetrics(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A line of `metrics.jsonl`: an epoch in numbers, or a part of one.

    Attributes:
        epoch: how many had passed at its end; a whole number where it is one.
        losses: the further losses of validation by name; on disk each stands flat, as `val_<name>`.
    """

    epoch: Positive | Annotated[float, Meta(gt=0, le=1e12)]
    step: Positive
    train_loss: Number
    val_loss: Number
    lr: Number
    seconds: Seconds
    images_per_second: Number
    losses: dict[str, Number] = {}

    def flat(self) -> dict[str, float]:
        """Return the line as it stands on disk."""
        document: dict[str, float] = msgspec.structs.asdict(self)
        losses: Any = document.pop("losses")
        first = {name: document.pop(name) for name in ("epoch", "step", "train_loss", "val_loss")}
        return first | {f"val_{name}": value for name, value in losses.items()} | document

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Self:
        """Return what a line says. Raises msgspec.ValidationError if it is none."""
        known = {name: value for name, value in line.items() if name != "losses"}
        further = [name for name in known if name.startswith("val_") and name != "val_loss"]
        losses = {name.removeprefix("val_"): known.pop(name) for name in further}
        return msgspec.convert({**known, "losses": losses}, cls)


class Progress(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How far a training is: all that its state holds besides tensors."""

    step: Count
    steps: Positive
    seconds: Seconds
    count: Count  # steps since the epoch began
    epoch_seconds: Seconds
    history: list[EpochMetrics]
    threads: list[tuple[Count, Threads]] = []  # from which step on how many
    ranks: Positive = 1  # processes that trained
    run: str = ""  # the sum of what decides the run, by which a state knows its configuration
    # In float16 the factor that the loss is scaled by, and for how many steps no gradient has overflowed.
    scale: tuple[Annotated[float, Meta(ge=1e-30, le=1e300)], Count] | None = None


class Training(msgspec.Struct, kw_only=True, frozen=True):
    """How the weights in a checkpoint came about."""

    recipe: Values = {}
    seed: Annotated[int, Meta(ge=0)] | None = None
    dataset: str = "mnist"
    dataset_source: str = ""  # the plugin that has it, if one has
    data_dir: str | None = None
    image_size: Positive | None = None
    colour: bool | None = None
    validation: Literal["held-out", "test"] = "test"
    data_checksum: str = ""
    versions: dict[str, str] = {}
    machine: str = ""
    device: str = ""
    precision: str = ""
    start: str | None = None  # the model that it went on from
    average: Annotated[float, Meta(gt=0, lt=1)] | None = None  # its length, where they are one of a profile
    step: Count = 0
    steps: Count = 0
    seconds: Seconds = 0.0


class Header(msgspec.Struct, kw_only=True, frozen=True, tag_field="kind"):
    """What a checkpoint says of itself.

    Attributes:
        sources: which plugin each named part came from that is not genmnist's own.
    """

    format: Annotated[int, Meta(ge=1)]
    family: str
    preset: str
    options: Values
    version: str
    sources: dict[str, str] = {}


class ModelHeader(Header, tag="model", kw_only=True, frozen=True):
    """The header of a model."""

    training: Training = Training()
    metrics: dict[str, int | float] = {}


class StateHeader(Header, tag="state", kw_only=True, frozen=True):
    """The header of a training state."""

    progress: Progress


class Summary(msgspec.Struct, kw_only=True, frozen=True):
    """`summary.json`: what came of a run; its presence says that the run has finished."""

    family: str
    preset: str
    options: Values
    parameters: Positive
    steps: Positive
    seed: int
    dataset: str
    device: str
    precision: str
    seconds: Seconds
    plan: str = ""  # what `steps` takes to repeat the run, where a budget has corrected their number
    threads: list[tuple[Count, Threads]] = []  # from which step on it computed with how many
    ranks: Positive = 1  # processes that trained, at last
    metrics: dict[str, int | float]


def quoted_loss(metrics: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name of the loss by which a model is quoted, and its value, if these metrics have it.

    Where there is an ELBO it is that, which two runs share whatever weights their objectives have.
    """
    if metrics.keys() >= {"val_reconstruction", "val_kl"}:
        return "negative ELBO", metrics["val_reconstruction"] + metrics["val_kl"]
    return "validation loss", metrics.get("val_loss")


def read_metrics(path: Path) -> list[EpochMetrics]:
    """Return the metrics of every epoch in a file, none if it is not there.

    Raises:
        GenmnistError: it is damaged.
    """
    if not path.exists():
        return []
    mend = "resume the run to have it written again"
    try:
        lines = io.BytesIO(read_bytes(path, _MOST_METRICS, mend))
        return [EpochMetrics.of(decode(line, dict[str, Any])) for line in lines]
    except (ValueError, OverflowError) as error:  # msgspec's errors are ValueErrors
        raise GenmnistError(f"{path} is damaged: {mend}") from error


def write_metrics(path: Path, history: list[EpochMetrics]) -> None:
    """Write a line an epoch, whole or not at all. Raises GenmnistError if that fails."""
    write_bytes(path, b"".join(msgspec.json.encode(line.flat()) + b"\n" for line in history))
