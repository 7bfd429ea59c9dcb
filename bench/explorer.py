"""Measure how fast the explorer is: how soon it answers, and what its models cost in a browser.

    python bench/explorer.py [--rounds 5] [--picture docs/images/explorer.png]

Headless Chromium opens the page of the bundled models from a file, without a network. First interaction: from
opening it until the digit on the pad is read. A decode: from a slider's move to the image on its canvas.
Guided steps: 16 of ddim with the bundled cfg at w = 3, as the page itself counts them. Medians.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from genmnist.device import describe_machine
from genmnist.explorer.build import explorer

# A slider is moved, and the canvas of the decoded digit is looked at until it changes.
_DECODE = """async () => {
  const canvas = document.querySelectorAll('.pair canvas')[1], pen = canvas.getContext('2d');
  const look = () => pen.getImageData(0, 0, 28, 28).data.join();
  const input = document.querySelector('.sliders input'), times = [];
  for (let k = 0; k < 40; k++) {
    const before = look(), started = performance.now();
    input.value = k % 2 ? 3 : -3;
    input.dispatchEvent(new Event('input'));
    while (look() === before) await new Promise((resolve) => setTimeout(resolve));
    times.push(performance.now() - started);
  }
  return times.slice(5).sort((a, b) => a - b)[17];
}"""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", type=Path, help="draw the page into this file")
    options = parser.parse_args()
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        started = time.perf_counter()
        path = explorer([], Path(folder) / "explorer.html")
        print(f"{describe_machine()}; made in {time.perf_counter() - started:.1f} s")
        print(f"  the page                      {path.stat().st_size / 1e6:8.2f} MB")
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        print(f"  Chromium                      {browser.version}")
        found: dict[str, list[float]] = {"first interaction, s": [], "decode, ms": [], "guided steps, s": []}
        for _ in range(options.rounds):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.context.set_offline(True)
            started = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_selector(".verdict strong")
            found["first interaction, s"].append(time.perf_counter() - started)
            page.get_by_text("grey levels away").wait_for()
            found["decode, ms"].append(page.evaluate(_DECODE))
            found["guided steps, s"].append(_guided(page))
            page.close()
        for name, values in found.items():
            low, middle, high = min(values), statistics.median(values), max(values)
            print(f"  {name:28} {middle:8.2f}   ({low:.2f} to {high:.2f})", flush=True)
        if options.picture:
            page = browser.new_page(viewport={"width": 1200, "height": 860}, device_scale_factor=1.5)
            page.goto(f"{path.as_uri()}#part=diffusion&label=3&w=2")
            page.get_by_text("Drawn in").wait_for()
            page.get_by_role("slider", name="Step", exact=True).fill("6")
            page.get_by_role("button", name="Six futures").click()
            page.locator(".stage .images figcaption", has_text="6").wait_for()
            page.wait_for_timeout(4000)
            page.screenshot(path=options.picture)
        browser.close()


def _guided(page: Page) -> float:
    """Return the seconds of the second of two samples, guided: the first one loads the model."""
    page.evaluate("location.hash = 'part=diffusion&w=3'")
    seconds = 0.0
    for _ in range(2):
        page.get_by_role("button", name="Another").click()
        page.get_by_text("Drawn in 32 calls").wait_for()
        seconds = float(page.get_by_text("Drawn in 32 calls").inner_text().split(",")[1].split()[0])
    return seconds


if __name__ == "__main__":
    main()
