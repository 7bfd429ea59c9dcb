"""Sample in one, two and four steps, and compare distance and speed with the reference's 1000.

    python bench/few_steps.py [--models bundled,RUN,…] [--steps 1,2,4] [--guidance 1,2] [--num 2000]
                              [--sets 3] [--rounds 3]

Each model draws `--sets` times `--num` images by each number of steps and each guidance, of each label as
many as training images have it: the mean of their Fréchet distances to the 10,000 test images in the features
of the bundled classifier, and of the first set precision, recall, the share that is nearer to a training
image than 1 % of real images are, and, of a model with labels, the share that the classifier reads as asked.
Beside it stand the bundled `ddpm` and `cfg` by their default sampler, images a second, and how many times
those of the reference: 64 images by 1000 ancestral steps of the report's network (bench/reference_ddpm.py),
whose weights are random, since they do not change its speed. Same cores, one run, in turns; medians.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

import genmnist
import reference_ddpm
from genmnist import api
from genmnist.data import Splits, load
from genmnist.device import choose_device, describe_machine
from genmnist.evaluation import distances, neighbours
from genmnist.evaluation.distances import FeatureSpace
from genmnist.models import Generator


class Way(NamedTuple):
    """A model and how it draws."""

    name: str
    model: Generator
    how: dict[str, Any]

    def draw(self, num: int, seed: int, labels: Tensor | None = None) -> Tensor:
        """Return images, of labels if there are any to ask for."""
        return self.model.sample(num, seed, batch_size=64, labels=labels, **self.how)


def ways(models: str, steps: str, guidance: str, beside: str) -> list[Way]:
    """Return what is compared: few-step models by so many steps, and bundled others as they are."""
    found = []
    for name in models.split(","):
        model = cast("Generator", genmnist.load("few", name, device="cpu"))
        for number, strength in itertools.product(steps.split(","), guidance.split(",")):
            how = {"steps": int(number)} | ({"guidance": float(strength)} if strength else {})
            found.append(Way(", ".join([name, *(f"{k} {v:g}" for k, v in how.items())]), model, how))
    unguided: dict[str, dict[str, Any]] = {"ddpm": {}, "cfg": {"guidance": 0.0}}
    many = {name: unguided[name] for name in beside.split(",") if name}
    return found + [
        Way(f"{name}, default sampler", cast("Generator", genmnist.load(name, "bundled", device="cpu")), how)
        for name, how in many.items()
    ]


def quality(way: Way, num: int, sets: int, features: FeatureSpace, data: Splits, limits: Any) -> str:
    """Return what is to be said of the images that a way draws."""
    theirs = features.features(data.test.images)
    asked = [data.train.deal(num, seed) if way.model.classes else None for seed in range(sets)]
    drawn = [way.draw(num, seed, labels) for seed, labels in enumerate(asked)]
    ours = [features.features(images) for images in drawn]
    distance = statistics.mean(distances.frechet(found, theirs) for found in ours)
    like = distances.manifold(ours[0], distances.fixed_subset(theirs, len(ours[0])))
    read = features.decide(ours[0])
    copies = neighbours.near_copies(drawn[0], read, data.train.images, limits).share
    kept = "" if asked[0] is None else f"   label kept {(read == asked[0]).double().mean():.2%}"
    return (
        f"distance {distance:.4f}   precision {like.precision:.3f}   recall {like.recall:.3f}   "
        f"near-copies {copies:.2%}{kept}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", default="bundled", help="few-step models: runs, or the bundled one")
    parser.add_argument("--beside", default="ddpm,cfg", help="bundled models of many steps")
    parser.add_argument("--steps", default="1,2,4")
    parser.add_argument("--guidance", default="", help="of models with labels, instead of the default")
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference-steps", type=int, default=1000, help="fewer only to try this program")
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    compared = ways(options.models, options.steps, options.guidance, options.beside)
    reference = reference_ddpm.ReferenceUNet().eval()
    rates: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        started = time.perf_counter()
        for _batch in reference_ddpm.sample(reference, 64, "ancestral", options.reference_steps, batch=64):
            pass
        rates.setdefault("reference", []).append(64 / (time.perf_counter() - started))
        for way in compared:
            started = time.perf_counter()
            way.draw(options.num, 0)
            rates.setdefault(way.name, []).append(options.num / (time.perf_counter() - started))
    base = statistics.median(rates["reference"])
    print(f"  {options.reference_steps} ancestral steps of the reference: {base:.3f} images/s")
    features, data = distances.bundled_features(choose_device("cpu")), load("mnist")
    limits = neighbours.thresholds(data, features.classes)
    for way in compared:
        rate = statistics.median(rates[way.name])
        said = quality(way, options.num, options.sets, features, data, limits)
        print(f"  {way.name:30} {rate:9.1f} images/s   {rate / base:7.0f} times   {said}", flush=True)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
