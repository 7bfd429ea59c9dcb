"""A page as a reader meets it: opened in Chromium, looked at, and walked through by keyboard."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
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
    """A piece of visible text: its size in pixels, and its contrast against what is behind it."""

    text: str
    size: float
    contrast: float


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
        unreachable: parts that scroll by themselves and that no key leads into.
    """

    problems: list[str]
    requests: list[str]
    images: list[Image]
    texts: list[Text]
    overflow: float
    interactive: list[str]
    focused: list[str]
    unmarked: list[str]
    unreachable: list[str]

    @property
    def visible(self) -> list[Image]:
        """The pictures that are shown."""
        return [image for image in self.images if min(image.rendered) > 0]

    def check(self, smallest_image: float = 80, smallest_text: float = 12, contrast: float = 4.5) -> None:
        """Hold the page against what every reader is owed."""
        assert self.problems == []
        assert self.requests == []
        assert [image for image in self.images if not image.decoded or not image.alt] == []
        assert [image for image in self.visible if min(image.rendered) < smallest_image] == []
        assert [text for text in self.texts if text.size < smallest_text] == []
        assert [text for text in self.texts if text.contrast < contrast] == []
        assert self.overflow <= 0
        assert self.focused == self.interactive
        assert self.unmarked == []
        assert self.unreachable == []


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
        look["unreachable"],
    )


_NAME = """
const name = (e) => e.tagName.toLowerCase() + " " + (e.getAttribute("href") || e.className || e.id) +
    " (" + (e.closest("[id]")?.id ?? "") + ")";
"""

_LOOK = f"""async () => {{
{_NAME}
const shown = (e) => e.checkVisibility({{visibilityProperty: true}});
const rgba = (colour) => {{
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
}};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1];
const behind = (e) => e ? over(rgba(getComputedStyle(e).backgroundColor), behind(e.parentElement)) : canvas;
const luminance = (colour) => {{
    const [r, g, b] = colour.slice(0, 3).map((c) => c / 255).map(
        (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}};
const contrast = (e) => {{
    const back = behind(e), front = over(rgba(getComputedStyle(e).color), back);
    const [high, low] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
}};
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
    if (text && shown(e)) texts.push({{text: text.slice(0, 80), size, contrast: contrast(e)}});
}}
const operable = "a[href], button, input, select, textarea, summary, [tabindex]:not([tabindex^='-'])";
const all = [...document.querySelectorAll("*")].filter(shown);
const root = document.documentElement, width = Math.min(root.clientWidth, screen.width);
return {{
    images, texts,
    overflow: Math.max(root.scrollWidth, document.body.scrollWidth) - width,
    interactive: all.filter((e) => e.matches(operable)).map(name),
    unreachable: all.filter((e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX)
        && e.scrollWidth > e.clientWidth && !e.matches(operable) && !e.querySelector(operable)).map(name),
}};
}}"""

_FOCUS = f"""() => {{
{_NAME}
const e = document.activeElement;
if (!e || e === document.body) return null;
const style = getComputedStyle(e);
return {{name: name(e), marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0}};
}}"""
