"""Half-hidden digits, completed: how many come out as the class that they are.

    python bench/completing.py [--num 200] [--split test] [--steps N] [--resample N] [--spacing NAME]

The left, right, top or bottom half of each digit is hidden, in turn. It is completed once by each bundled
diffusion model (the one with labels with and without being told the label), and by the hidden half of the
training digit that is nearest to it in the half that is known. The bundled classifier reads what came out.
Some halves leave a doubt that nothing can remove: the top of a 7 may be that of a 9. So the model without
labels completes them several times, too, and what most of the completions are is taken.

How often a step is taken, and how many there are, was chosen by `--split validation`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

import genmnist
from genmnist.data import Dataset, centred, load, scale
from genmnist.device import describe_machine
from genmnist.evaluation.likelihood import standard_error
from genmnist.models import Classifier, Diffusion

Complete = Callable[[int, UInt8[Tensor, "h w"], Bool[Tensor, "h w"]], UInt8[Tensor, "h w"]]

_MANY = 5


def nearest(train: Dataset) -> Complete:
    """Return what fills hidden pixels by those of the nearest training digit in the others."""
    known = scale(train.images).flatten(1)

    def complete(number: int, image: Tensor, hidden: Tensor) -> Tensor:
        seen = (~hidden).flatten()
        sought = image.flatten()[seen].float() / 255
        match = train.images[(known[:, seen] - sought).square().sum(1).argmin()]
        return torch.where(hidden, match, image)

    return complete


def drawn_by(model: Diffusion, labels: Tensor | None, options: dict[str, Any]) -> Complete:
    """Return what completes by a model, which may be told the labels."""

    def complete(number: int, image: Tensor, hidden: Tensor) -> Tensor:
        told = {} if labels is None else {"labels": int(labels[number])}
        return model.complete(image, hidden, 1, number, **options, **told)[0]

    return complete


def commonest(model: Diffusion, classifier: Classifier, count: int, options: dict[str, Any]) -> Complete:
    """Return what completes `count` times by a model, and takes one of the class that most of them are."""

    def complete(number: int, image: Tensor, hidden: Tensor) -> Tensor:
        drawn = model.complete(image, hidden, count, number, **options)
        found = classifier.decide(classifier.features(drawn))
        return drawn[int((found == found.mode().values).nonzero()[0])]

    return complete


def ways(
    data: Dataset, train: Dataset, classifier: Classifier, options: dict[str, Any]
) -> Iterator[tuple[str, Complete]]:
    """Yield every way to complete digits, and what it is called."""
    yield "nobody: whole digits", lambda number, image, hidden: image
    yield "the nearest training digit", nearest(train)
    ddpm, cfg = genmnist.load("ddpm", device="cpu"), genmnist.load("cfg", device="cpu")
    yield "`ddpm`", drawn_by(ddpm, None, options)
    yield f"`ddpm`, what most of {_MANY} are", commonest(ddpm, classifier, _MANY, options)
    yield "`cfg`", drawn_by(cfg, None, options)
    yield "`cfg`, told the label", drawn_by(cfg, data.labels, options)


def main() -> None:
    """Print a row a way: the share of digits that came out as their class, of all and by the half hidden."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--resample", type=int)
    parser.add_argument("--spacing")
    parser.add_argument("--only", default="", help="the ways in whose names this stands")
    given = parser.parse_args()
    splits = load("mnist")
    data: Dataset = getattr(splits, given.split)
    classifier = genmnist.load("classifier", device="cpu")
    hidden = [torch.from_numpy(centred.half(side, data.shape[1:])) for side in centred.SIDES]
    options = {
        name: value for name, value in vars(given).items() if value and name not in ("num", "split", "only")
    }
    print(f"{describe_machine()}; {given.num} {given.split} images; {options}\n")
    print(
        f"| completed by | share of its own class | {' | '.join(centred.SIDES)} hidden | seconds an image |"
    )
    print("| --- " * (3 + len(hidden)) + "|")
    for name, complete in ways(data, splits.train, classifier, options):
        if given.only not in name:
            continue
        started = time.perf_counter()
        drawn = torch.stack([complete(k, data.images[k], hidden[k % len(hidden)]) for k in range(given.num)])
        seconds = (time.perf_counter() - started) / given.num
        right = (classifier.decide(classifier.features(drawn)) == data.labels[: given.num]).double()
        error = standard_error(right) or 0.0
        parts = " | ".join(f"{right[k :: len(hidden)].mean():.0%}" for k in range(len(hidden)))
        print(f"| {name} | {right.mean():.1%} ± {error:.1%} | {parts} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
