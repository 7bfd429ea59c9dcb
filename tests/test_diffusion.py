"""The theory of diffusion, held against diffusers, closed forms, and data whose optimal denoiser is known."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from conftest import slow
from genmnist.diffusion import samplers
from genmnist.diffusion.samplers import Denoise, Step
from genmnist.diffusion.schedules import CLEAN, Schedule, arctan, cosine, linear, straight
from genmnist.diffusion.spacings import spaced
from genmnist.diffusion.targets import Denoised, denoised, target
from genmnist.errors import UsageError
from genmnist.registry import SCHEDULES, TARGETS, WEIGHTS

THEIRS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
THEIR_TARGETS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}


def last(steps: Iterator[Step]) -> Tensor:
    *_, step = steps
    return step.x


# Schedules


@pytest.mark.parametrize("name", THEIRS)
def test_tables_are_those_of_diffusers(name: str) -> None:
    schedule = SCHEDULES[name]()
    scheduler: Any = diffusers.DDPMScheduler(beta_schedule=THEIRS[name])
    theirs = scheduler.alphas_cumprod.double()
    torch.testing.assert_close(schedule.alpha(torch.arange(1000)) ** 2, theirs, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_levels_follow_from_the_log_snr(name: str) -> None:
    schedule = SCHEDULES[name]()
    t = torch.linspace(0, 999, 3001, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    whole = alpha + sigma if schedule.straight else alpha**2 + sigma**2
    torch.testing.assert_close(whole, torch.ones_like(whole))
    torch.testing.assert_close((alpha / sigma).log() * 2, schedule.log_snr(t))
    assert (schedule.log_snr(t).diff() < 0).all()
    torch.testing.assert_close(schedule.timestep(schedule.log_snr(t)), t, rtol=0, atol=1e-6)
    assert (schedule.alpha(CLEAN).item(), schedule.sigma(CLEAN).item()) == (1.0, 0.0)


def test_schedules_have_their_published_ends() -> None:
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(linear().alpha(999.0) ** 2, (1 - betas).prod())
    torch.testing.assert_close(arctan().log_snrs[[0, -1]], torch.tensor([20.0, -20.0], dtype=torch.float64))
    u = 0.37  # the schedule of the paper, lambda = -2 log tan(a u + b)
    b = math.atan(math.exp(-10))
    expected = -2 * math.log(math.tan((math.atan(math.exp(10)) - b) * u + b))
    assert arctan(100_001).log_snr(37_000).item() == pytest.approx(expected)
    torch.testing.assert_close(straight(999).sigma(torch.arange(999)), torch.arange(1, 1000).double() / 1000)
    t = torch.tensor(500.0, dtype=torch.float64)
    squared_cosine = ((501 / 1000 + 0.008) / 1.008 * math.pi / 2, 0.008 / 1.008 * math.pi / 2)
    expected = (math.cos(squared_cosine[0]) / math.cos(squared_cosine[1])) ** 2
    assert (cosine().alpha(t) ** 2).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", THEIRS)
def test_the_forward_process_is_its_closed_form(name: str) -> None:
    """Adding noise a step at a time comes to x_t = alpha x_0 + sigma epsilon."""
    schedule = SCHEDULES[name](50)
    levels = schedule.alpha(torch.arange(50)) ** 2
    generator = torch.Generator().manual_seed(0)
    x = torch.full((100_000,), 2.0, dtype=torch.float64)
    before = torch.tensor(1.0, dtype=torch.float64)
    for level in levels[:30]:
        keep = level / before
        noise = torch.randn(len(x), generator=generator, dtype=torch.float64)
        x, before = keep.sqrt() * x + (1 - keep).sqrt() * noise, level
    assert x.mean().item() == pytest.approx(2 * schedule.alpha(29.0).item(), abs=0.02)
    assert x.std().item() == pytest.approx(schedule.sigma(29.0).item(), abs=0.02)


def test_spacings() -> None:
    schedule = linear()
    assert spaced(schedule, 4, "leading") == [750, 500, 250, 0, CLEAN]
    assert spaced(schedule, 4, "trailing") == [999, 749, 499, 249, CLEAN]
    assert (
        spaced(schedule, 1000, "leading")
        == spaced(schedule, 1000, "trailing")
        == [*range(999, -1, -1), CLEAN]
    )
    shifted = torch.tensor(spaced(schedule, 4, "shifted")) / 999
    torch.testing.assert_close(shifted[:-1], torch.tensor([1.0, 24 / 25, 8 / 9, 8 / 11]))
    log_snrs = schedule.log_snr(torch.tensor(spaced(schedule, 9, "log-snr")[:-1])).diff()
    torch.testing.assert_close(log_snrs, log_snrs.mean().expand(8))
    for steps, spacing in ((0, "trailing"), (1001, "trailing"), (-3, "leading"), (10, "karras")):
        with pytest.raises(UsageError):
            spaced(schedule, steps, spacing)


# Targets


@pytest.mark.parametrize("name", TARGETS.names())
@pytest.mark.parametrize("schedule", [linear(), straight()], ids=lambda schedule: str(schedule.name))
def test_targets_turn_back_into_image_and_noise(name: str, schedule: Schedule) -> None:
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 200, dtype=torch.float64)
    t = torch.linspace(1, 990, 200, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    x = alpha * clean + sigma * noise
    found = denoised(name, target(name, clean, noise, alpha, sigma), x, alpha, sigma)
    torch.testing.assert_close(found.x0, clean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.epsilon, noise, rtol=1e-8, atol=1e-8)


def test_targets_are_their_definitions() -> None:
    clean, noise, alpha, sigma = (torch.tensor(x, dtype=torch.float64) for x in (0.3, -1.2, 0.8, 0.6))
    made = {name: target(name, clean, noise, alpha, sigma).item() for name in TARGETS.names()}
    assert made == pytest.approx(
        {
            "epsilon": -1.2,
            "x0": 0.3,
            "v": 0.8 * -1.2 - 0.6 * 0.3,
            "flow": -1.2 - 0.3,
            "categorical": 0.3,  # the mean of its values
        }
    )


@pytest.mark.parametrize("name", TARGETS.names())
def test_weights_mean_the_same_for_every_target(name: str) -> None:
    """Weighed by min-SNR or the likelihood, an error costs the same whichever target it was made in."""
    schedule = cosine()
    t = torch.linspace(5, 950, 50, dtype=torch.float64)
    alpha, sigma, slope = schedule.alpha(t), schedule.sigma(t), torch.full_like(t, -0.02)
    clean, noise = torch.ones(2, 50, dtype=torch.float64)
    x, error = alpha * clean + sigma * noise, 0.1
    wrong = Denoised(clean + error, (x - alpha * (clean + error)) / sigma)  # an error of x_0, at this x
    squared = (target(name, *wrong, alpha, sigma) - target(name, clean, noise, alpha, sigma)).square()
    snr = (alpha / sigma) ** 2
    torch.testing.assert_close(
        WEIGHTS["min-snr"](name, alpha, sigma, slope) * squared, snr.clamp_max(5) * error**2
    )
    torch.testing.assert_close(
        WEIGHTS["likelihood"](name, alpha, sigma, slope) * squared, 0.01 * snr * error**2
    )
    assert WEIGHTS["simple"](name, alpha, sigma, slope).eq(1).all()


# Samplers against diffusers


def network(x: Tensor, t: float) -> Tensor:
    """Stand in for a network: smooth, nonlinear, and of the right size."""
    return torch.tanh(1.5 * x.roll(1, -1) - 0.3 * x + math.cos(t / 150))


def model(name: str, schedule: Schedule) -> Denoise:
    def denoise(x: Tensor, t: float) -> Denoised:
        return denoised(name, network(x, t), x, schedule.alpha(t), schedule.sigma(t))

    return denoise


def start() -> Tensor:
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def noise_source() -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(2)
    return lambda: torch.randn(3, 1, 8, 8, generator=generator, dtype=torch.float64)


def trajectory(scheduler: Any, steps: int, **options: object) -> list[Tensor]:
    scheduler.set_timesteps(steps)
    x, xs = start(), []
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, float(t)), t, x, **options).prev_sample
        xs.append(x)
    return xs


CASES = [(s, t, n) for s in THEIRS for t in THEIR_TARGETS for n in (5, 20, 100)]


@pytest.mark.parametrize(("name", "target_name", "steps"), CASES)
@pytest.mark.parametrize("variance", ["beta", "beta-tilde"])
def test_ancestral_sampling_is_that_of_diffusers(
    name: str, target_name: str, steps: int, variance: str
) -> None:
    schedule = SCHEDULES[name]()
    theirs = diffusers.DDPMScheduler(
        beta_schedule=THEIRS[name], prediction_type=THEIR_TARGETS[target_name], clip_sample=False,
        variance_type={"beta": "fixed_large", "beta-tilde": "fixed_small"}[variance],
        timestep_spacing="leading",
    )  # fmt: skip
    expected = trajectory(theirs, steps, generator=torch.Generator().manual_seed(2))
    times = spaced(schedule, steps, "leading")
    ours = samplers.ancestral(
        model(target_name, schedule), start(), schedule, times, noise_source(), variance
    )
    for step, x in zip(ours, expected, strict=True):
        torch.testing.assert_close(step.x, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "target_name", "steps"), CASES)
@pytest.mark.parametrize(("eta", "spacing"), [(0.0, "leading"), (0.0, "trailing"), (0.7, "leading")])
def test_ddim_is_that_of_diffusers(name: str, target_name: str, steps: int, eta: float, spacing: str) -> None:
    schedule = SCHEDULES[name]()
    theirs = diffusers.DDIMScheduler(
        beta_schedule=THEIRS[name], prediction_type=THEIR_TARGETS[target_name], clip_sample=False,
        timestep_spacing=spacing,
    )  # fmt: skip
    expected = trajectory(theirs, steps, eta=eta, generator=torch.Generator().manual_seed(2))
    times = spaced(schedule, steps, spacing)
    ours = samplers.ddim(model(target_name, schedule), start(), schedule, times, noise_source(), eta)
    for step, x in zip(ours, expected, strict=True):
        torch.testing.assert_close(step.x, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "target_name", "steps"), CASES)
def test_dpm_solver_is_that_of_diffusers(name: str, target_name: str, steps: int) -> None:
    schedule = SCHEDULES[name]()
    theirs = diffusers.DPMSolverMultistepScheduler(
        beta_schedule=THEIRS[name], prediction_type=THEIR_TARGETS[target_name], algorithm_type="dpmsolver++",
        solver_order=2, timestep_spacing="trailing",
    )  # fmt: skip
    expected = trajectory(theirs, steps)
    ours = samplers.dpm_solver(model(target_name, schedule), start(), schedule, spaced(schedule, steps))
    for step, x in zip(ours, expected, strict=True):
        torch.testing.assert_close(step.x, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [5, 40])
def test_ddim_on_the_straight_path_is_eulers_method(steps: int) -> None:
    schedule = straight()
    theirs: Any = diffusers.FlowMatchEulerDiscreteScheduler()
    times = spaced(schedule, steps)
    theirs.set_timesteps(sigmas=schedule.sigma(torch.tensor(times[:-1])).tolist())
    x = start()
    ours = samplers.ddim(model("flow", schedule), start(), schedule, times)
    for t, s, step in zip(times, theirs.timesteps, ours, strict=False):
        x = theirs.step(network(x, t), s, x).prev_sample
        torch.testing.assert_close(step.x, x.double(), rtol=1e-4, atol=1e-4)


# Samplers on data whose optimal denoiser is known

MEANS = torch.tensor([[1.0, -0.5], [-1.0, 0.8]], dtype=torch.float64)
SPREAD = 0.3  # standard deviation of each component


def mixture(schedule: Schedule, means: Tensor = MEANS, spread: float = SPREAD) -> Denoise:
    """Return E[x_0 | x_t] for an even mixture of round Gaussians."""

    def denoise(x: Tensor, t: float) -> Denoised:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        variance = alpha**2 * spread**2 + sigma**2
        distance = (x[:, None] - alpha * means).square().sum(-1)
        share = (-distance / variance / 2).softmax(-1)
        towards = means + alpha * spread**2 / variance * (x[:, None] - alpha * means)
        clean = (share[..., None] * towards).sum(1)
        return Denoised(clean, (x - alpha * clean) / sigma)

    return denoise


SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {
    "ancestral, beta": samplers.ancestral,
    "ancestral, beta-tilde": functools.partial(samplers.ancestral, variance="beta-tilde"),
    "ddim": lambda *words: samplers.ddim(*words[:4]),
    "ddim, eta 1": functools.partial(samplers.ddim, eta=1.0),
    "dpm-solver": lambda *words: samplers.dpm_solver(*words[:4]),
    "heun": lambda *words: samplers.heun(*words[:4]),
}


@pytest.mark.parametrize(
    "schedule", [cosine(), straight(), *slow(linear(), arctan())], ids=lambda s: str(s.name)
)
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_reproduce_a_mixture(name: str, schedule: Schedule) -> None:
    generator = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(5000, 2, generator=generator, dtype=torch.float64)

    steps = 250 if "ancestral" in name or "eta" in name else 60
    x = noise() * schedule.sigma(999.0)
    drawn = last(SAMPLERS[name](mixture(schedule), x, schedule, spaced(schedule, steps), noise))
    expected = torch.eye(2) * SPREAD**2 + torch.cov(MEANS.T, correction=0)
    torch.testing.assert_close(drawn.mean(0), MEANS.mean(0), rtol=0, atol=0.06)
    torch.testing.assert_close(torch.cov(drawn.T), expected.double(), rtol=0, atol=0.06)
    assert 0.46 < (drawn[:, 0] > 0).double().mean() < 0.54


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm-solver", 2), ("heun", 2)])
@pytest.mark.parametrize("schedule", [linear(), straight()], ids=lambda s: str(s.name))
def test_solvers_converge_at_their_order(name: str, order: int, schedule: Schedule) -> None:
    """Halving the step divides the error by two to the order, on the exact flow of a Gaussian."""
    mean, spread = torch.tensor([[0.7, -0.2]], dtype=torch.float64), 0.5
    ends = torch.tensor([-4.0, 4.0], dtype=torch.float64)

    def deviation(t: Tensor) -> Tensor:
        return (schedule.alpha(t) ** 2 * spread**2 + schedule.sigma(t) ** 2).sqrt()

    t, s = schedule.timestep(ends)
    x = start()[0].view(-1, 2)
    exact = schedule.alpha(s) * mean + deviation(s) / deviation(t) * (x - schedule.alpha(t) * mean)
    errors = []
    for steps in (20, 40, 80, 160):
        times = schedule.timestep(torch.linspace(-4, 4, steps + 1, dtype=torch.float64)).tolist()
        drawn = last(SAMPLERS[name](mixture(schedule, mean, spread), x, schedule, times, None))
        errors.append((drawn - exact).abs().max().item())
    measured = [math.log2(one / other) for one, other in pairwise(errors)]
    assert measured[-1] == pytest.approx(order, abs=0.15), measured


def test_samplers_yield_every_step_with_its_time() -> None:
    schedule = linear()
    times = spaced(schedule, 6)
    for sampler in SAMPLERS.values():
        steps = list(
            sampler(mixture(schedule), start().view(-1, 2), schedule, times, start().view(-1, 2).clone)
        )
        assert [step.t for step in steps] == times[1:]
        torch.testing.assert_close(steps[-1].x, steps[-1].x0)


def test_thresholds_keep_predictions_within_bounds() -> None:
    schedule = linear()

    def denoise(x: Tensor, t: float) -> Denoised:
        return Denoised(torch.tensor([[[[4.0, -2.0, 0.5, 0.1]]]]), torch.zeros(1))

    x = torch.ones(1, 1, 1, 4)
    static = samplers.thresholded(denoise, schedule)(x, 500.0)
    assert static.x0.flatten().tolist() == pytest.approx([1, -1, 0.5, 0.1])
    torch.testing.assert_close(
        schedule.alpha(500.0).float() * static.x0 + schedule.sigma(500.0).float() * static.epsilon, x
    )
    dynamic = samplers.thresholded(denoise, schedule, quantile=1.0)(x, 500.0)
    assert dynamic.x0.flatten().tolist() == pytest.approx([1, -0.5, 0.125, 0.025])
