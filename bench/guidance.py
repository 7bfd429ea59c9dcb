"""How guidance trades diversity for truth to the label, in both of its kinds.

    python bench/guidance.py [--num 2000] [--check 10000] [--figure docs/images/guidance.png] [--judge FILE]

A judge (bench/judge.py), which shares neither architecture nor seed with any network in the package, is
trained first and reads the test images; then it reads what the bundled models draw. Classifier-free guidance
of the bundled `cfg` by w, classifier guidance of the bundled `ddpm` by s, and autoguidance of both by models
that are smaller and were trained for less long, `--num` images each; beside the
share of labels kept stand the Fréchet distance to the test images, as a multiple of the floor (that of as
many real training images), and precision and recall against as many test images. At w = 0 and w = 3 the
share is measured on `--check` images.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import genmnist
import judge
from genmnist import api
from genmnist.data import load
from genmnist.device import choose_device, describe_machine
from genmnist.evaluation import distances
from genmnist.figures.curves import Chart, Panel
from genmnist.models import ByClassifier, Diffusion, Model

_CFG = (-1.0, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
_WAYS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "dpm-solver, 16 steps": ({}, (0.0, 1.0, 2.0, 4.0, 8.0)),
    "ancestral, 50 steps": ({"sampler": "ancestral", "steps": 50}, (0.0, 1.0, 2.0, 4.0, 8.0)),
}
_AUTO: dict[str, dict[str, Any]] = {"ddpm": {}, "cfg": {"guidance": 0.0}}
_BEYOND = (0.0, 0.3, 0.5, 0.7, 1.0, 2.0)
_FLOOR_DRAWS = 10


class Row(NamedTuple):
    """What was measured at one strength."""

    strength: float
    kept: float  # share of the labels
    ratio: float  # distance over that of real images
    precision: float
    recall: float


def chart(found: dict[str, list[Row]]) -> Chart:
    """Return what a strength changes: a column a name, distances above, shares below."""

    def lines(rows: list[Row], **names: str) -> dict[str, tuple[list[float], list[float]]]:
        strengths = [row.strength for row in rows]
        return {name: (strengths, [getattr(row, field) for row in rows]) for field, name in names.items()}

    above = [
        Panel(lines(rows, ratio="distance"), "strength", "distance / floor", name, log=True)
        for name, rows in found.items()
    ]
    shares = {"kept": "label kept", "precision": "precision", "recall": "recall"}
    below = [Panel(lines(rows, **shares), "strength", "share", shares=True) for rows in found.values()]
    return Chart([above, below])


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


def beyond(model: Diffusion, weaker: Model, way: dict[str, Any], w: float, num: int) -> Tensor:
    """Draw by a model, guided by a weaker one with strength `w`."""
    guided: dict[str, Any] = {"autoguidance": w, "weaker": weaker} if w else {}
    return model.sample(num, 0, 64, **way, **guided)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--check", type=int, default=10_000)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--judge", type=Path)
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
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randperm(len(train), generator=generator)[: options.num] for _ in range(_FLOOR_DRAWS)]
    real = [features.features(train.images[draw]) for draw in draws]
    floor = sum(distances.frechet(part, theirs) for part in real) / len(real)
    likeness = distances.manifold(real[0], theirs[: options.num])
    print(f"{options.num} real training images: distance {floor:.4f}, precision {likeness.precision:.3f}, "
          f"recall {likeness.recall:.3f}")  # fmt: skip

    def kept(images: Tensor) -> float:
        asked = torch.arange(len(images)) % 10
        return (judge.verdicts(reader, images) == asked).double().mean().item()

    def sweep(name: str, strengths: tuple[float, ...], draw: Callable[[float, int], Tensor]) -> list[Row]:
        rows = []
        for strength in strengths:
            started = time.perf_counter()
            images = draw(strength, options.num)
            rate = options.num / (time.perf_counter() - started)
            found = features.features(images)
            like = distances.manifold(found, theirs[: options.num])
            ratio = distances.frechet(found, theirs) / floor
            rows.append(Row(strength, kept(images), ratio, like.precision, like.recall))
            print(
                f"  {name} = {strength:5.2f}   label {rows[-1].kept:7.2%}   distance {rows[-1].ratio:6.2f} "
                f"times the floor   precision {like.precision:.3f}   recall {like.recall:.3f}   "
                f"{rate:5.0f} images/s",
                flush=True,
            )
        return rows

    labels = list(range(10))
    cfg = genmnist.load("cfg", "bundled", device="cpu")
    print("classifier-free guidance of the bundled cfg")
    free = sweep("w", _CFG, lambda w, num: cfg.sample(num, 0, 64, labels=labels, guidance=w))
    for w in (0.0, 3.0):
        share = kept(cfg.sample(options.check, 1, 64, labels=labels, guidance=w))
        print(f"  w = {w:g}: {share:.2%} of {options.check:,} images carry the label asked for", flush=True)

    ddpm = genmnist.load("ddpm", "bundled", device="cpu")
    guide = genmnist.load("classifier", "bundled:noisy", device="cpu", precision="float32")
    steered = {}
    for name, (way, strengths) in _WAYS.items():
        print(f"classifier guidance of the bundled ddpm: {name}")

        def draw(s: float, num: int, way: dict[str, Any] = way) -> Tensor:
            return ddpm.sample(num, 0, 64, labels=labels, guide=ByClassifier(guide, s), **way)

        steered[name] = sweep("s", strengths, draw)
    auto = {}
    for family, way in _AUTO.items():
        print(f"autoguidance of the bundled {family}")
        model = cast("Diffusion", genmnist.load(family, "bundled", device="cpu"))
        weaker = genmnist.load(family, "bundled:guide", device="cpu")
        draw = functools.partial(beyond, model, weaker, way)
        auto[family] = sweep("w", _BEYOND, draw)
    if options.figure:
        found = {"classifier-free (cfg), by w": free}
        found |= {f"classifier (ddpm, {name}), by s": rows for name, rows in steered.items()}
        found |= {f"a weaker model ({family}), by w": rows for family, rows in auto.items()}
        chart(found).save(options.figure)


if __name__ == "__main__":
    main()
