"""Repeat the search behind the preset `fast` of ddpm and cfg: train variants for equal times, and score them.

    python scripts/search.py [--size tiny] [--cpu-minutes 2.5] [--only base,adamw] [--seeds 0,1]

Each variant differs in one thing from `fast` without clusters, and trains on one thread. Time is that of
the CPU, which other programs change little: steps of the variant and of the base are timed in turns, and
the variant takes as many as cost what those of the base cost. Scores are Fréchet distances of 2,000 samples
to the validation images in the features of the bundled classifier; cfg is not guided. Results are kept in a
file, line by line: what stands there is not trained again, and has its row in the table at the end.
docs/results.md keeps the tables of the searches that were made.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, cast

import msgspec
import torch
from torch import nn

import variants as parts
from genmnist.data import load
from genmnist.device import choose_device, computing, describe_machine
from genmnist.evaluation import distances
from genmnist.families import Recipe
from genmnist.families.ddpm import DiffusionOptions
from genmnist.models import Diffusion
from genmnist.randomness import reseed
from genmnist.registry import FAMILIES
from genmnist.training import Trainer
from genmnist.training.trainer import validate
from genmnist.version import versions

CPU = choose_device("cpu")


@dataclass(frozen=True)
class Variant:
    """What differs from the preset: options, recipe, the network, or the model that is trained around it."""

    options: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    network: Callable[[DiffusionOptions], nn.Module] | None = None
    model: type[Diffusion] | None = None
    family: str = "ddpm"

    @property
    def costs_the_same(self) -> bool:
        """Tell whether a step costs what one of the base does, by its make."""
        free = {"clusters", "times", "weight", "noise_schedule", "target", "lr"}
        return not (self.network or self.model or {*self.options, *self.recipe} - free)


_COSINE = {"noise_schedule": "cosine", "target": "v"}
VARIANTS = {
    "base": Variant(),
    "immiscible": Variant(model=parts.Immiscible),
    "dropout": Variant(network=parts.with_dropout),
    "augmented": Variant(network=parts.told_of_changes, model=parts.Augmented),
    "min-snr": Variant({"weight": "min-snr"}),
    "cleaner": Variant({"times": "cleaner"}),
    "noisier": Variant({"times": "noisier"}),
    "clusters": Variant({"clusters": 100}),
    "noisiest": Variant({"times": "noisiest"}),
    "wider": Variant({"times": "wider"}),
    "cfg": Variant(family="cfg"),
    "contrastive": Variant(model=parts.Contrastive, family="cfg"),
    "deep-middle": Variant(network=parts.shaped(1, 1, 1, middle=5)),
    "wide-middle": Variant(network=parts.shaped(1, 1, 2)),
    "wide-top": Variant(network=parts.shaped(2, 1, 0.5)),
    "narrow-top": Variant(network=parts.shaped(0.5, 1, 2)),
    "transformer": Variant(network=parts.Transformer),
    "preserving": Variant(network=parts.preserving),
    "adamw": Variant({}, {"optimizer": "adamw", "lr": 2e-3}),
    "rate-2e-3": Variant({}, {"lr": 2e-3}),
    "rate-6e-3": Variant({}, {"lr": 6e-3}),
    "batch-32": Variant({}, {"batch_size": 32, "lr": 2e-3}),
    "batch-128": Variant({}, {"batch_size": 128, "lr": 4e-3}),
    "width-24": Variant({"width": 24}),
    "width-32": Variant({"width": 32}),
    "patch-2": Variant({"patch": 2, "width": 64}),
    "ema-0.9995": Variant({}, {"ema": 0.9995}),
    "no-ema": Variant({}, {"ema": 0.0}),
    "uniform": Variant({"times": "uniform"}),
    "v-cosine": Variant(_COSINE | {"times": "uniform"}),
    "v-cosine-logit": Variant(_COSINE),
    "v-cosine-min-snr": Variant(_COSINE | {"times": "uniform", "weight": "min-snr"}),
    "epsilon-cosine": Variant({"noise_schedule": "cosine", "target": "epsilon", "times": "uniform"}),
    "epsilon-linear": Variant({"noise_schedule": "linear", "target": "epsilon", "times": "uniform"}),
    "log-normal": Variant(_COSINE | {"times": "log-normal"}),
}
_WARMUP, _TIMED = 3, 30  # steps
_ALIKE = 0.03  # of the time of a step: so near, it is the same


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a training came to.

    Args:
        variant, seed: which it was.
        parameters: of its network.
        cost: of a step, in steps of the base.
        steps: that it took.
        loss: of its network as the base reckons it, on validation images; None if it answers another target.
        distance, precision, recall: of its samples.
        kept: the share of labels that the classifier reads in the samples of a model with labels.
    """

    variant: str
    seed: int
    parameters: int
    cost: float
    steps: int
    loss: float | None
    distance: float
    precision: float
    recall: float
    kept: float | None


