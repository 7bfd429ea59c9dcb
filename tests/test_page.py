"""The report page: one file that is safe, complete, and legible to everyone."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageColor
from playwright.sync_api import Browser

from browser import Scheme, chromium, inspect
from conftest import slow
from genmnist.errors import GenmnistError
from genmnist.figures import animation, curves, grid
from genmnist.report.page import Page, Picture, Section, Table, write

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)> \"'> &amp; {{ 7 * 7 }} " + "long" * 60
DIGITS = torch.randint(0, 256, (220, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def png(image: Image.Image | grid.Tiles, **options: object) -> bytes:
    buffer = BytesIO()
    picture = image.image() if isinstance(image, grid.Tiles) else image
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def moving(
    path: Path, colours: tuple[str, ...] = ("red", "lime", "yellow", "blue"), bounce: bool = True
) -> Path:
    cells = [torch.tensor(ImageColor.getrgb(colour), dtype=torch.uint8) for colour in colours]
    return animation.save([grid.Tiles(cell.expand(1, 1, 9, 9, 3)) for cell in cells], path, bounce=bounce)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page like the real one, with everything in it that could go wrong."""
    folder = tmp_path_factory.mktemp("report")
    metrics = [{"epoch": e, "train_loss": 100 + 9 / e, "val_loss": 101 + 9 / e} for e in range(1, 21)]
    walk = DIGITS[:220].view(20, 11, 28, 28)
    sources: list[Path | bytes] = [
        curves.losses(metrics, folder / "losses.png", "vae", "nats"),
        grid.grid(DIGITS[:64]).save(folder / "samples.png"),
        png(grid.Tiles(walk[:, :5], [f"z{row}" for row in range(20)], list("abcde"), title="traversal")),
        png(grid.Tiles(walk[:2])),
        png(grid.Tiles(walk[:1])),
        png(grid.Tiles(DIGITS[:90].view(3, 30, 28, 28))),
        animation.save([grid.grid(DIGITS[n : n + 4]) for n in range(5)], folder / "trace.gif", bounce=False),
        png(grid.grid(DIGITS[:1])),
    ]
    pictures = [
        Picture(
            "Noise.", "Squares of noise.", source, "genmnist sample vae --out samples.png", {"loss": "103.6"}
        )
        for source in sources
    ]
    hostile = Picture(HOSTILE, HOSTILE, sources[1], HOSTILE, {HOSTILE: HOSTILE})
    heads = ("Model", "Distance in a feature space", "Time", "Name of the sampler", "Comment on what it does")
    rows = [["VAE", "9.4", "0.02 s", "none", HOSTILE], ["DDPM", "1.02 ± 0.1", "—", "DDIM", ""]]
    sections = [
        Section("Pictures", "One.\n\nTwo.", pictures),
        Section(HOSTILE, HOSTILE, [hostile, Table(HOSTILE, heads, rows, HOSTILE)]),
        Section("Nothing but a title"),
    ]
    strip = Picture(HOSTILE, HOSTILE, png(grid.grid(DIGITS[:10], columns=5)))
    made = {HOSTILE: HOSTILE, "seed": "0"}
    return write(
        Page(HOSTILE, HOSTILE, [strip], sections, {"Noise": "No digits."}, made), folder / "report.html"
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize(
    ("width", "scheme"), [(360, "dark"), (1440, "light"), *slow((360, "light"), (1440, "dark"))]
)
def test_every_reader_can_read_it(browser: Browser, report: Path, width: int, scheme: Scheme) -> None:
    seen = inspect(browser, report, width, scheme)
    seen.check()
    assert len(seen.images) == 1 + 8 + 2  # the strip, the hostile one, and the animation at rest
    assert len(seen.visible) == 1 + 8 + 1
    assert seen.focused[0] == "a #content ()"
    assert sum(text.size >= 16 for text in seen.texts) >= 4


def test_the_animation_rests_for_those_who_want_it_to(browser: Browser, report: Path) -> None:
    for calm in (False, True):
        with contextlib.closing(
            browser.new_context(reduced_motion="reduce" if calm else "no-preference")
        ) as context:
            page = context.new_page()
            page.goto(report.as_uri())
            images = page.locator("#figure-7 img")
            assert [images.nth(n).is_visible() for n in range(2)] == [not calm, calm]
            page.get_by_role("checkbox", name="Play" if calm else "Stop").focus()
            page.keyboard.press("Space")
            assert [images.nth(n).is_visible() for n in range(2)] == [calm, not calm]


def test_a_picture_that_was_shrunk_can_be_seen_in_full(browser: Browser, report: Path) -> None:
    with contextlib.closing(browser.new_context(viewport={"width": 360, "height": 780})) as context:
        page = context.new_page()
        page.goto(report.as_uri())
        width = "document.querySelector('#figure-2 img').width"
        assert page.evaluate(width) < 360
        page.locator("#figure-2").get_by_role("checkbox", name="Full size").check()
        assert page.evaluate(width) == 8 * 90 + 6
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_it_is_announced_as_what_it_is(browser: Browser, report: Path) -> None:
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto(report.as_uri())
        told = page.locator("body").aria_snapshot()
    for part in (
        "banner",
        "navigation",
        "main",
        "contentinfo",
        'figure "Figure 7. Noise."',
        "rowheader",
        "region",
    ):
        assert part in told, part


def test_a_page_that_fails_its_readers_is_found_out(browser: Browser, tmp_path: Path) -> None:
    """Guard the guard: each fault is seen as what it is."""
    (tmp_path / "bad.html").write_text("""<!doctype html><script>console.warn("careful"); fail()</script>
        <p style="font-size: 9px">small</p> <p style="color: #999">faint</p> <img src="absent.png" alt="gone">
        <div style="width: 3000px">wide</div> <a href="#" style="outline: none">unmarked</a>
        <button tabindex="-1">beyond reach</button>""")
    seen = inspect(browser, tmp_path / "bad.html")
    assert {problem.split()[0] for problem in seen.problems} == {"careful", "fail", "Failed"}
    assert seen.requests == [(tmp_path / "absent.png").as_uri()]
    assert [image.decoded for image in seen.images] == [False]
    assert [text.text for text in seen.texts if text.size < 12] == ["small"]
    faults = [fault.partition(":")[0] for fault in seen.faults]
    assert {"color-contrast", "document-title", "html-has-lang"} == set(faults)
    assert seen.overflow > 1500
    assert seen.unmarked == ["a # ()"]
    assert "button  ()" in seen.interactive
    assert "button  ()" not in seen.focused


@dataclass
class Parsed(HTMLParser):
    """The tags, attributes and text of a page."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]


def parsed(path: Path) -> Parsed:
    page = Parsed()
    page.feed(path.read_text("utf-8"))
    return page


def test_hostile_text_stays_text(report: Path) -> None:
    page = parsed(report)
    assert page.all("script") == []
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    # The page: title twice, lead, colophon twice. The section: contents, heading, paragraph.
    # The strip: caption. The picture: caption, fact twice, command. The table: caption, cell, note.
    assert page.text.count(HOSTILE) == 5 + 1 + 3 + 4 + 3
    assert [image["alt"] for image in page.all("img")][-1] == HOSTILE


def test_it_needs_nothing_else(report: Path) -> None:
    page, html = parsed(report), report.read_text("utf-8")
    assert all((image["src"] or "").startswith("data:image/") for image in page.all("img"))
    assert not {"link", "iframe", "object", "video", "form"} & {tag for tag, _ in page.tags}
    assert "http" not in html.replace("http-equiv", "")
    assert "url(" not in html
    assert "@import" not in html
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert (policy or "").startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_its_parts_are_in_order(report: Path) -> None:
    page = parsed(report)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert all(image["alt"] and image["width"] and image["height"] for image in page.all("img"))
    assert {head["scope"] for head in page.all("th")} == {"row", "col"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {(link["href"] or "")[1:] for link in page.all("a")} <= set(ids)
    named = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    assert named <= set(ids)


def one(path: Path, *items: Picture | Table) -> Parsed:
    return parsed(write(Page("t", "", [], [Section("s", "", items)]), path))


def test_pictures_without_a_number_follow_those_with_one(tmp_path: Path) -> None:
    source = png(grid.grid(DIGITS[:1]))
    pictures = [Picture("c", "a", source, number=number) for number in (None, 7, None, 2)]
    page = one(tmp_path / "p.html", *pictures)
    assert [figure["id"] for figure in page.all("figure")] == ["figure-8", "figure-7", "figure-9", "figure-2"]
    with pytest.raises(ValueError, match="same number"):
        one(tmp_path / "p.html", pictures[1], pictures[1])


def test_words_of_the_glossary_lead_to_their_explanation(tmp_path: Path) -> None:
    words = {"recall": "<b>All</b> of them.", "Fréchet distance": "How far."}
    table = Table(
        "Recall is not recall.", ["measure", "recall, again recall"], [["Fréchet distance (n = 3)", "1"]]
    )
    path = write(Page("recall", "", [], [Section("recall", "recalled", [table])], words), tmp_path / "p.html")
    links = [(link["href"] or "") for link in parsed(path).all("a") if link.get("class") == "term"]
    assert links == ["#word-recall", "#word-recall", "#word-fr-chet-distance"]  # caption, head, row
    assert {link.removeprefix("#") for link in links} <= {part.get("id") for part in parsed(path).all("div")}
    assert parsed(path).all("b") == [{}]  # of the table's number: an explanation is text
    assert "<b>All</b> of them." in parsed(path).text


def test_a_command_is_broken_where_words_and_paths_have_a_seam(tmp_path: Path) -> None:
    path = f"runs/{'vae' * 9}/2026-11-22T19-20-24"
    command = f"genmnist sample vae --model {path} --num 3"
    picture = Picture("c", "a", png(grid.grid(DIGITS[:1])), command)
    one(tmp_path / "p.html", picture)
    page = (tmp_path / "p.html").read_text("utf-8")
    (code,) = re.findall(r"<pre[^>]*><code>(.*)</code></pre>", page)
    assert re.sub("<[^>]*>", "", code) == command
    pieces = re.findall("<span>([^<]*)</span>", code)
    assert pieces == [
        "genmnist",
        "sample",
        "vae",
        "--model",
        "runs/",
        f"{'vae' * 9}/",
        "2026-11-22T19-20-24",
        "--num",
        "3",
    ]
    assert "white-space: nowrap" in page


def test_columns_of_numbers_are_told_from_text() -> None:
    cells = ["103.62", "−1.5 %", "1,234", "1.2e-3", "0.3 ± 0.1", "≤ 104 nats", "3.4 ×", "5 bits/dim"]
    assert all(Table("", ["h"], [[cell], ["—"]]).numeric == [True] for cell in cells)
    assert not any(
        Table("", ["h"], [[cell], ["1"]]).numeric[0] for cell in ("VAE", "3 × 3 grid", "2026-01-02")
    )
    assert Table("", ["h", "i"], []).numeric == [False, False]
    assert Table("", ["h"], [["—"]]).numeric == [False]
    with pytest.raises(ValueError, match="2 cells"):
        Table("", ["h", "i"], [["1"]])


@pytest.mark.parametrize("bounce", [True, False])
def test_an_animation_rests_on_the_frame_it_shows_longest(tmp_path: Path, bounce: bool) -> None:
    moves, rests = one(tmp_path / "p.html", Picture("c", "a", moving(tmp_path / "a.gif", bounce=bounce))).all(
        "img"
    )
    assert (moves["src"] or "").startswith("data:image/gif;")
    kind, content = (rests["src"] or "").split(",")
    assert kind == "data:image/png;base64"
    with Image.open(BytesIO(base64.b64decode(content))) as still:
        assert still.convert("RGB").getpixel((9, 9)) == (0, 0, 255)


def test_pictures_are_shown_in_a_size_that_suits_them(tmp_path: Path) -> None:
    sources = (
        png(Image.new("L", (96, 48))),  # small: five times as large, each pixel a square
        png(Image.new("L", (600, 300))),
        png(Image.new("L", (1500, 750), 255), dpi=(150, 150)),  # a plot, ten inches wide
        png(Image.new("L", (3000, 100))),  # would be a mere line on a phone
    )
    shown = one(tmp_path / "p.html", *(Picture("c", "a", source) for source in sources)).all("img")
    assert [(image["width"], image["height"], image.get("class")) for image in shown] == [
        ("480", "240", "enlarged"),
        ("600", "300", None),
        ("960", "480", "plot"),
        ("3000", "100", None),
    ]
    assert shown[-1]["style"] == "--least: 2700px"


def test_what_cannot_be_shown_gets_a_sentence_and_leaves_the_old_page(tmp_path: Path) -> None:
    path, broken = tmp_path / "page.html", tmp_path / "broken.png"
    one(path)
    old, whole = path.read_bytes(), png(grid.grid(DIGITS[:9]))
    jpeg = BytesIO()
    Image.new("L", (9, 9)).save(jpeg, "JPEG")
    for content in (b"", b"<svg/>", whole[:99], whole[: len(whole) // 2], jpeg.getvalue()):
        broken.write_bytes(content)
        with pytest.raises(GenmnistError, match=r"cannot show .*broken.png"):
            one(path, Picture("c", "a", broken))
    with pytest.raises(GenmnistError, match="cannot show"):
        one(path, Picture("c", "a", tmp_path / "absent.png"))
    assert path.read_bytes() == old
    assert sorted(tmp_path.iterdir()) == [broken, path]
    with pytest.raises(GenmnistError, match="cannot write"):
        one(broken / "page.html")


def test_names_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    assert "run-?" in one(tmp_path / "p.html", Table("run-\udcff", ["h"], [])).text
