"""What the tests share: the data, a small model, and a way to run commands as users do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import forked
from genmnist import data
from genmnist.data import Dataset, Splits
from genmnist.device import choose_device
from genmnist.models import VAE
from genmnist.presets import VAEOptions

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


_WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from genmnist.cli import main; main()"


@pytest.fixture
def genmnist(tmp_path: Path) -> Command:
    """Run genmnist in a fresh folder and a process of its own."""

    environment = {
        "COLUMNS": "200", "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }  # fmt: skip

    def run(*words: object, importing: bool = True, **options: Any) -> Finished:
        """Run a command; where it must not be `importing` torch, the attempt is an error."""
        if importing and not options:
            status = forked.run([*map(str, words)], tmp_path, environment, 240)
            out, err = (Path(f"{tmp_path}.{name}").read_text("utf-8") for name in ("out", "err"))
            return Finished(status, out, err)
        program = ["-m", "genmnist"] if importing else ["-c", _WITHOUT_TORCH]
        done = subprocess.run(
            [sys.executable, *program, *map(str, words)],
            cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, timeout=240,
            check=False, **options,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


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


@pytest.fixture(scope="session")
def mnist() -> Splits:
    return data.load()


@pytest.fixture(scope="session")
def few(mnist: Splits) -> Splits:
    """A thousand images to train on and five hundred to validate on."""

    def first(part: Dataset, count: int) -> Dataset:
        return Dataset(part.name, part.images[:count], part.labels[:count])

    return Splits(first(mnist.train, 1000), first(mnist.test, 500))


@pytest.fixture
def small_vae() -> VAE:
    torch.manual_seed(0)
    return VAE(VAEOptions(hidden=32, latent=4)).place(CPU, "float32")


@pytest.fixture
def idx_folder(tmp_path: Path, few: Splits) -> Path:
    """A folder of IDX files, as `--data-dir` takes it, small enough to train on in no time."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for part, prefix in ((few.train, "train"), (few.test, "t10k")):
        data.write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", part.images.numpy())
        data.write_idx(folder / f"{prefix}-labels-idx1-ubyte", part.labels.numpy().astype("uint8"))
    return folder


def weight(model: torch.nn.Module, name: str) -> torch.Tensor:
    """Return a weight by name, to be tampered with."""
    return dict(model.named_parameters())[name].data