class Search:
    """The variants of one size, how long they train, and whoever judges them.

    Args:
        size: of the networks.
        samples: how many to draw.
    """

    def __init__(self, size: str, samples: int) -> None:
        self.size, self.samples = size, samples
        self.data = load("mnist")
        self.space = distances.bundled_features(CPU)
        self.real = self.space.features(self.data.validation.images)

    def trainer(self, variant: Variant, seed: int = 0, steps: int = 1000) -> Trainer:
        """Return a variant at its beginning."""
        family, options, recipe = self._preset(variant)
        options = options.replace(variant.options)
        reseed(CPU, seed, "weights")
        model = (variant.model or family.model_class)(options, variant.network and variant.network(options))
        return Trainer(model.place(CPU), self.data, recipe.replace(variant.recipe), steps=steps, seed=seed)

    def _preset(self, variant: Variant) -> tuple[Any, Any, Recipe]:
        family = FAMILIES[variant.family]
        _, preset = family.preset("fast")
        return family, preset.options.replace({"size": self.size, "clusters": 0}), preset.recipe

    def paces(self, *chosen: Variant) -> list[float]:
        """Return the CPU time of a step of each, in seconds: medians of steps that were taken in turns."""
        loops = [self.trainer(variant).train() for variant in chosen]
        times = [[_timed(loop) for loop in loops] for _ in range(_WARMUP + _TIMED)][_WARMUP:]
        return [median(column) for column in zip(*times, strict=True)]

    def cost(self, variant: Variant) -> float:
        """Return what a step of a variant costs, in steps of the base."""
        if variant.costs_the_same:
            return 1.0
        base, ours = self.paces(VARIANTS["base"], variant)
        return 1.0 if abs(ours / base - 1) < _ALIKE else ours / base

    def train(self, name: str, seed: int, steps: int, cost: float) -> Result:
        """Train a variant for so many steps, and judge it."""
        variant = VARIANTS[name]
        trainer = self.trainer(variant, seed, steps)
        for _ in trainer.train():
            pass
        model = cast("Diffusion", trainer.result.eval())
        family, options, _ = self._preset(variant)
        loss = None
        if model.options.target == options.target:
            loss = validate(family.model_class(options, model.network), self.data.validation)["loss"]
        how: dict[str, Any] = {"guidance": 0.0} if model.classes else {}
        found = self.space.features(model.sample(self.samples, 0, 64, **how))
        near = distances.manifold(found, distances.fixed_subset(self.real, len(found)))
        asked = torch.arange(len(found)) % max(model.classes, 1)
        kept = (self.space.decide(found) == asked).double().mean().item()
        return Result(
            variant=name,
            seed=seed,
            parameters=sum(weight.numel() for weight in model.parameters()),
            cost=cost,
            steps=steps,
            loss=loss,
            distance=distances.frechet(found, self.real),
            precision=near.precision,
            recall=near.recall,
            kept=kept if model.classes else None,
        )


def _timed(loop: Iterator[object]) -> float:
    started = time.process_time()
    next(loop)
    return time.process_time() - started


def table(results: Sequence[Result]) -> list[str]:
    """Return the rows of a table: each variant with its trainings, and how it compares with its base."""
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(result.variant, []).append(result)
    heads = ("variant", "parameters", "cost of a step", "steps", "validation loss", "distance", "to the base",
             "precision", "recall")  # fmt: skip
    rows = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, trained in by_name.items():
        base = "cfg" if VARIANTS[name].family == "cfg" else "base"
        same = {result.seed: result.distance for result in by_name.get(base, [])}
        ratios = [result.distance / same[result.seed] for result in trained if result.seed in same]
        cells = [
            name,
            f"{trained[0].parameters:,}",
            f"{trained[0].cost:.2f}",
            f"{trained[0].steps:,}",
            *(_each(trained, lambda r: r.loss, ".4f"), _each(trained, lambda r: r.distance, ".3f")),
            ", ".join(f"{ratio - 1:+.0%}" for ratio in ratios) if name != base else "",
            *(_each(trained, lambda r: r.precision, ".3f"), _each(trained, lambda r: r.recall, ".3f")),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _each(results: Sequence[Result], number: Callable[[Result], float | None], form: str) -> str:
    found = [number(result) for result in results]
    return ", ".join("—" if one is None else format(one, form) for one in found)


def main() -> None:
    """Train and score the variants that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="small")
    parser.add_argument("--cpu-minutes", type=float, default=3.0, help="that the base trains")
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("build/search.jsonl"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.touch()
    done = [msgspec.json.decode(line, type=Result) for line in options.out.read_text().splitlines()]
    print(
        f"{describe_machine()}; {versions()}; {options.size}, {options.cpu_minutes:g} min of one thread each"
    )
    with computing(1):
        search = Search(options.size, options.samples)
        steps = {result.variant: result.steps for result in done}.get("base")
        if steps is None:
            (pace,) = search.paces(VARIANTS["base"])
            steps = round(60 * options.cpu_minutes / pace)
        for name in options.only.split(","):
            for seed in map(int, options.seeds.split(",")):
                known = {result.variant: result.cost for result in done}
                if any((result.variant, result.seed) == (name, seed) for result in done):
                    continue
                cost = known.get(name) or search.cost(VARIANTS[name])
                done.append(search.train(name, seed, round(steps / cost), cost))
                print(done[-1], flush=True)
                with options.out.open("ab") as file:
                    file.write(msgspec.json.encode(done[-1]) + b"\n")
    print("\n".join(table(done)))


if __name__ == "__main__":
    main()
