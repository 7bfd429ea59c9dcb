"""The documents of a run: each is one type, strictly read; those of before are read too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import genmnist
from genmnist.data import load
from genmnist.errors import GenmnistError
from genmnist.families import Recipe
from genmnist.families.ddpm import DiffusionOptions
from genmnist.files import read_document, write_document
from genmnist.runs.documents import (
    Config,
    EpochMetrics,
    Progress,
    Summary,
    read_metrics,
    write_metrics,
)
from genmnist.runs.folder import Run
from small_runs import train

# What genmnist 0.1.0 wrote, before images were held out and before schedules had two names.
OLD_CONFIG: dict[str, Any] = {
    "family": "ddpm",
    "preset": "fast",
    "options": {
        "size": "tiny", "width": 0, "blocks": 0, "patch": 0, "noise": "straight", "timesteps": 1000,
        "target": "flow", "times": "logit-normal", "weight": "simple",
    },
    "recipe": {
        "epochs": 20.0, "batch_size": 64, "lr": 0.003, "optimizer": "muon", "weight_decay": 0.0,
        "schedule": "cosine", "drop": 0.1, "drop_every": 0.5, "warmup": 0.02, "clip": 0.0, "ema": 0.999,
    },
    "steps": 2,
    "budget": None,
    "seed": 0,
    "dataset": "mnist",
    "data_dir": None,
    "device": "cpu",
    "precision": "bfloat16",
    "threads": 1,
    "compiled": False,
    "sample_every": 0,
    "save_every": 20.0,
    "data_checksum": "1e35582d42a90940c55b956deb61875c020b567ed20e3c5b174f52bf7809ed9b",
    "versions": {"genmnist": "0.1.0", "torch": "2.15.0+cu132", "python": "3.11.7"},
    "machine": "2 cores of AMD EPYC, 1 threads",
    "command": ["genmnist", "train", "ddpm"],
}  # fmt: skip
LINE: dict[str, Any] = {
    "epoch": 1, "step": 2, "train_loss": 1.8861358165740967, "val_loss": 1.81798654794693,
    "val_epsilon": 0.5281485915184021, "lr": 0.0015480773663574831, "seconds": 1.571,
    "images_per_second": 504.1,
}  # fmt: skip
OLD_SUMMARY: dict[str, Any] = {
    "family": "ddpm", "preset": "fast", "options": OLD_CONFIG["options"], "parameters": 110113, "steps": 2,
    "seed": 0, "dataset": "mnist", "device": "cpu", "precision": "bfloat16", "seconds": 1.57, "metrics": LINE,
}  # fmt: skip


def written(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), "utf-8")
    return path


# Documents of before


def test_an_old_configuration_is_read(tmp_path: Path) -> None:
    run = Run(tmp_path)
    written(run.config_file, OLD_CONFIG)
    config = run.config
    for name, value in OLD_CONFIG.items():
        assert getattr(config, name) == value, name
    assert (config.validation, config.deterministic, config.sources) == ("test", False, {})
    assert (config.image_size, config.colour) == (None, None)
    options = DiffusionOptions.of(config.options)
    assert (options.noise_schedule, options.network, options.shape) == ("straight", "unet", (1, 28, 28))
    recipe = Recipe.of(config.recipe)
    assert (recipe.lr_schedule, recipe.lr_drop, recipe.lr_drop_every) == ("cosine", 0.1, 0.5)


def test_a_run_with_an_old_configuration_is_taken_up(tmp_path: Path, idx_folder: Path) -> None:
    """It was validated on the test images, and is so to its end."""
    checksum = load(data_dir=idx_folder).checksum()
    own = {"data_dir": str(idx_folder), "data_checksum": checksum, "precision": "float32"}
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    written(run.config_file, OLD_CONFIG | own)
    genmnist.resume(run.folder)
    assert (run.summary.steps, run.metrics[-1].step) == (2, 2)
    model = genmnist.load("ddpm", run, device="cpu")
    assert model.options.noise_schedule == "straight"
    assert model.trained is not None
    assert model.trained.validation == "test"


def test_an_old_summary_and_old_metrics_are_read(tmp_path: Path) -> None:
    run = Run(tmp_path)
    written(run.summary_file, OLD_SUMMARY)
    assert msgspec.structs.asdict(run.summary) == OLD_SUMMARY | {"plan": "", "threads": [], "ranks": 1}
    run.metrics_file.write_text(json.dumps(LINE) + "\n", "utf-8")
    (line,) = run.metrics
    assert line.flat() == LINE
    assert line.losses == {"epsilon": LINE["val_epsilon"]}


# Documents come back as they went


def test_documents_come_back(tmp_path: Path, idx_folder: Path) -> None:
    run = train(tmp_path / "run", idx_folder, steps=3, sample_every=0, seed=2**63 - 1)
    for kind, document, path in (
        (Config, run.config, run.config_file),
        (Summary, run.summary, run.summary_file),
    ):
        copy = tmp_path / path.name
        write_document(copy, document)
        assert copy.read_bytes() == path.read_bytes()
        assert read_document(copy, kind, "") == document
        # For people to read, and for any other tool.
        assert path.read_text("utf-8").startswith('{\n  "family": "vae",\n')
        assert json.loads(path.read_text("utf-8")) == json.loads(json.dumps(msgspec.to_builtins(document)))
    assert run.config.seed == 2**63 - 1


def test_metrics_come_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    plain = {name: value for name, value in LINE.items() if name != "val_epsilon"}
    history = [EpochMetrics.of(line) for line in (plain, LINE, LINE | {"val_kl": -0.5})]
    write_metrics(path, history)
    assert read_metrics(path) == history
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        plain, LINE, LINE | {"val_kl": -0.5},
    ]  # fmt: skip
    assert [*history[1].flat()][:5] == ["epoch", "step", "train_loss", "val_loss", "val_epsilon"]
    write_metrics(path, [])
    assert read_metrics(path) == []


# Damaged ones

ABSENT = object()


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, ABSENT) for name in OLD_CONFIG if name not in ("budget", "data_dir", "compiled", "command")]
    + [
        ("family", 3), ("family", None), ("preset", ["fast"]), ("options", []), ("options", None),
        ("recipe", "fast"), ("steps", 0), ("steps", "2"), ("steps", 2.5), ("steps", True), ("steps", 10**13),
        ("budget", -1), ("budget", "600"), ("plan", 5000), ("balanced", 1),
        ("seed", -1), ("seed", 0.5), ("seed", 2**63), ("seed", False),
        ("dataset", 1), ("data_dir", 1), ("image_size", 0), ("colour", 1), ("validation", "train"),
        ("data_checksum", None), ("device", 0), ("precision", "auto"), ("precision", "float64"),
        ("threads", 0), ("threads", 10**6), ("threads", "1"), ("compiled", 1), ("deterministic", "no"),
        ("sample_every", -1), ("sample_every", 0.5), ("save_every", -1.0), ("save_every", "often"),
        ("save_every", float("nan")), ("save_every", float("inf")), ("sources", ["x"]),
        ("versions", {"a": 1}), ("machine", 2), ("command", "genmnist"), ("command", [1]),
    ],
)  # fmt: skip
def test_configurations_are_strictly_read(name: str, value: object, tmp_path: Path) -> None:
    run = Run(tmp_path)
    document = {**OLD_CONFIG, name: value}
    if value is ABSENT:
        del document[name]
    written(run.config_file, document)
    _damaged(run, "config", "config.json is damaged: it is not what genmnist writes there")


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, ABSENT) for name in OLD_SUMMARY]
    + [
        ("parameters", 0), ("parameters", 1.5), ("steps", None), ("seed", "0"), ("seconds", -1),
        ("seconds", float("inf")), ("metrics", [LINE]), ("metrics", {"val_loss": None}),
        ("metrics", {"val_loss": float("nan")}),
    ],
)  # fmt: skip
def test_summaries_are_strictly_read(name: str, value: object, tmp_path: Path) -> None:
    run = Run(tmp_path)
    document = {**OLD_SUMMARY, name: value}
    if value is ABSENT:
        del document[name]
    written(run.summary_file, document)
    _damaged(run, "summary", "summary.json is damaged: resume the run to have it written again")


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, ABSENT) for name in LINE if name != "val_epsilon"]
    + [
        ("epoch", 0), ("epoch", -1.5), ("epoch", "1"), ("step", "2"), ("step", True), ("train_loss", None),
        ("val_loss", "low"), ("val_loss", float("nan")), ("val_epsilon", float("inf")),
        ("val_epsilon", [1]), ("lr", {}),
        ("seconds", -1), ("seconds", 1e13), ("images_per_second", float("-inf")), ("train_loss", 1e301),
    ],
)  # fmt: skip
def test_metrics_are_strictly_read(name: str, value: object, tmp_path: Path) -> None:
    run = Run(tmp_path)
    line = {**LINE, name: value}
    if value is ABSENT:
        del line[name]
    run.metrics_file.write_text(f"{json.dumps(LINE)}\n{json.dumps(line)}\n", "utf-8")
    _damaged(run, "metrics", "metrics.jsonl is damaged: resume the run to have it written again")


@pytest.mark.parametrize("document", ["config", "summary", "metrics"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"null", b"3", b'"x"', b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 100_000,
     b'{"steps": 1' + b"0" * 5000 + b"}", b"NaN"],
    ids=["empty", "open", "list", "bare", "null", "number", "text", "not UTF-8", "deep", "deep too", "huge",
         "NaN"],
)  # fmt: skip
def test_whatever_else_a_file_may_be(document: str, content: bytes, tmp_path: Path) -> None:
    run = Run(tmp_path)
    files = {"config": run.config_file, "summary": run.summary_file, "metrics": run.metrics_file}
    files[document].write_bytes(content)
    if document == "metrics" and not content:
        assert run.metrics == []
    else:
        _damaged(run, document, f"{files[document]} is damaged")


@pytest.mark.parametrize("document", ["config", "summary", "metrics"])
def test_what_is_no_file_is_not_read(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    files = {"config": run.config_file, "summary": run.summary_file, "metrics": run.metrics_file}
    files[document].mkdir()
    _damaged(run, document, "is no regular file")
    files[document].rmdir()
    with files[document].open("wb") as file:
        file.truncate((1 << 28) + 1)  # of which the disk holds nothing
    _damaged(run, document, "is larger than")


def _damaged(run: Run, document: str, sentence: str) -> None:
    with pytest.raises(GenmnistError) as caught:
        getattr(run, document)
    assert sentence in str(caught.value)
    assert str(run.folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"step": -1}, {"steps": 0}, {"count": -1}, {"count": 0.5}, {"seconds": -1.0}, {"history": [{}]},
     {"history": "x"}, {"scale": [0.0, 1]}, {"scale": [1.0, -1]}, {"scale": [1.0]}, {"scale": 3},
     {"epoch_seconds": None}, {"threads": [[0]]}, {"threads": [[-1, 1]]}, {"threads": [[0, 0]]}],
)  # fmt: skip
def test_progress_is_strictly_read(change: dict[str, Any]) -> None:
    plain = {"step": 2, "steps": 4, "seconds": 0.5, "count": 2, "epoch_seconds": 0.5, "history": []}
    read = msgspec.json.decode(json.dumps(plain), type=Progress)
    assert msgspec.to_builtins(read) == plain | {"scale": None, "threads": [], "ranks": 1, "run": ""}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(plain | change), type=Progress)
