"""The report page, made by its command and opened in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser

from browser import chromium, inspect
from conftest import Command, metadata, one_sentence, picture


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the report of the bundled models."""
    folder = tmp_path_factory.mktemp("report")
    done = subprocess.run(
        [sys.executable, "-m", "genmnist", "report", "--device", "cpu"],
        cwd=folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "report"


def test_all_eight_figures_stand_beside_the_page(report: Path) -> None:
    for number in range(1, 9):
        picture(report / f"figure-{number}.png")
    page = (report / "index.html").read_text("utf-8")
    for number in range(1, 9):
        assert f'id="figure-{number}"' in page
    text = re.sub("<[^>]*>", "", page)
    assert "genmnist interpolate vae --space pixel --model bundled --seed 0 --out figure-5.png" in text
    assert "times the floor" in text
    assert "does not hold" in text  # of the claim that most latent factors are unused


def test_the_command_below_a_figure_draws_it(genmnist: Command, report: Path, tmp_path: Path) -> None:
    for words in (
        "genmnist sample vae --model bundled --seed 0 --out figure-2.png",
        "genmnist interpolate vae --space pixel --model bundled --seed 0 --out figure-5.png",
        "genmnist sample cfg --guidance-sweep -1,0,1,3,8 --model bundled --seed 0 --out cfg-sweep.png",
    ):
        file = words.split()[-1]
        assert metadata(report / file)["Command"] == words
        done = genmnist(*words.split()[1:], "--device", "cpu")
        assert done.status == 0, done.err
        with Image.open(report / file) as drawn, Image.open(tmp_path / file) as again:
            assert ImageChops.difference(drawn, again).getbbox() is None


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_all_of_it(browser: Browser, report: Path, width: int, scheme: str) -> None:
    """No error, no request, every picture decoded and large enough, text readable, all of it by keyboard."""
    seen = inspect(browser, report / "index.html", width=width, scheme=scheme)  # type: ignore[arg-type]
    seen.check(smallest_image=80, smallest_text=12, contrast=4.5)
    assert len(seen.visible) >= 12


def test_a_report_is_of_runs_of_its_own_kind(genmnist: Command, idx_folder: Path) -> None:
    words = ("--data-dir", idx_folder, "--steps", 2, "--quiet", "--batch-size", 50)
    genmnist("train", "vae", *words, "--hidden", 8, "--latent", 3, "--out", "<b>vae")
    genmnist("train", "classifier", *words, "--width", 4, "--out", "classifier")
    assert "is a run of classifier" in one_sentence(genmnist("report", "classifier"), 2)
    assert "is a second vae" in one_sentence(genmnist("report", "<b>vae", "<b>vae"), 2)
    assert "not a run folder" in one_sentence(genmnist("report", "absent"), 2)
