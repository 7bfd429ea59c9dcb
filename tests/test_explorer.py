"""The explorer: one page, opened as a file with the network cut off, that computes what Python computes."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page

from browser import Scheme, chromium, judge
from conftest import Command, one_sentence, program, slow
from genmnist import load
from genmnist.errors import UsageError
from genmnist.explorer import build, bundle, graphs, packing
from genmnist.models import Diffusion
from genmnist.runs.find import WEIGHTS, bundled

TESTS = Path(__file__).parent
VENDOR = Path(build.__file__).parent / "vendor"
LONG = 60_000  # milliseconds: a busy machine takes its time


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.explorer([], tmp_path_factory.mktemp("explorer") / "explorer.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@contextlib.contextmanager
def opened(
    browser: Browser, path: Path, fragment: str = "", width: int = 1024, scheme: Scheme = "light"
) -> Iterator[Page]:
    """Open the page without a network; afterwards, it must have asked for nothing, and found no fault."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    with contextlib.closing(context):
        context.set_offline(True)
        page = context.new_page()
        page.set_default_timeout(LONG)
        problems: list[str] = []
        requests: list[str] = []
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{path.resolve().as_uri()}#{fragment}")
        page.wait_for_selector("html[data-ready]")
        yield page
    assert problems == []
    assert [url for url in requests if not url.startswith(("blob:", path.resolve().as_uri()))] == []


PIXELS = "(e) => [...e.getContext('2d').getImageData(0, 0, e.width, e.height).data]"


def middle(page: Page, selector: str) -> tuple[float, float]:
    """Return the middle of an element."""
    box = page.locator(selector).bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def grey(page: Page, selector: str) -> np.ndarray[Any, Any]:
    """Return the grey levels of a canvas."""
    pixels = page.locator(selector).first.evaluate(PIXELS)
    return np.array(pixels, dtype=np.int64).reshape(28, 28, 4)[..., 0]


def test_a_drawn_seven_is_read_as_seven(browser: Browser, explorer: Path) -> None:
    with opened(browser, explorer) as page:
        page.wait_for_selector(".verdict strong")
        page.get_by_role("button", name="Clear").click()
        page.get_by_text("Draw a digit, or borrow one.").wait_for()
        box = page.locator(".pad").bounding_box()
        assert box
        corners = [(0.3, 0.25), (0.7, 0.25), (0.55, 0.5), (0.42, 0.8)]
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=10)
        page.mouse.up()
        page.get_by_text("Read as 7").wait_for()
        seen = grey(page, ".stack .digit")
        lit = np.argwhere(seen > 50)
        assert ((lit.max(0) - lit.min(0)).max() + 1) in (20, 21, 22)  # MNIST's box
        page.wait_for_timeout(300)
        link = page.url
    with opened(browser, explorer, link.partition("#")[2]) as page:  # a link shows the same
        page.get_by_text("Read as 7").wait_for()
        assert np.abs(grey(page, ".stack .digit") - seen).mean() < 8  # its points are rounded


def test_it_can_be_drawn_by_keys(browser: Browser, explorer: Path) -> None:
    with opened(browser, explorer) as page:
        page.wait_for_selector(".verdict strong")
        page.locator(".pad").focus()
        for key in ("Delete", "Space", *["Shift+ArrowDown"] * 5):
            page.keyboard.press(key)
        page.get_by_text("Read as 1").wait_for()


@pytest.mark.slow
def test_a_slider_changes_what_is_decoded(browser: Browser, explorer: Path) -> None:
    with opened(browser, explorer, "digit=0") as page:
        page.get_by_text("grey levels away").wait_for()
        before = grey(page, ".pair figure:nth-child(2) canvas")
        model = load("vae", "bundled", device="cpu")
        digit = torch.from_numpy(grey(page, ".pair figure:nth-child(1) canvas")).to(torch.uint8)[None]
        with torch.no_grad():
            decoded = model.decode(model.embed(digit))[0, 0].numpy()
        assert np.abs(before - 255 * decoded).max() <= 2
        page.locator(".sliders input").first.focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        page.wait_for_timeout(1000)
        assert np.abs(grey(page, ".pair figure:nth-child(2) canvas") - before).max() > 20
        page.get_by_role("button", name="Back to the digit’s own code").click()
        page.wait_for_timeout(1000)
        assert np.abs(grey(page, ".pair figure:nth-child(2) canvas") - before).max() <= 2


