"""The report page, made by its command and opened in a real browser."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser

from browser import chromium, inspect
from conftest import Command, metadata, one_sentence, picture, slow
from genmnist.data import Splits
from genmnist.evaluation import document, tables
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE
from genmnist.report import build, measured, sources
from genmnist.report.contents import EXHIBITS
from genmnist.report.page import Table
from genmnist.runs import checkpoint
from genmnist.runs.find import WEIGHTS

FAMILIES = ("vae", "ddpm", "cfg")


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
    figures = re.findall(r'<figure id="figure-(\d+)"', page)
    assert figures == [str(number) for number in range(1, 14)]  # in their order
    text = re.sub("<[^>]*>", "", page)
    assert "genmnist interpolate vae --space pixel --model bundled --seed 0 --out figure-5.png" in text
    parts = ('class="opening"', 'id="figure-1"', 'id="figure-13"', 'id="table-1"', 'id="words"')
    places = [page.index(part) for part in parts]
    assert places == sorted(places)  # pictures first, then numbers, then words
    distances = {
        family: document.read(WEIGHTS / f"{family}.json").samples.images.frechet for family in FAMILIES
    }
    for distance in distances.values():
        assert text.count(tables.interval(distance)) >= 3  # beside the figure and in both tables
    assert "n = 10,000" in text
    assert str(report.parent) not in page
    assert "does not hold" in text  # of the claim that most latent factors are unused


def test_a_plane_is_shown_of_a_model_that_has_one(few: Splits) -> None:
    shown = {}
    source, (_, header) = sources.Source("vae"), checkpoint.load(WEIGHTS / "vae.safetensors")
    for latent in (2, 4):
        model = VAE(VAEOptions(hidden=8, latent=latent))
        own = [one for one in EXHIBITS if one.family == "vae" and one.suits(model) and not one.number]
        subject = sources.Subject(source, header, model, 0, few.test)
        shown[latent] = {one.file: one.draw(subject).picture for one in own if one.draw}
    assert [*shown[4]] == ["reconstructions.png"]
    assert [*shown[2]] == ["reconstructions.png", "plane.png", "codes.png"]
    assert shown[2]["plane.png"].width > 15 * 60


@pytest.mark.slow
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


def test_it_leads_to_the_explorer(report: Path, tmp_path: Path) -> None:
    assert "To play with these models: genmnist explore" in (report / "index.html").read_text("utf-8")
    (tmp_path / "explorer.html").touch()
    assert build._explorer(tmp_path) == "explorer.html"
    assert build._explorer(tmp_path / "report") == ""
    (tmp_path / "report").mkdir()
    assert build._explorer(tmp_path / "report") == "../explorer.html"


@pytest.mark.parametrize(
    ("width", "scheme"),
    [(360, "light"), *slow((360, "dark"), (1440, "dark"), (1440, "light"))],
)
def test_a_browser_shows_all_of_it(browser: Browser, report: Path, width: int, scheme: str) -> None:
    """No error, no request, every picture decoded and large enough, text readable, all of it by keyboard."""
    seen = inspect(browser, report / "index.html", width=width, scheme=scheme)  # type: ignore[arg-type]
    seen.check(smallest_image=80, smallest_text=12)
    assert len(seen.visible) >= 12


def test_printing_leaves_no_page_near_empty(browser: Browser, report: Path) -> None:
    """No part that may not be broken is higher than half a page, so no page is emptier than that."""
    millimetre = 96 / 25.4
    with contextlib.closing(
        browser.new_context(viewport={"width": round(178 * millimetre), "height": round(261 * millimetre)})
    ) as context:
        page = context.new_page()
        page.goto((report / "index.html").as_uri())
        page.emulate_media(media="print")
        heights = page.evaluate("[...document.querySelectorAll('figure')].map(f => f.offsetHeight)")
        assert len(heights) == 13
        assert max(heights) < 261 * millimetre / 2
        total = page.evaluate("document.documentElement.scrollHeight")
        sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
        assert total / (261 * millimetre) <= sheets <= 1 + 1.3 * total / (261 * millimetre)


def test_commands_are_given_the_data_that_the_page_was() -> None:
    """In grey, too, which is no less an answer than colour."""
    given = {"dataset": None, "data_dir": Path("my images"), "image_size": 28}
    words = ["--data-dir", "my images", "--image-size", "28"]
    for colour, word in ((True, ["--colour"]), (False, ["--grey"]), (None, [])):
        assert build.options({**given, "colour": colour}) == [*words, *word]


@pytest.mark.slow
def test_runs_measured_otherwise_stand_apart(genmnist: Command, idx_folder: Path, vae_run: str) -> None:
    """A run on other data, by fewer samples: the page puts it into a table of its own."""
    words = ("--num", 30, "--quick", "--data-dir", idx_folder, "--device", "cpu")
    done = genmnist("evaluate", "vae", "--model", idx_folder.parent / vae_run, *words)
    assert done.status == 0, done.err
    found = sources.sources([idx_folder.parent / vae_run])
    evaluations = {name: source.evaluation for name, source in found.items() if source.evaluation}
    section = measured.section({}, evaluations)
    captions = [item.caption for item in section.items]
    assert [("vae" in caption, "30 samples" in caption) for caption in captions[1:3]] == [
        (True, True),
        (False, False),
    ]
    first = section.items[0]
    assert isinstance(first, Table)
    assert "not all measured alike" in first.note


def test_a_family_that_is_tuned_from_another_is_there_with_a_run_only() -> None:
    assert (WEIGHTS / "few.safetensors").is_file()
    assert [*sources.sources([])] == [*FAMILIES]


def test_commands_name_places_as_seen_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sources.seen_from_here(str(tmp_path / "a" / "run")) == str(Path("a") / "run")
    assert sources.seen_from_here(f"--out={tmp_path / 'b'}") == "--out=b"
    for word in ("--num", "3", "runs/vae", "a=b"):
        assert sources.seen_from_here(word) == word


def test_a_report_is_of_runs_of_its_own_kind(genmnist: Command, idx_folder: Path) -> None:
    words = ("--data-dir", idx_folder, "--steps", 2, "--quiet", "--batch-size", 50)
    genmnist("train", "vae", *words, "--hidden", 8, "--latent", 3, "--out", "<b>vae")
    genmnist("train", "classifier", *words, "--width", 4, "--out", "classifier")
    assert "is a run of classifier" in one_sentence(genmnist("report", "classifier"), 2)
    assert "is a second vae" in one_sentence(genmnist("report", "<b>vae", "<b>vae"), 2)
    assert "not a run folder" in one_sentence(genmnist("report", "absent"), 2)
