"""Write tests/explorer/vectors.json: numbers that the theory in Python and its mirror in JavaScript share.

The denoiser is a plain function, so that the numbers belong to the theory and not to a network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genmnist.diffusion import guidance, samplers, schedules
from genmnist.diffusion.inpainting import repaint, sooner
from genmnist.diffusion.schedules import Schedule
from genmnist.diffusion.spacings import spaced
from genmnist.diffusion.targets import Denoised, denoised
from genmnist.models.clusters import Clusters
from genmnist.randomness import SampleNoise, derive, philox
from genmnist.registry import SAMPLERS, SCHEDULES, SPACINGS, TARGETS

FILE = Path(__file__).parents[1] / "tests" / "explorer" / "vectors.json"
NUMBERS = 12  # of an image; there are two
LABELS = (1, 3)
NULL = 5


def toy(schedule: Schedule) -> guidance.Conditional:
    """Return a denoiser that is a formula: tanh of the image, shifted by its label."""

    def denoise(x: Tensor, t: float, labels: Tensor | None) -> Denoised:
        shift = 0.0 if labels is None else labels[:, None].double() / 10
        clean = (1.2 * x + shift).tanh()
        return Denoised(clean, (x - schedule.alpha(t).item() * clean) / schedule.sigma(t).item())

    return denoise


def vectors() -> dict[str, Any]:
    """Return all of them."""
    return {
        "derive": [
            [seed, name, str(derive(seed, name))] for seed in (0, 7, 2**40) for name in ("sample", "x")
        ],
        "philox": [
            [counter, key, philox(torch.tensor(counter), (key[0], key[1])).tolist()]
            for counter, key in (([0] * 4, [0, 0]), ([1, 2, 3, 4], [5, 6]), ([2**32 - 1] * 4, [2**32 - 1, 1]))
        ],
        "noise": _noise(),
        "schedules": [_schedule(name) for name in SCHEDULES.names()],
        "spacings": [
            {"spacing": spacing, "steps": steps, "last": last,
             "timesteps": spaced(schedules.straight(), steps, spacing, last)}
            for spacing in SPACINGS.names() for steps, last in ((1, 0), (7, 0), (16, 0), (16, 1), (1000, 0))
        ],
        "targets": [_target(name) for name in TARGETS.names()],
        "samplers": [
            _walk(name, schedule, steps, settings)
            for schedule in ("straight", "cosine")
            for name, steps, settings in (
                ("dpm-solver", 6, {}), ("heun", 5, {}), ("ddim", 6, {"eta": 0.0}), ("ddim", 6, {"eta": 1.0}),
                ("ancestral", 6, {"variance": "beta"}), ("ancestral", 6, {"variance": "beta-tilde"}),
                ("consistency", 4, {}),
            )
        ],
        "repaint": _completed(),
        "sooner": [[strength, sooner([63.0, 20.0, 3.0, -1.0], strength)] for strength in (0.25, 1.0)],
        "clusters": [_dealt(seed, first) for seed, first in ((0, 0), (7, 1000), (2**40, 3))],
        "guidance": [_guided(strength) for strength in (-1.0, 0.0, 0.5, 3.0)],
    }  # fmt: skip


def _start() -> Tensor:
    return SampleNoise(3, 0, 2).normal(NUMBERS).double()


def _dealt(seed: int, first: int) -> dict[str, Any]:
    shares = [0.125, 0.5, 0.0, 0.25, 0.125]
    clusters = Clusters(len(shares), (1, 2, 2))
    clusters.shares.copy_(torch.tensor(shares))
    dealt = clusters.deal(seed, first, NUMBERS).tolist()
    return {"shares": shares, "seed": seed, "first": first, "dealt": dealt}


def _noise() -> dict[str, Any]:
    noise = SampleNoise(7, 3, 2)
    return {
        "seed": 7,
        "first": 3,
        "count": 2,
        "numbers": 6,
        "draws": [noise.normal(6).flatten().tolist() for _ in "ab"],
    }


def _schedule(name: str) -> dict[str, Any]:
    schedule = SCHEDULES[name](64)
    times = [-1.0, 0.0, 0.3, 17.5, 63.0]
    return {
        "name": name, "straight": schedule.straight, "times": times,
        "log_snrs": schedule.log_snrs.tolist(), "alpha": [schedule.alpha(t).item() for t in times],
        "sigma": [schedule.sigma(t).item() for t in times],
        "found": [[lam, schedule.timestep(lam).item()] for lam in (-30.0, -2.0, 0.1, 5.0, 40.0)],
    }  # fmt: skip


def _target(name: str) -> dict[str, Any]:
    x, prediction = (
        torch.tensor([0.3, -1.2], dtype=torch.float64),
        torch.tensor([0.7, 0.1], dtype=torch.float64),
    )
    alpha, sigma = (torch.tensor(value, dtype=torch.float64) for value in (0.8, 0.6))
    found = denoised(name, prediction, x, alpha, sigma)
    return {"name": name, "x": x.tolist(), "prediction": prediction.tolist(), "alpha": 0.8, "sigma": 0.6,
            "x0": found.x0.tolist(), "epsilon": found.epsilon.tolist()}  # fmt: skip


def _walk(name: str, schedule_name: str, steps: int, settings: dict[str, Any]) -> dict[str, Any]:
    schedule = SCHEDULES[schedule_name](64)
    noise, given = SampleNoise(4, 0, 2), dict(settings)
    if "noise" in SAMPLERS.parameters(name):
        given["noise"] = lambda: noise.normal(NUMBERS).double()
    plain = toy(schedule)
    denoise = samplers.thresholded(lambda x, t: plain(x, t, None), schedule)
    timesteps = spaced(schedule, steps, "shifted")
    walked = [*SAMPLERS[name](denoise, _start(), schedule, timesteps, **given)]
    return {
        "sampler": name, "schedule": schedule_name, "log_snrs": schedule.log_snrs.tolist(),
        "straight": schedule.straight, "steps": steps, "settings": settings,
        "t": [step.t for step in walked], "x": walked[-1].x.flatten().tolist(),
        "x0": walked[2].x0.flatten().tolist(),
    }  # fmt: skip


def _completed() -> dict[str, Any]:
    schedule, noise = schedules.straight(64), SampleNoise(4, 0, 2)
    plain = toy(schedule)
    denoise = samplers.thresholded(lambda x, t: plain(x, t, None), schedule)

    def fresh() -> Tensor:
        return noise.normal(1, 3, 4).double()

    clean = SampleNoise(9, 0, 2).normal(1, 3, 4).double().clamp(-1, 1)
    hidden = torch.arange(NUMBERS).view(3, 4) % 4 > 1
    *_, last = repaint(
        lambda x, pair: samplers.ddim(denoise, x, schedule, pair, fresh, 1.0),
        _start().view(2, 1, 3, 4), schedule, spaced(schedule, 5, "shifted"), clean, hidden[None, None],
        fresh, 3,
    )  # fmt: skip
    return {"steps": 5, "resample": 3, "hidden": hidden.flatten().tolist(), "clean": clean.flatten().tolist(),
            "log_snrs": schedule.log_snrs.tolist(), "x": last.x.flatten().tolist()}  # fmt: skip


def _guided(strength: float) -> dict[str, Any]:
    schedule, labels = schedules.straight(64), torch.tensor(LABELS)
    denoise = guidance.classifier_free(
        toy(schedule), labels, torch.full_like(labels, NULL), lambda t: strength
    )
    found = denoise(_start(), 31.5)
    return {"strength": strength, "labels": LABELS, "null": NULL, "t": 31.5,
            "log_snrs": schedule.log_snrs.tolist(), "x0": found.x0.flatten().tolist(),
            "epsilon": found.epsilon.flatten().tolist()}  # fmt: skip


def main() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(vectors(), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