@pytest.mark.parametrize(
    ("family", "fragment", "asked"),
    [
        ("cfg", "model=cfg&seed=5&label=4&w=2", {"labels": [4], "guidance": 2.0}),
        *slow(
            ("ddpm", "model=ddpm&seed=3", {}),
            (
                "cfg",
                "model=cfg&seed=1&label=8&sampler=heun&steps=4",
                {"labels": [8], "sampler": "heun", "steps": 4},
            ),
        ),
    ],
)
def test_the_page_draws_what_python_draws(
    browser: Browser, explorer: Path, family: str, fragment: str, asked: dict[str, Any]
) -> None:
    model = load(family, "bundled", device="cpu", precision="float32")
    seed = int(fragment.partition("seed=")[2].partition("&")[0])
    assert isinstance(model, Diffusion)
    wanted = model.sample(1, seed=seed, **asked)[0].numpy().astype(int)
    with opened(browser, explorer, f"part=diffusion&{fragment}") as page:
        page.get_by_text("Drawn in").wait_for()
        assert np.abs(grey(page, ".trio figure:nth-child(1) canvas") - wanted).max() <= 2
        assert np.abs(grey(page, ".trio figure:nth-child(2) canvas") - wanted).max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "how", "fragment", "asked", "calls"),
    [
        ("few", ("--from", "cfg"), "&label=7", {"labels": [7]}, 4),  # with the label and without
        (
            "ddpm",
            ("--clusters", 5, "--size", "tiny", "--lr", 0.02),
            "",
            {},
            32,
        ),  # with the cluster and without
    ],
)
def test_the_page_draws_by_a_run_what_python_draws(
    browser: Browser,
    genmnist: Command,
    tmp_path: Path,
    family: str,
    how: tuple[str, ...],
    fragment: str,
    asked: dict[str, Any],
    calls: int,
) -> None:
    done = genmnist("train", family, *how, "--steps", 2, "--sample-every", 0, "--out", "run")
    assert done.status == 0, done.err
    done = genmnist("explore", "run")
    assert done.status == 0, done.err
    model = load(family, tmp_path / "run", device="cpu", precision="float32")
    assert isinstance(model, Diffusion)
    wanted = model.sample(1, seed=2, **asked)[0].numpy().astype(int)
    with opened(
        browser, tmp_path / "explorer.html", f"part=diffusion&model={family}{fragment}&seed=2"
    ) as page:
        page.get_by_text(f"Drawn in {calls} calls").wait_for()
        assert np.abs(grey(page, ".trio figure:nth-child(1) canvas") - wanted).max() <= 2
        if family == "few":
            page.get_by_role("button", name="Draw it in fewer").click()
            page.get_by_text("few, 2 steps, 4 calls").wait_for()
            assert np.abs(grey(page, "figure:has-text('few, 2 steps') canvas") - wanted).max() <= 2
            page.get_by_role("slider", name="Steps").press("ArrowLeft")
            page.get_by_text("Drawn in 2 calls").wait_for()  # from the less noise that suits one step
            wanted = model.sample(1, seed=2, steps=1, **asked)[0].numpy().astype(int)
            assert np.abs(grey(page, ".trio figure:nth-child(2) canvas") - wanted).max() <= 2


