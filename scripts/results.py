"""Measure the bundled models, and write what came of it into docs/results.md and beside the weights.

    python scripts/results.py [--quick]

Runs `genmnist evaluate` for each family, keeps its evaluation.json as `weights/<family>.json`, from where the
report page has it, and replaces what stands between the two marks in docs/results.md.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import torch

from genmnist import api
from genmnist.data import load
from genmnist.device import choose_device
from genmnist.evaluation import distances, document
from genmnist.evaluation.document import EvaluationDocument
from genmnist.figures import evaluated
from genmnist.files import write_text
from genmnist.models import Diffusion
from genmnist.randomness import generator
from genmnist.report import claims
from genmnist.runs.find import WEIGHTS
from genmnist.runs.folder import Run
from genmnist.training import EpochEnd, Event, Trainer

FAMILIES = ("vae", "ddpm", "cfg")
PAGE = Path(__file__).parent.parent / "docs" / "results.md"
FIGURES = {"walks": "vae", "bands": "ddpm", "likelihood": "ddpm", "nearest": "cfg"}
_EPOCHS, _SAMPLES = 4, 1000  # of the short trainings that show how quality grows
BEGIN, END = "<!-- begin of what `make results` writes -->", "<!-- end of what `make results` writes -->"


def measure(family: str, build: Path, words: list[str], weights: Path = WEIGHTS) -> EvaluationDocument:
    """Evaluate the bundled model of a family, and keep the document beside its weights."""
    folder = build / family
    command = ["evaluate", family, "--model", "bundled", "--out", str(folder), *words]
    subprocess.run([sys.executable, "-m", "genmnist", *command], check=True)  # noqa: S603
    found = document.read(Run(folder).evaluation_file).replace(out=None)
    if family != "vae":
        found = found.replace(distance_by_epoch=tuple(by_epoch(family, build / f"{family}-run")))
    document.write(weights / f"{family}.json", found)
    return found


def by_epoch(
    family: str, folder: Path, epochs: float = _EPOCHS, num: int = _SAMPLES
) -> list[tuple[int, float]]:
    """Train the preset `fast` for some epochs; return how far its samples are after each, over the floor.

    A curve, and so of distances to the validation images.
    """
    features, data = distances.bundled_features(choose_device("cpu")), load()
    theirs, found = features.features(data.validation.images), list[tuple[int, float]]()

    def listen(event: Event, trainer: Trainer) -> None:
        if isinstance(event, EpochEnd):
            images = cast("Diffusion", trainer.result.eval()).sample(num, 0, 64)
            distance = distances.frechet(features.features(images), theirs)
            found.append((len(trainer.history), distance / floor))

    drawn = torch.randperm(len(data.train), generator=generator(0, "floor"))[:num]
    floor = distances.frechet(features.features(data.train.images[drawn]), theirs)
    shutil.rmtree(folder, ignore_errors=True)
    api.train(family, recipe={"epochs": epochs}, out=folder, sample_every=0, listen=listen)
    return found


def text(found: dict[str, EvaluationDocument]) -> str:
    """Return the tables as Markdown."""
    first = found[FAMILIES[0]]
    versions = ", ".join(f"{name} {version}" for name, version in (first.versions or {}).items())
    heads, rows = evaluated.comparison(found)
    judged = [[claim.text, claim.measured, claim.verdict] for claim in claims.judge(found)]
    return "\n".join(
        [
            f"{first.num:,} samples of each, seed {first.seed}, in the features "
            f"{first.samples.features}; {first.machine}; {versions}.",
            "",
            *_table(heads, rows),
            "",
            "What the reference report claims by eye:",
            "",
            *_table(["claim", "measured", "verdict"], judged),
        ]
    )


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def main() -> None:
    """Measure all of them."""
    build = PAGE.parent.parent / "build" / "results"
    found = {family: measure(family, build, sys.argv[1:]) for family in FAMILIES}
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    write_text(PAGE, f"{before}{BEGIN}\n\n{text(found)}\n\n{END}{after}")
    for name, family in FIGURES.items():
        shutil.copyfile(build / family / f"{name}.png", PAGE.parent / "images" / f"{family}-{name}.png")


if __name__ == "__main__":
    main()
