"""What the tests share: the data, a small model, and a way to run commands as users do."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

# Every annotated shape is a test: whatever the tests call is checked as it is called. Modules that have none
# are left alone, because each check takes its time.
_SOURCES = Path(__file__).parents[1] / "src"
install_import_hook(
    [
        ".".join(path.relative_to(_SOURCES).with_suffix("").parts)
        for path in _SOURCES.rglob("*.py")
        if "from jaxtyping import" in path.read_text("utf-8")
    ],
    "typechecked.typechecked",
)

import torch
from PIL import Image

import forked
from genmnist import data
from genmnist.data import Dataset, Splits
from genmnist.device import choose_device
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE

CPU = choose_device("cpu")
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)  # tests run side by side; threads that wait for each other would only get in the way


@dataclass
class Finished:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document


Command = Callable[..., Finished]


def program(place: str, needs: str = "genmnist") -> Any:
    """Import a program beside the package, such as bench/busy.py; skip where what it needs is not here."""
    pytest.importorskip(needs)
    path = Path(__file__).parents[1] / place
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


_WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from genmnist.cli import main; main()"


def environment(folder: Path) -> dict[str, str]:
    """Return the variables that a command under test finds, besides ours."""
    return {"COLUMNS": "200", "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data")}  # fmt: skip


@pytest.fixture
def genmnist(tmp_path: Path) -> Command:
    """Run genmnist in a fresh folder and a process of its own."""

    def run(*words: object, importing: bool = True, largest_file: int | None = None) -> Finished:
        """Run a command.

        Where it must not be `importing` torch, the attempt is an error. It can write files of `largest_file`
        bytes only, as if the disk were full then.
        """
        if importing:
            status = forked.run([*map(str, words)], tmp_path, environment(tmp_path), 240, largest_file)
            out, err = (Path(f"{tmp_path}.{name}").read_text("utf-8") for name in ("out", "err"))
            return Finished(status, out, err)
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT_TORCH, *map(str, words)],
            cwd=tmp_path, env=os.environ | environment(tmp_path), capture_output=True, text=True, timeout=240,
            check=False,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


def slow(*cases: object) -> list[Any]:
    """Return cases of a parametrised test, the values of several parameters as tuples, that are slow."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in cases
    ]


def one_sentence(done: Finished, status: int) -> str:
    """Check that a command failed with one sentence and nothing else, and return the sentence."""
    assert done.status == status, done.err
    assert "Traceback" not in done.err
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("genmnist: ")
    return lines[0]


def picture(path: Path) -> Image.Image:
    """Open a picture and check that it shows something."""
    with Image.open(path) as image:
        image.load()
        copy = image.convert("L")
    low, high = copy.getextrema()
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    assert high - low > 100
    return copy


def metadata(path: Path) -> dict[str, str]:
    """Return what a PNG or GIF says of how it was made."""
    with Image.open(path) as image:
        image.load()
        if isinstance(comment := image.info.get("comment"), bytes):
            lines = (line.partition(": ") for line in comment.decode().splitlines())
            return {name: text for name, _, text in lines}
        return {str(name): text for name, text in image.info.items() if isinstance(text, str)}


@pytest.fixture(scope="session")
def mnist() -> Splits:
    return data.load()


@pytest.fixture(scope="session")
def few(mnist: Splits) -> Splits:
    """A thousand images to train on, five hundred to validate on and five hundred to test on."""

    def first(part: Dataset, count: int) -> Dataset:
        return Dataset(part.name, part.images[:count], part.labels[:count])

    return Splits(first(mnist.train, 1000), first(mnist.validation, 500), first(mnist.test, 500))


@pytest.fixture
def small_vae() -> VAE:
    torch.manual_seed(0)
    return VAE(VAEOptions(hidden=32, latent=4)).place(CPU, "float32")


def write_digits(folder: Path, few: Splits) -> Path:
    """Write a folder of IDX files, as `--data-dir` takes it, small enough to train on in no time."""
    folder.mkdir()
    for part, prefix in ((few.train, "train"), (few.test, "t10k")):
        data.write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", part.images.numpy())
        data.write_idx(folder / f"{prefix}-labels-idx1-ubyte", part.labels.numpy().astype("uint8"))
    return folder


@pytest.fixture
def idx_folder(tmp_path: Path, few: Splits) -> Path:
    """A folder of a thousand digits to train on and five hundred to test on."""
    return write_digits(tmp_path / "digits", few)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, few: Splits) -> Callable[..., Path]:
    """Train a family for two epochs by its command, once for all tests; returns the run folder."""

    @functools.cache
    def train(family: str, *options: object) -> Path:
        folder = tmp_path_factory.mktemp(family)
        digits = write_digits(folder / "digits", few)
        words = ("train", family, "--data-dir", digits, "--epochs", 2, "--out", "run", *options)
        status = forked.run([*map(str, words)], folder, environment(folder), 240)
        assert status == 0, Path(f"{folder}.err").read_text("utf-8")
        return folder / "run"

    return train


SMALL_VAE = ("--hidden", 16, "--latent", 4, "--device", "cpu")


@pytest.fixture
def vae_run(trained: Callable[..., Path], tmp_path: Path) -> str:
    """A run of a small vae, two epochs on a thousand images."""
    return shutil.copytree(trained("vae", *SMALL_VAE), tmp_path / "run").name


def same_samples(images: torch.Tensor, others: torch.Tensor, precision: str) -> bool:
    """Tell whether samples, in bytes, are the same but for rounding.

    In float32 that moves a pixel over the edge between two bytes at most. In bfloat16 a kernel that sums in
    another order, as one may for another size of batch, moves pixels of a guided sample by up to 17 levels
    and by 1.9 in the mean (measured between three sets of kernels); other samples are 70 away in the mean.
    """
    difference = (images.int() - others.int()).abs()
    if precision == "float32":
        return bool((difference <= 1).all())
    return bool((difference.float().flatten(1).mean(1) <= 4).all())


def weight(model: torch.nn.Module, name: str) -> torch.Tensor:
    """Return a weight by name, to be tampered with."""
    return dict(model.named_parameters())[name].data


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of the fault matrix, whichever process found them."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    rows = [row for report in reports for name, row in report.user_properties if name == "faults"]
    if rows:
        terminalreporter.section("kills and resumes")
        for row in rows:
            terminalreporter.write_line(str(row))