def test_what_the_page_does_not_know_is_left_out() -> None:
    model = load("ddpm", "bundled", device="cpu")
    assert isinstance(model, Diffusion)
    model.options = model.options.replace({"target": "v"})
    build._diffusion("ddpm", model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_TARGETS", ("flow",))
        with pytest.raises(UsageError, match="ddpm predicts v: leave it out"):
            build._diffusion("ddpm", model)


@pytest.mark.slow
def test_the_process_can_be_stopped_scrubbed_and_forked(browser: Browser, explorer: Path) -> None:
    with opened(browser, explorer, "part=diffusion&steps=8") as page:
        page.get_by_text("Drawn in 16 calls").wait_for()  # with the label and without
        step = page.get_by_role("slider", name="Step", exact=True)
        end = grey(page, ".trio canvas >> nth=0")
        step.focus()
        page.keyboard.press("Home")
        noise = grey(page, ".trio canvas >> nth=0")
        assert (noise > 0).mean() > 0.4 > (end > 0).mean()
        assert "100 % noise" in str(step.get_attribute("aria-valuetext"))
        page.keyboard.press("ArrowRight")
        page.get_by_role("button", name="Six futures").click()
        page.locator(".stage .images figcaption", has_text="6").wait_for()
        page.get_by_role("button", name="Draw it under each guidance").click()
        page.get_by_text("w = 8").wait_for()
        page.get_by_role("button", name="Draw it in fewer").click()
        page.get_by_text("64 steps, 128 calls").wait_for()


@pytest.mark.slow
def test_a_half_hidden_digit_is_completed_and_a_digit_edited(browser: Browser, explorer: Path) -> None:
    with opened(browser, explorer, "digit=0&complete=7&edit=8") as page:
        page.get_by_text("grey levels away").wait_for()
        digit = grey(page, ".stack .digit")
        page.get_by_role("button", name="Complete it").click()
        page.locator("figcaption", has_text="read as").first.wait_for()
        for canvas in page.locator("canvas[aria-label^=completion]").all():
            drawn = canvas.evaluate(PIXELS)
            assert np.abs(np.array(drawn).reshape(28, 28, 4)[:, :14, 0] - digit[:, :14]).max() <= 1
        page.get_by_role("button", name="Edit it").click()
        page.locator("canvas[aria-label='edit: read as 8']").first.wait_for()


@pytest.mark.slow
def test_the_point_moves_by_keys_and_by_mouse_and_walks_lead_anywhere(
    browser: Browser, explorer: Path
) -> None:
    with opened(browser, explorer, "part=latent&at=0") as page:
        page.get_by_text("Decodes to 7").wait_for()
        before = grey(page, "#latent .pair canvas >> nth=0")
        page.locator(".map").focus()
        for _ in range(8):
            page.keyboard.press("Shift+ArrowUp")
        page.wait_for_timeout(1000)
        assert np.abs(grey(page, "#latent .pair canvas >> nth=0") - before).max() > 50
        page.mouse.click(*middle(page, ".map"))
        page.get_by_role("button", name="Start the walk there").click()
        page.get_by_role("button", name="Put the point on that digit").click()
        page.wait_for_timeout(1000)
        point, start = grey(page, "#latent .pair canvas >> nth=0"), grey(page, ".strip canvas >> nth=0")
        assert np.abs(point - start).max() <= 1
        through, fade = (grey(page, f".strip >> nth={row} >> canvas >> nth=4") for row in (0, 1))
        ends = [grey(page, f".strip >> nth=1 >> canvas >> nth={k}") for k in (0, 8)]
        assert np.abs(fade - (ends[0] + ends[1]) / 2).max() <= 1.5
        assert np.abs(fade - through).max() > 50
        page.get_by_label("Across").select_option("f3")
        page.wait_for_timeout(500)
        assert "x=f3" in page.url
        assert "walk=" in page.url


@pytest.mark.slow
def test_claims_are_measured_in_the_page(browser: Browser, explorer: Path) -> None:
    with opened(browser, explorer, "part=measure") as page:
        table = page.locator("#measure table").last
        assert "0.132" in table.inner_text()  # of the bundled ddpm, from its evaluation
        page.get_by_role("button", name="Run it here").first.click()
        page.get_by_text(re.compile("of 20")).nth(1).wait_for()
        page.get_by_role("button", name="Run it here").last.click()
        page.get_by_role("row", name=re.compile("^1 1 .* grey levels")).wait_for()


@pytest.mark.parametrize(
    ("width", "scheme"),
    [(360, "dark"), *slow((360, "light"), (1920, "dark"), (1920, "light"))],
)
def test_every_reader_can_use_it(browser: Browser, explorer: Path, width: int, scheme: Scheme) -> None:
    with opened(browser, explorer, "", width, scheme) as page:
        page.wait_for_selector(".verdict strong")
        for link in page.locator("nav a").all():
            link.click()
            page.wait_for_timeout(200)
            assert judge(page) == [], link.inner_text()
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, link.inner_text()


def test_directions_part_what_is_apart() -> None:
    """Classes that differ in one factor, which is the least wide, are told by it."""
    generator = np.random.default_rng(0)
    codes = generator.normal(0, (3.0, 3.0, 0.1), (300, 3))
    labels = np.arange(300) % 3
    codes[:, 2] += labels
    first, _ = build.discriminants(codes.astype(np.float32), labels)
    assert abs(first[2]) > 0.99


def test_the_page_is_small(explorer: Path) -> None:
    # A few-step model is as large as the two others: each adds 3.3 MB.
    most = 18.5e6 if (WEIGHTS / "few.safetensors").exists() else 15e6
    assert explorer.stat().st_size <= most
    assert sum(path.stat().st_size for path in Path(build.__file__).parents[1].rglob("*")) < 60e6


def test_the_mirror_in_javascript_has_the_numbers_of_python() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    done = subprocess.run(
        [node, "--test", "tests/explorer/"], cwd=TESTS.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_shared_numbers_are_those_of_python() -> None:
    vectors = program("scripts/vectors.py")
    same(vectors.vectors(), json.loads(vectors.FILE.read_text("utf-8")))


def same(found: Any, wanted: Any) -> None:
    """Check that two documents are the same, their numbers but for rounding."""
    if isinstance(found, dict):
        assert found.keys() == wanted.keys()
        for name, value in found.items():
            same(value, wanted[name])
    elif isinstance(found, list | tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            same(one, other)
    elif isinstance(found, float):
        assert math.isclose(found, wanted, rel_tol=1e-5, abs_tol=1e-6)
    else:
        assert found == wanted


def test_what_is_vendored_is_what_was_fetched() -> None:
    """Made again by `make vendor`; bundled graphs are of the bundled weights."""
    sums = json.loads((VENDOR / "vendor.json").read_text("utf-8"))["sha256"]
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.bin")} == sums
    known = json.loads((VENDOR / graphs.MANIFEST).read_text("utf-8"))
    assert set(known) >= {graphs.checksum(bundled(family)) for family in ("vae", "ddpm", "cfg", "classifier")}


@pytest.mark.parametrize(
    "content", [b"", b"abc", bytes(range(256)) * 40, np.arange(999, dtype="<f2").tobytes()]
)
def test_bytes_survive_the_page(content: bytes) -> None:
    parted, pressed = packing.press(content)[0], packing.press(content)[1:]
    found = gzip.decompress(pressed)
    half = (len(found) + 1) // 2
    places = [k // 2 + half * (k % 2) if parted else k for k in range(len(found))]
    assert bytes(found[place] for place in places) == content
    assert not set(packing.pack(content)) & set("<&\"'\\")


def test_modules_are_linked_in_the_order_of_their_use(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text('import { b as c } from "./b.js";\nexport const a = c();\n')
    (tmp_path / "b.js").write_text("export function b() {\n  return 1;\n}\n")
    linked = bundle.link("a", tmp_path)
    assert linked.index("module_b = ") < linked.index("module_a = ")
    assert "const { b: c } = module_b;" in linked
    (tmp_path / "a.js").write_text('import c from "./b.js";\n')
    with pytest.raises(ValueError, match="not linked"):
        bundle.link("a", tmp_path)


def test_it_is_made_by_one_command(genmnist: Command, tmp_path: Path) -> None:
    done = genmnist("explore", "--json")
    assert done.status == 0, done.err
    assert done.json["bytes"] == (tmp_path / "explorer.html").stat().st_size


def test_what_cannot_be_explored_is_said_in_a_sentence(genmnist: Command) -> None:
    assert "writes .html" in one_sentence(genmnist("explore", "--out", "page.png", importing=False), 2)
    assert "not a run folder" in one_sentence(genmnist("explore", "absent", importing=False), 2)
