"""Measure the bundled models, and write what came of it wherever it is quoted.

    python scripts/results.py [--quick] [--write]

Runs `genmnist evaluate` for each family, keeps its evaluation.json as `weights/<family>.json`, from where the
report page has it, and writes the headline into README.md, docs/results.md and the models' cards, and the
rest into docs/results.md. `--write` measures nothing: it writes again what was measured.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

from genmnist import api
from genmnist.data import load
from genmnist.device import choose_device
from genmnist.evaluation import distances, document, published, tables
from genmnist.evaluation.document import ByEpoch, Chain, EvaluationDocument, Likelihood
from genmnist.files import write_text
from genmnist.models import Diffusion
from genmnist.report import claims
from genmnist.report.sources import card_row
from genmnist.runs.find import WEIGHTS
from genmnist.runs.folder import Run
from genmnist.training import EpochEnd, Event, Trainer

FAMILIES = ("vae", "ddpm", "cfg")
LIKELY = "ddpm-likelihood"  # the model that knows the values of pixels
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
FIGURES = {"walks": "vae", "bands": "ddpm", "likelihood": "ddpm", "nearest": "cfg"}
_EPOCHS, _SAMPLES = 4, 1000  # of the short trainings that show how quality grows
BEGIN, END = (
    "<!-- begin of {} that `make results` writes -->",
    "<!-- end of {} that `make results` writes -->",
)


def measure(name: str, build: Path, words: list[str], weights: Path = WEIGHTS) -> EvaluationDocument:
    """Evaluate a bundled model, and keep the document beside its weights."""
    folder, (family, _, beside) = build / name, name.partition("-")
    model = f"bundled:{beside}" if beside else "bundled"
    command = ["evaluate", family, "--model", model, "--out", str(folder), *words]
    subprocess.run([sys.executable, "-m", "genmnist", *command], check=True)  # noqa: S603
    found = document.read(Run(folder).evaluation_file).replace(out=None)
    if name in ("ddpm", "cfg"):
        found = found.replace(by_epoch=by_epoch(family, build / f"{name}-run"))
    document.write(weights / f"{name}.json", found)
    return found


def by_epoch(family: str, folder: Path, epochs: float = _EPOCHS, num: int = _SAMPLES) -> ByEpoch:
    """Train the preset `fast` for some epochs; return how far its samples are after each.

    A curve, and so of distances to the validation images.
    """
    features, data = distances.bundled_features(choose_device("cpu")), load()
    theirs, found = features.features(data.validation.images), list[tuple[int, float]]()

    def listen(event: Event, trainer: Trainer) -> None:
        if isinstance(event, EpochEnd):
            images = cast("Diffusion", trainer.result.eval()).sample(num, 0, 64)
            found.append((len(trainer.history), distances.frechet(features.features(images), theirs)))

    shutil.rmtree(folder, ignore_errors=True)
    api.train(family, recipe={"epochs": epochs}, out=folder, sample_every=0, listen=listen)
    return ByEpoch(num, data.validation.name, tuple(found))


def headlines(found: dict[str, EvaluationDocument]) -> list[str]:
    """Return the table of the one number by which each model is quoted."""
    documents = list(found.values())
    (basis,) = {document.basis for document in documents}
    rows = [[f"`{name}`", tables.interval(one.samples.images.frechet)] for name, one in found.items()]
    rows.append(["real digits", tables.interval(documents[0].samples.real.frechet)])
    return _table(["model", f"{tables.HEADLINE}, n = {basis.num:,} (95 % interval)"], rows)


def everything(found: dict[str, EvaluationDocument]) -> list[str]:
    """Return all tables as lines of Markdown."""
    (basis,) = {document.basis for document in found.values()}
    judged = [[claim.text, claim.measured, claim.verdict] for claim in claims.judge(found)]
    made = {name: f"{one.machine}, torch {(one.versions or {}).get('torch')}" for name, one in found.items()}
    machines = {machine: [name for name in made if made[name] == machine] for machine in made.values()}
    where = "; ".join(f"{', '.join(names)} on {machine}" for machine, names in machines.items())
    return [
        f"{basis}, seed {found[FAMILIES[0]].seed}; {where}.",
        "",
        *_table(*tables.comparison(found)),
        "",
        "What the reference report claims by eye:",
        "",
        *_table(["claim", "measured", "verdict"], judged),
    ]


def likelihood(found: EvaluationDocument) -> list[str]:
    """Return what the model that knows values is worth: its bound by terms, and among published ones."""
    measured = cast("Likelihood", found.likelihood)
    bound, chain = measured.bound, cast("Chain", measured.chain)
    diffusion = bound.bits - bound.prior - bound.reconstruction
    terms = [
        ["prior", f"{bound.prior:.5f}"],
        ["reconstruction", f"{bound.reconstruction:.5f}"],
        ["diffusion", f"{diffusion:.4f}"],
        ["bound", f"{bound.bits:.4f} ± {bound.error or 0:.4f}"],
        [
            f"more in a chain of {chain.steps} steps (n = {chain.images:,})",
            f"{chain.gap:.4f} ± {chain.gap_error or 0:.4f}",
        ],
    ]
    own = f"**`{LIKELY}`**"
    return [
        f"{tables.HEADLINE} of its samples: {tables.headline(found)}. Measured on {found.machine}, torch "
        f"{(found.versions or {}).get('torch')}.",
        "",
        *_table([f"bits per dimension, n = {bound.images:,}", LIKELY], terms),
        "",
        *_table(published.HEADS, published.beside(found, own, card_row(LIKELY, "parameters"))),
    ]


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def put(path: Path, what: str, lines: list[str]) -> None:
    """Replace what stands between the two marks of a page."""
    begin, end = BEGIN.format(what), END.format(what)
    before, _, rest = path.read_text("utf-8").partition(begin)
    after = rest.partition(end)[2]
    write_text(path, "\n\n".join((f"{before}{begin}", "\n".join(lines), f"{end}{after}")))


def put_card(path: Path, document: EvaluationDocument) -> None:
    """Put the headline at the end of a model's card."""
    lines = [
        line for line in path.read_text("utf-8").splitlines() if not line.startswith(f"| {tables.HEADLINE} |")
    ]
    write_text(path, "\n".join([*lines, f"| {tables.HEADLINE} | {tables.headline(document)} |", ""]))


def main() -> None:
    """Measure all of them, and write."""
    build, words = ROOT / "build" / "results", sys.argv[1:]
    if "--write" not in words:
        for family in FAMILIES:
            measure(family, build, words)
        measure(LIKELY, build, ["--num", "2000", *words])  # whose samples are not what it is for
        for name, family in FIGURES.items():
            shutil.copyfile(build / family / f"{name}.png", PAGE.parent / "images" / f"{family}-{name}.png")
    found = {family: document.read(WEIGHTS / f"{family}.json") for family in FAMILIES}
    for page in (ROOT / "README.md", PAGE):
        put(page, "the headline", headlines(found))
    put(PAGE, "all", everything(found))
    likely = document.read(WEIGHTS / f"{LIKELY}.json")
    put(PAGE, "the likelihood", likelihood(likely))
    for name, one in (found | {LIKELY: likely}).items():
        put_card(WEIGHTS / f"{name}.md", one)


if __name__ == "__main__":
    main()
