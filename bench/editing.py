"""Digits edited towards the next label: how many become it, and how far they go for that.

    python bench/editing.py [--num 60] [--split validation|test]

Each digit is edited once by the bundled model with labels (SDEdit), towards its own label plus one, at
several strengths and strengths of guidance. The bundled classifier reads what came out; how far it is from
the digit it began with is the root of the summed squares over pixels in [0, 1].
"""

from __future__ import annotations

import argparse
import itertools

import torch

import genmnist
from genmnist.data import Dataset, load
from genmnist.device import describe_machine

STRENGTHS, GUIDANCE = (0.5, 0.6, 0.7, 0.8, 0.9), (0.5, 3.0)


def main() -> None:
    """Print a row for each strength and guidance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num", type=int, default=60)
    parser.add_argument("--split", choices=("test", "validation"), default="validation")
    given = parser.parse_args()
    data: Dataset = getattr(load("mnist"), given.split)
    images, wanted = data.images[: given.num], (data.labels[: given.num] + 1) % 10
    classifier, model = genmnist.load("classifier", device="cpu"), genmnist.load("cfg", device="cpu")
    print(f"{describe_machine()}; {given.num} {given.split} images\n")
    print("| strength | guidance | become the label | distance from the digit |\n| --- | --- | --- | --- |")
    for strength, guidance in itertools.product(STRENGTHS, GUIDANCE):
        drawn = torch.cat(
            [
                model.edit(image, strength, 1, number, labels=int(wanted[number]), guidance=guidance)
                for number, image in enumerate(images)
            ]
        )
        right = (classifier.decide(classifier.features(drawn)) == wanted).float().mean()
        far = ((drawn.float() - images.float()) / 255).square().flatten(1).sum(1).sqrt().mean()
        print(f"| {strength:g} | {guidance:g} | {right:.0%} | {far:.1f} |", flush=True)


if __name__ == "__main__":
    main()
