"""Few-step models, and autoguidance: consistency tuning, its sampler, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import genmnist
from genmnist.data import Splits
from genmnist.diffusion import guidance, samplers
from genmnist.diffusion.schedules import CLEAN, straight
from genmnist.diffusion.targets import Denoised
from genmnist.errors import UsageError
from genmnist.families.few import FewOptions, FewSampling
from genmnist.models import FewSteps
from genmnist.registry import FAMILIES, TIMES
from genmnist.runs.find import WEIGHTS
from genmnist.training import StepEnd, Trainer

SPREAD = 0.25  # of data that are Gaussian, pixel by pixel, whose paths are known in closed form


class _Gaussian(torch.nn.Module):
    """The exact end of the path of every x, for Gaussian data, as the velocity `flow`: it is consistent."""

    def forward(self, x: Tensor, log_snr: Tensor, labels: Tensor | None = None) -> Tensor:
        ratio = (-log_snr / 2).exp().view(-1, 1, 1, 1)  # sigma / alpha; x is variance preserving
        plain = x * (1 + ratio**2).sqrt()  # x_0 + ratio epsilon
        end = plain * SPREAD / (SPREAD**2 + ratio**2).sqrt()
        return (plain - end) / ratio - end


def _model(network: torch.nn.Module, **options: Any) -> FewSteps:
    """Return a few-step model of small images, in float32."""
    model = FewSteps(FewOptions(shape=(1, 8, 8), network="own", target="flow", noise_schedule="straight",
                                **options), network)  # fmt: skip
    return model.place(torch.device("cpu"), "float32")


def test_jump_lands_where_the_ode_does() -> None:
    """The closed form above is where the probability-flow ODE of Gaussian data comes to."""
    schedule = straight(1000)

    def denoise(x: Tensor, t: float) -> Denoised:
        alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
        clean = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2) * x
        return Denoised(clean, (x - alpha * clean) / sigma)

    noise = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    times = torch.linspace(999, 0, 400).tolist()
    *_, last = samplers.heun(denoise, noise, schedule, [*times, CLEAN])
    jump = _model(_Gaussian())._jump(torch.zeros_like(noise), noise / schedule.sigma(999).float(),
                                     torch.full((4,), 999.0, dtype=torch.float64), None)  # fmt: skip
    assert torch.allclose(jump, last.x, atol=0.02)


def test_loss_of_a_consistent_model_vanishes_with_the_gap() -> None:
    """Its two predictions differ by the noise of one draw alone, which shrinks as the gap does."""
    torch.manual_seed(0)
    images = (torch.randn(4000, 1, 8, 8) * SPREAD / 2 + 0.5).clamp(0, 1)
    model, labels = _model(_Gaussian()).eval(), torch.zeros(4000, dtype=torch.int64)
    distances = [float(model.losses(images, labels, progress)["distance"]) for progress in (0.2, 0.6, 1.0)]
    assert distances[0] > 4 * distances[1] > 16 * distances[2] > 0


def test_gap_halves() -> None:
    """At the beginning the nearer level is at half the noise or none; each halving halves the gap."""
    model = _model(_Gaussian(), halvings=4)
    t = model.schedule.timestep(torch.tensor([-2 * math.log(20.0)], dtype=torch.float64))
    gaps = [1 - model._nearer(t, k / 4).item() / 20 for k in range(5)]
    assert gaps == pytest.approx([2.0 ** -(k + 1) for k in range(5)], rel=1e-4)
    near = model.schedule.timestep(torch.tensor([-2 * math.log(0.1)], dtype=torch.float64))
    assert model._nearer(near, 0).item() == 0, "where there is little noise it is compared with the image"


def test_loss_leaves_the_goal_alone() -> None:
    """The nearer prediction is a goal: no gradient flows through it, and without a gap it is the image."""
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    seen = []

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = network

        def forward(self, x: Tensor, log_snr: Tensor, labels: Tensor | None = None) -> Tensor:
            seen.append(torch.is_grad_enabled())
            found: Tensor = self.conv(x)
            return found

    model = _model(Network())
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = model.losses(images, torch.zeros(8, dtype=torch.int64))["loss"]
    loss.backward()
    assert seen == [False, True]
    assert network.weight.grad is not None
    assert network.weight.grad.norm() > 0


def test_sampler_noises_each_prediction_afresh() -> None:
    """x at s is alpha_s x_0 + sigma_s noise (Song et al. 2023, algorithm 1), and the end is x_0."""
    schedule = straight(1000)
    fresh = torch.full((2, 1, 4, 4), 0.25)
    x = torch.ones(2, 1, 4, 4)

    def denoise(x: Tensor, t: float) -> Denoised:
        return Denoised(x / 2, x)

    first, last = samplers.consistency(denoise, x, schedule, [999.0, 499.5, CLEAN], lambda: fresh)
    expected = schedule.alpha(499.5) * 0.5 + schedule.sigma(499.5) * 0.25
    assert torch.allclose(first.x, expected.float().expand(2, 1, 4, 4))
    assert torch.equal(last.x, first.x / 2)


def test_broad_times_are_log_normal() -> None:
    """The logarithm of sigma / alpha has mean -1.1 and deviation 2 (Geng et al. 2024, table 6)."""
    schedule = straight(10_000)
    u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    logs = -schedule.log_snr(TIMES["broad"](schedule, u)) / 2
    assert logs.mean().item() == pytest.approx(-1.1, abs=0.02)
    assert logs.std().item() == pytest.approx(2.0, abs=0.02)


def test_tuning_learns_and_is_kept(few: Splits, tmp_path: Path) -> None:
    """A bundled diffusion model is tuned, saved, loaded and drawn from in one step; the loss falls."""
    losses = []

    def listen(event: object, trainer: Trainer) -> None:
        if trainer.step in (1, 20) and isinstance(event, StepEnd):
            losses.append(trainer.validate()["loss"])

    run = genmnist.train("few", start=WEIGHTS / "ddpm-guide.safetensors", data=few, steps=20, device="cpu",
                         recipe={"batch_size": 32, "ema": 0.9}, out=tmp_path / "run", sample_every=0,
                         listen=listen)  # fmt: skip
    assert losses[1] < losses[0]
    assert "ddpm-guide" in (run.config.start or "")
    model = cast("FewSteps", genmnist.load("few", run, device="cpu"))
    assert model.options.size == "tiny"
    assert model.sample(2, steps=1).shape == (2, 28, 28)
    for no_beginning in (WEIGHTS / "vae.safetensors", "vae"):
        with pytest.raises(UsageError, match=r"cannot go on .* takes a ddpm or a cfg or a few"):
            genmnist.train("few", start=no_beginning, data=few, steps=1, device="cpu")


def test_options_of_a_source_are_kept() -> None:
    """A few-step model has the network, schedule and labels of its source, and times of its own."""
    source = FAMILIES["cfg"].presets["best"].options.replace({"class_names": tuple("0123456789")})
    options = FewOptions().of_source(source)
    assert (options.size, options.noise_schedule, options.target) == ("medium", "straight", "flow")
    assert (options.classes, options.class_names, options.times) == (10, tuple("0123456789"), "broad")
    with pytest.raises(UsageError, match="categorical"):
        FewOptions().of_source(FAMILIES["ddpm"].presets["likelihood"].options)


def test_fewer_steps_begin_from_less_noise() -> None:
    assert [FewSampling.choose(steps=steps).temperature for steps in (1, 2, 4)] == [0.8, 0.95, 0.9875]
    assert FewSampling.choose(steps=1, temperature=1.0).temperature == 1
    assert FewSampling.choose("dpm-solver").temperature == 1
    assert FewSampling.deterministic().temperature == 1


def test_guidance_needs_labels() -> None:
    """A few-step model of a ddpm has nothing to guide by; in 3 steps it draws all the same."""
    model = _model(_Gaussian())
    with pytest.raises(UsageError, match="no labels"):
        model.sample(1, guidance=2.0)
    with pytest.raises(UsageError, match="labels"):
        model.sample(1, labels=7)
    assert (model.how().guidance, FewSampling().guidance) == (0, 1)
    assert model.sample(3, steps=3).shape == (3, 8, 8)
    whole, parts = model.sample(5, seed=1), model.sample(5, seed=1, batch_size=2)
    assert torch.equal(whole, parts)


def test_autoguidance_goes_beyond() -> None:
    """The prediction lies beyond the model's, away from the weaker one's, within its interval alone."""
    x = torch.zeros(1, 1, 2, 2)

    def better(x: Tensor, t: float, labels: Tensor | None) -> Denoised:
        return Denoised(x + 3, x + 1)

    def worse(x: Tensor, t: float, labels: Tensor | None) -> Denoised:
        return Denoised(x + 1, x + 2)

    schedule = straight(1000)
    guided = guidance.autoguided(better, worse, guidance.within(0.5, schedule, 0.2, 0.8))
    assert guided(x, 500.0, None).x0.flatten().tolist() == [4.0] * 4
    assert guided(x, 500.0, None).epsilon.flatten().tolist() == [0.5] * 4
    assert guided(x, 50.0, None).x0.flatten().tolist() == [3.0] * 4


def test_autoguidance_by_itself_changes_nothing() -> None:
    """A model beyond itself is itself; a weaker one of another schedule sees the same noise."""
    model = genmnist.load("ddpm", device="cpu", precision="float32")
    plain = model.sample(2, steps=3)
    assert torch.equal(model.sample(2, steps=3, autoguidance=0.0), plain)
    own = model.sample(2, steps=3, autoguidance=1.0, weaker=model)
    assert (own.int() - plain.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"autoguidance": 1.0}, "belong together"),
        ({"weaker": "itself"}, "belong together"),
        ({"autoguidance": 1.0, "weaker": "cfg"}, "same images and labels"),
        ({"guide_above": 0.5, "guide_below": 0.2}, "nothing lies between"),
    ],
)
def test_autoguidance_is_refused(asked: dict[str, object], said: str) -> None:
    """A weaker model and the strength belong together, and the two models must be alike."""
    model = genmnist.load("ddpm", device="cpu")
    models = {"itself": model, "cfg": genmnist.load("cfg", device="cpu")}
    given: dict[str, Any] = {
        name: models.get(value, value) if isinstance(value, str) else value for name, value in asked.items()
    }
    with pytest.raises(UsageError, match=said):
        model.sample(1, **given)
