"""How guidance trades diversity for truth to the label, in all of its kinds.

    python bench/guidance.py [--num 2000] [--check 10000] [--figure docs/images/guidance.png] [--judge FILE]
                             [--rows FILE] [--only classifier-free,…]

A judge (bench/judge.py), which shares neither architecture nor seed with any network in the package, is
trained first and reads the test images; then it reads what the bundled models draw. Classifier-free guidance
of the bundled `cfg` by w, everywhere and in an interval of noise levels, classifier guidance of the bundled
`ddpm` by s, and autoguidance of both by models that are smaller and were trained for less long, `--num`
images each, of each label as many as training images have it; beside the share of labels kept stand the
Fréchet distance to the test images, precision and recall against as many of them, and near-copies of training
images; real training images come first. At w = 0 and w = 3 the share is measured on `--check` images. What is
in the file `--rows` is not measured again; `--only` leaves out sweeps whose names begin otherwise, but for
those in the file.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import genmnist
import judge
from genmnist import api
from genmnist.data import Splits, load
from genmnist.device import choose_device, describe_machine
from genmnist.evaluation import distances, neighbours
from genmnist.figures.curves import Chart, Panel
from genmnist.models import ByClassifier, Diffusion
from real_digits import dealt

_W = (-1.0, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
_W_WITHIN = (0.5, 1.0, 2.0, 4.0)
_INTERVAL: dict[str, Any] = {"guide_below": 0.7}  # the best of those tried (docs/results.md)
_S = (0.0, 1.0, 2.0, 4.0, 8.0)
_BEYOND = (0.0, 0.3, 0.5, 0.7, 1.0, 2.0)
_BEYOND_WITHIN = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
_BEYOND_INTERVAL: dict[str, Any] = {"guide_below": 0.8}  # where labels are lost
_FLOOR_DRAWS = 10


class Row(NamedTuple):
    """What was measured at one strength."""

    strength: float
    kept: float  # share of the labels
    distance: float
    precision: float
    recall: float
    copies: float  # share that are nearer to a training image than 99 % of the test images are
    rate: float  # images a second


class Sweep(NamedTuple):
    """What is measured at several strengths: a name, the letter of the strength, and what draws."""

    name: str
    letter: str
    strengths: tuple[float, ...]
    draw: Callable[[float, int, int], Tensor]  # of a strength, a number of images and a seed


def chart(found: dict[str, list[Row]]) -> Chart:
    """Return what a strength changes: distances above, shares below, up to three names in a row."""

    def lines(rows: list[Row], **names: str) -> dict[str, tuple[list[float], list[float]]]:
        strengths = [row.strength for row in rows]
        return {name: (strengths, [getattr(row, field) for row in rows]) for field, name in names.items()}

    shares = {"kept": "label kept", "precision": "precision", "recall": "recall"}
    panels = []
    columns = next(columns for columns in (3, 2, 1) if len(found) % columns == 0)
    for first in range(0, len(found), columns):
        some = [*found.items()][first : first + columns]
        panels.append([
            Panel(lines(rows, distance="distance"), "strength", "distance", name, log=True)
            for name, rows in some
        ])  # fmt: skip
        panels.append([Panel(lines(rows, **shares), "strength", "share", shares=True) for _, rows in some])
    return Chart(panels)


def trained_judge(path: Path | None, epochs: int = 8) -> nn.Module:
    """Return the judge, from a file if it is there, else trained (and kept in the file)."""
    network = judge.build()
    if path and path.exists():
        network.load_state_dict(load_file(path))
        return network.eval()
    started = time.perf_counter()
    network = judge.train(load("mnist"), epochs)
    print(f"the judge was trained in {time.perf_counter() - started:.0f} s")
    if path:
        save_file(network.state_dict(), path)
    return network


def sweeps(data: Splits) -> list[Sweep]:
    """Return all that is measured."""
    cfg, ddpm = (cast("Diffusion", genmnist.load(name, "bundled", device="cpu")) for name in ("cfg", "ddpm"))
    noisy = genmnist.load("classifier", "bundled:noisy", device="cpu", precision="float32")
    weaker = {name: genmnist.load(name, "bundled:guide", device="cpu") for name in ("ddpm", "cfg")}

    def by_label(w: float, num: int, seed: int, **way: Any) -> Tensor:
        return cfg.sample(num, seed, 64, labels=data.train.deal(num, seed), guidance=w, **way)

    def by_classifier(s: float, num: int, seed: int, **way: Any) -> Tensor:
        labels = data.train.deal(num, seed)
        return ddpm.sample(num, seed, 64, labels=labels, guide=ByClassifier(noisy, s), **way)

    def auto(model: Diffusion, w: float, num: int, seed: int, **way: Any) -> Tensor:
        beyond: dict[str, Any] = {"autoguidance": w, "weaker": weaker[model.family]} if w else {}
        labels = data.train.deal(num, seed) if model.classes else None
        return model.sample(num, seed, 64, labels=labels, **way, **beyond)

    within = functools.partial(by_label, **_INTERVAL)
    unlabelled = functools.partial(auto, cfg, guidance=0.0, **_BEYOND_INTERVAL)
    ancestral = functools.partial(by_classifier, sampler="ancestral", steps=50)
    return [
        Sweep("classifier-free (cfg)", "w", _W, by_label),
        Sweep("classifier-free in an interval (cfg)", "w", _W_WITHIN, within),
        Sweep("a weaker model in an interval (cfg, w = 0)", "w", _BEYOND_WITHIN, unlabelled),
        Sweep("classifier (ddpm)", "s", _S, by_classifier),
        Sweep("classifier (ddpm, ancestral)", "s", _S, ancestral),
        Sweep("a weaker model (ddpm)", "w", _BEYOND, functools.partial(auto, ddpm)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--check", type=int, default=10_000)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--rows", type=Path, help="keeps what was measured, from one run to the next")
    parser.add_argument("--only", default="", help="sweeps whose names begin so")
    parser.add_argument("--judge-epochs", type=int, default=8, help="fewer only to try this program")
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    reader = trained_judge(options.judge, options.judge_epochs)
    data = load("mnist")
    train, test = data.train, data.test
    right = (judge.verdicts(reader, test.images) == test.labels).double().mean()
    print(f"the judge reads {right:.2%} of the test digits as they are labelled")

    features = distances.bundled_features(choose_device("cpu"))
    theirs = features.features(test.images)
    draws = [dealt(train, train.deal(options.num, seed), seed) for seed in range(_FLOOR_DRAWS)]
    real = [features.features(train.images[draw]) for draw in draws]
    floor = sum(distances.frechet(part, theirs) for part in real) / len(real)
    likeness = distances.manifold(real[0], theirs[: options.num])
    print(f"{options.num} real training images, dealt: distance {floor:.4f}, precision "
          f"{likeness.precision:.3f}, recall {likeness.recall:.3f}")  # fmt: skip

    limits = neighbours.thresholds(data, features.classes)

    def row(sweep: Sweep, strength: float) -> Row:
        started = time.perf_counter()
        images = sweep.draw(strength, options.num, 0)
        rate = options.num / (time.perf_counter() - started)
        found = features.features(images)
        like = distances.manifold(found, theirs[: options.num])
        distance = distances.frechet(found, theirs)
        copies = neighbours.near_copies(images, features.decide(found), train.images, limits).share
        return Row(strength, kept(images, 0), distance, like.precision, like.recall, copies, rate)

    def kept(images: Tensor, seed: int) -> float:
        return (judge.verdicts(reader, images) == train.deal(len(images), seed)).double().mean().item()

    known: dict[str, list[Row]] = {}
    if options.rows and options.rows.exists():
        known = {name: [Row(*r) for r in rows] for name, rows in json.loads(options.rows.read_text()).items()}
    found: dict[str, list[Row]] = {}
    for sweep in sweeps(data):
        found[sweep.name] = known.setdefault(sweep.name, [])
        asked = sweep.name.startswith(tuple(options.only.split(",")))
        print(f"{sweep.name}, by {sweep.letter}" if asked or found[sweep.name] else f"{sweep.name}: left out")
        for strength in sweep.strengths if asked else ():
            if strength not in [row.strength for row in found[sweep.name]]:
                found[sweep.name].append(row(sweep, strength))
                if options.rows:
                    options.rows.write_text(json.dumps(known))
        for one in found[sweep.name]:
            print(
                f"  {sweep.letter} = {one.strength:5.2f}   label {one.kept:7.2%}   "
                f"distance {one.distance:6.3f}   precision {one.precision:.3f}   "
                f"recall {one.recall:.3f}   near-copies {one.copies:.2%}   {one.rate:5.0f} images/s",
                flush=True,
            )
        for strength in (0.0, 3.0) if asked and sweep.letter == "w" and 3.0 in sweep.strengths else ():
            share = kept(sweep.draw(strength, options.check, 1), 1)
            print(f"  w = {strength:g}: {share:.2%} of {options.check:,} images carry the label asked for")
    if options.figure:
        chart({name: rows for name, rows in found.items() if rows}).save(options.figure)


if __name__ == "__main__":
    main()
