"""A page as a reader meets it: opened in Chromium, looked at, walked through by keyboard, judged by axe."""

from __future__ import annotations

import contextlib
import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_AXE = Path(__file__).parent / "axe.min.js.gz"  # axe-core, as `make vendor` fetches it
_PHONE = 600  # pixels: a narrower window is opened as on a phone, where the page may not set the width

Scheme = Literal["light", "dark"]


@dataclass(frozen=True)
class Image:
    """A picture of the page; its rendered size is zero by zero where it is hidden."""

    alt: str
    decoded: bool
    natural: tuple[float, float]
    rendered: tuple[float, float]


@dataclass(frozen=True)
class Text:
    """A piece of visible text, and its size in pixels."""

    text: str
    size: float


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page.

    Attributes:
        problems: errors and warnings, of the console and of scripts.
        requests: what was loaded, the file itself and data within it aside.
        images: all of them, in order.
        texts: all that is visible.
        overflow: pixels by which the page is wider than the window.
        interactive: everything that can be operated, described as in `focused`.
        focused: where the Tab key led, from the top of the page to its end.
        unmarked: the stops among them that did not show that they have the focus.
        faults: what axe finds serious or critical: faint text, names that are missing, and the like.
    """

    problems: list[str]
    requests: list[str]
    images: list[Image]
    texts: list[Text]
    overflow: float
    interactive: list[str]
    focused: list[str]
    unmarked: list[str]
    faults: list[str]

    @property
    def visible(self) -> list[Image]:
        """The pictures that are shown."""
        return [image for image in self.images if min(image.rendered) > 0]

    def check(self, smallest_image: float = 80, smallest_text: float = 12) -> None:
        """Hold the page against what every reader is owed."""
        assert self.problems == []
        assert self.requests == []
        assert [image for image in self.images if not image.decoded or not image.alt] == []
        assert [image for image in self.visible if min(image.rendered) < smallest_image] == []
        assert [text for text in self.texts if text.size < smallest_text] == []
        assert self.overflow <= 0
        assert self.focused == self.interactive
        assert self.unmarked == []
        assert self.faults == []


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium of the system; skip the test where there is none."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(_NAMES)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


def inspect(
    browser: Browser,
    path: Path,
    width: int = 1440,
    scheme: Scheme = "light",
    calm: bool = False,
    shot: Path | None = None,
) -> Seen:
    """Open a file and say what there is to see; `calm` asks for less motion, `shot` for a picture of it."""
    phone = width < _PHONE
    context = browser.new_context(
        viewport={"width": width, "height": 780 if phone else 900},
        color_scheme=scheme,
        reduced_motion="reduce" if calm else "no-preference",
        is_mobile=phone,
        has_touch=phone,
    )
    with contextlib.closing(context):
        page = context.new_page()
        problems: list[str] = []
        requests: list[str] = []
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.resolve().as_uri())
        if shot:
            page.screenshot(path=shot, full_page=True)
        faults = judge(page)
        look: dict[str, Any] = page.evaluate(_LOOK)
        focused: list[str] = []
        unmarked: list[str] = []
        for _ in range(len(look["interactive"]) + 1):
            page.keyboard.press("Tab")
            place = page.evaluate(_FOCUS)
            if not place or place["name"] in focused[:1]:
                break
            focused.append(place["name"])
            if not place["marked"]:
                unmarked.append(place["name"])
    return Seen(
        problems,
        [url for url in requests if url != path.resolve().as_uri() and not url.startswith("data:")],
        [Image(**image) for image in look["images"]],
        [Text(**text) for text in look["texts"]],
        look["overflow"],
        look["interactive"],
        focused,
        unmarked,
        faults,
    )


def judge(page: Page) -> list[str]:
    """Return what axe finds serious or critical on an open page, a line a kind of fault."""
    page.evaluate(gzip.decompress(_AXE.read_bytes()).decode())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']}: {fault['help']} ({len(fault['nodes'])}, as {fault['nodes'][0]['html'][:120]})"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


_NAME = """
const name = (e) => e.tagName.toLowerCase() + " " + (e.getAttribute("href") || e.className || e.id) +
    " (" + (e.closest("[id]")?.id ?? "") + ")";
"""

_LOOK = f"""async () => {{
{_NAME}
const shown = (e) => e.checkVisibility({{visibilityProperty: true}});
const images = [];
for (const e of document.images) {{
    const decoded = await e.decode().then(() => e.complete && e.naturalWidth > 0, () => false);
    const box = e.getBoundingClientRect();
    const natural = [e.naturalWidth, e.naturalHeight], rendered = [box.width, box.height];
    images.push({{alt: e.alt, decoded, natural, rendered}});
}}
const texts = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {{
    const e = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    const size = parseFloat(getComputedStyle(e).fontSize);
    if (text && shown(e)) texts.push({{text: text.slice(0, 80), size}});
}}
const operable = "a[href], button, input, select, textarea, summary, [tabindex]:not([tabindex^='-'])";
const all = [...document.querySelectorAll("*")].filter(shown);
const root = document.documentElement, width = Math.min(root.clientWidth, screen.width);
return {{
    images, texts,
    overflow: Math.max(root.scrollWidth, document.body.scrollWidth) - width,
    interactive: all.filter((e) => e.matches(operable)).map(name),
}};
}}"""

_FOCUS = f"""() => {{
{_NAME}
const e = document.activeElement;
if (!e || e === document.body) return null;
const style = getComputedStyle(e);
return {{name: name(e), marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0}};
}}"""
