"""Repeat the search behind the preset `likelihood`: train each variant for the same CPU time, and score it.

    python scripts/likelihood_search.py [--seconds 60] [--only "preset,told shifts"]

Each variant differs from the preset in one thing and trains on one thread, for so many seconds of CPU time,
which other programs on the machine do not change much. Scores are bounds in bits per dimension of 300
validation images, by the same noise for all, so that differences are known better than the bounds are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from genmnist.data import Dataset, Splits, load
from genmnist.device import computing, describe_machine
from genmnist.evaluation import scores
from genmnist.evaluation.likelihood import PerImage, standard_error
from genmnist.families.ddpm import DiffusionOptions
from genmnist.models import Diffusion
from genmnist.nn import unet
from genmnist.randomness import reseed
from genmnist.registry import FAMILIES
from genmnist.training import StepEnd, Trainer
from genmnist.version import versions
from variants import with_dropout


@dataclass(frozen=True)
class Variant:
    """What differs from the preset: options, recipe, the network, or the data (see `shifted`)."""

    options: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    network: Callable[[DiffusionOptions], nn.Module] | None = None
    shifted: bool = False


class Bare(nn.Module):
    """A network that sees the noisy pixels alone, not what they say by themselves."""

    def __init__(self, options: DiffusionOptions) -> None:
        super().__init__()
        self.network = unet.build(options)

    def forward(self, x: Tensor, log_snr: Tensor, labels: Tensor | None = None) -> Tensor:
        """Answer as the network does when its other channels are 0."""
        answer: Tensor = self.network(torch.cat((x[:, :1], torch.zeros_like(x[:, 1:])), 1), log_snr)
        return answer


def shifted(data: Splits) -> Splits:
    """Return training images moved by up to a pixel either way; their label is which way, 4 if not at all.

    Told what was done to an image, a network need not believe that digits lie so (Karras et al. 2022,
    appendix F).
    """
    images, ways = data.train.images, [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    moved = torch.cat([images.roll(way, (1, 2)) for way in ways])
    labels = torch.arange(9).repeat_interleave(len(images))
    validation = data.validation
    still = Dataset(validation.name, validation.images, torch.full_like(validation.labels, 4))
    return Splits(Dataset(data.train.name, moved, labels), still, data.test)


VARIANTS = {
    "preset": Variant(),
    "bound only": Variant({"cross_entropy": 0.0}),
    "cross-entropy only": Variant({"cross_entropy": 1e3}),
    "cross-entropy 0.3": Variant({"cross_entropy": 0.3}),
    "uniform times": Variant({"times": "uniform"}),
    "noisy pixels alone": Variant(network=Bare),
    "dropout 0.1": Variant(network=with_dropout),
    "told shifts": Variant(shifted=True),
    "48-72-96 channels": Variant({"width": 48}),
    "32-48-64 channels": Variant({"width": 32}),
    "24-64-128 and attention": Variant({"size": "medium"}),
    "two blocks of 48": Variant({"width": 48, "blocks": 2}),
    "patches of 2": Variant({"patch": 2}),
    "rate 2e-3": Variant({}, {"lr": 2e-3}),
    "rate 8e-3": Variant({}, {"lr": 8e-3}),
    "AdamW 1e-3": Variant({}, {"optimizer": "adamw", "lr": 1e-3}),
    "batches of 32": Variant({}, {"batch_size": 32}),
    "average 0.99": Variant({}, {"ema": 0.99}),
    "no average": Variant({}, {"ema": 0.0}),
}
_PROBE = 8  # steps, whose time says how many fit


def train(variant: Variant, data: Splits, seconds: float) -> tuple[Diffusion, int]:
    """Train a variant for so many seconds of CPU time. Returns its model, and how many steps that were."""
    spent = _run(variant, data, _PROBE)[1] / _PROBE
    steps = round(seconds / spent)
    return _run(variant, data, steps)[0], steps


def _run(variant: Variant, data: Splits, steps: int) -> tuple[Diffusion, float]:
    """Train for so many steps. Returns the model, and its CPU time, reckoned from all but the first two."""
    family = FAMILIES["cfg" if variant.shifted else "ddpm"]
    _, preset = family.preset("likelihood")
    changes = variant.options | ({"classes": 9, "drop_label": 0.0} if variant.shifted else {})
    options = cast("DiffusionOptions", preset.options.replace(changes))
    reseed(torch.device("cpu"), 0, "weights")
    model = family.model_class(options, variant.network and variant.network(options))
    trainer = Trainer(
        model.place(torch.device("cpu")),
        shifted(data) if variant.shifted else data,
        preset.recipe.replace(variant.recipe),
        steps=steps,
    )
    started = 0.0
    for event in trainer.train():
        if not isinstance(event, StepEnd):
            continue
        if event.step == 2:
            started = time.process_time()
        if event.step == steps:
            break
    spent = (time.process_time() - started) * steps / max(steps - 2, 1)
    return cast("Diffusion", trainer.result.eval()), spent


def main() -> None:
    """Train and score the variants that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--images", type=int, default=300)
    options = parser.parse_args()
    data = load()
    judged = data.validation.images[:: len(data.validation) // options.images][: options.images]
    print(f"{describe_machine()}; {versions()}; {options.seconds:g} s of one thread each")
    first: PerImage | None = None
    with computing(1, deterministic=False, balanced=False):
        for name in options.only.split(","):
            variant = VARIANTS[name]
            model, steps = train(variant, data, options.seconds)
            labels = torch.full((len(judged),), 4) if variant.shifted else None
            *_, found = scores.terms(model, judged, labels, seed=1)
            bits, count = found.bits, sum(weight.numel() for weight in model.parameters())
            first = bits if first is None else first
            more = bits - first
            print(
                f"{name:23} {count:>9,} parameters  {steps:>5,} steps  {bits.mean():.4f} bits per dimension, "
                f"{more.mean():+.4f} ± {standard_error(more):.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
