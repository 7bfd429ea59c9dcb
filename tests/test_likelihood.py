"""The likelihood of diffusion models, on data whose likelihood and best denoiser are known; and of models."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import CPU, slow
from genmnist.data import Splits
from genmnist.diffusion import likelihood, samplers
from genmnist.diffusion.likelihood import BIN, log_bin, log_density, noisy, transitions
from genmnist.diffusion.samplers import Denoise
from genmnist.diffusion.schedules import Schedule, arctan, cosine, linear, straight
from genmnist.diffusion.spacings import spaced
from genmnist.diffusion.targets import Denoised
from genmnist.errors import UsageError
from genmnist.evaluation.document import Bound, Exact
from genmnist.evaluation.likelihood import bound, exact
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.ddpm import DiffusionOptions
from genmnist.models import ConditionalDiffusion, Diffusion

SCHEDULES = [linear(), cosine(), arctan(), straight()]
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: str(s.name))
MEAN = torch.tensor([0.4, -0.8, 0.1], dtype=torch.float64)
DIAGONAL = torch.tensor([0.5, 0.03, 1.2], dtype=torch.float64).diag()
FULL = torch.tensor([[0.5, 0.2, -0.3], [0.2, 0.3, 0.1], [-0.3, 0.1, 0.9]], dtype=torch.float64)


def gaussian(schedule: Schedule, mean: Tensor = MEAN, covariance: Tensor = DIAGONAL) -> Denoise:
    """Return E[x_0 | x_t] for x_0 of a Gaussian."""

    def denoise(x: Tensor, t: float) -> Denoised:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        total = alpha**2 * covariance + sigma**2 * torch.eye(len(mean))
        clean = mean + (x - alpha * mean) @ torch.linalg.solve(total, alpha * covariance)
        return Denoised(clean, (x - alpha * clean) / sigma)

    return denoise


def density(x: Tensor, schedule: Schedule, t: float, covariance: Tensor) -> Tensor:
    """Return log p(x_t) of such data."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    total = alpha**2 * covariance + sigma**2 * torch.eye(len(MEAN))
    log_p: Tensor = torch.distributions.MultivariateNormal(alpha * MEAN, total).log_prob(x)
    return log_p


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def strata(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.arange(n) + torch.rand(n, generator=generator, dtype=torch.float64)) / n


# The exact likelihood


def signs(n: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    while True:
        yield torch.randint(0, 2, (n, 3), generator=generator).double() * 2 - 1


def solve(schedule: Schedule, x: Tensor, covariance: Tensor, steps: int) -> Tensor:
    times = spaced(schedule, steps, "log-snr")[-2::-1]
    probe = functools.partial(next, signs(len(x)))
    return log_density(gaussian(schedule, covariance=covariance), x, schedule, times, probe)


@each_schedule
def test_the_density_of_a_gaussian_is_found(schedule: Schedule) -> None:
    """With a diagonal covariance random signs make no error at all."""
    x = noisy(MEAN + normals(20, 3) @ DIAGONAL.sqrt(), schedule, 0, normals(20, 3, seed=1))
    expected = density(x, schedule, 0, DIAGONAL)
    # A schedule ends in N(0, I) only to within its last alpha, 0.006 of the linear one.
    atol = 5 * schedule.alpha(999).item() + 3e-3
    torch.testing.assert_close(solve(schedule, x, DIAGONAL, 400), expected, rtol=0, atol=atol)


def test_the_solver_is_of_second_order() -> None:
    schedule, x = arctan(), MEAN + normals(20, 3) @ DIAGONAL.sqrt()
    expected = density(x, schedule, 0, DIAGONAL)
    errors = [(solve(schedule, x, DIAGONAL, n + 1) - expected).abs().max().item() for n in (50, 100, 200)]
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([2, 2], abs=0.3), errors


def test_certain_pixels_cost_no_accuracy() -> None:
    """However little noise there is: the trapezium rule on the divergence itself would be off by 0.2."""
    schedule = arctan()
    x = noisy(MEAN.expand(5, 3), schedule, 0, normals(5, 3))
    nothing = torch.zeros(3, 3, dtype=torch.float64)
    found, expected = solve(schedule, x, nothing, 100), density(x, schedule, 0, nothing)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)


def test_probes_are_unbiased() -> None:
    schedule, x = cosine(), MEAN + 0.5 * normals(1, 3)
    found = solve(schedule, x.expand(2000, 3), FULL, 200)
    assert 0 < found.std() < 1
    error = found.std().item() / math.sqrt(2000)
    expected = density(x, schedule, 0, FULL).item()
    assert found.mean().item() == pytest.approx(expected, abs=4 * error + 2e-3)


def test_gradients_are_found_where_callers_have_none() -> None:
    x = normals(4, 3)
    expected = solve(linear(), x, FULL, 5)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            found = solve(linear(), x.clone(), FULL, 5)
        assert torch.equal(found, expected)
        assert not found.requires_grad


# The bound


def whole(denoise: Denoise, x0: Tensor, schedule: Schedule, steps: list[likelihood.Transition]) -> Tensor:
    """Return the prior and the diffusion terms of the bound."""
    generator = torch.Generator().manual_seed(3)
    total = likelihood.prior(x0, schedule)
    for step in steps:
        noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        total = total + likelihood.transition(denoise, x0, schedule, step, noise)
    return total


def test_a_transition_is_a_divergence_of_gaussians() -> None:
    """It is the KL between the posterior that knows x_0 and the one that predicts it (Ho et al. 2020, 7)."""
    schedule, x0, noise, step = (
        linear(),
        normals(5, 3),
        normals(5, 3, seed=1),
        likelihood.Transition(300, 299),
    )
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = (1 - betas).cumprod(0)
    beta, bar, before = betas[300], alpha_bar[300], alpha_bar[299]
    guess = gaussian(schedule)(noisy(x0, schedule, 300, noise), 300).x0
    means = [before.sqrt() * beta / (1 - bar) * clean for clean in (x0, guess)]  # but for what they share
    spread = ((1 - before) / (1 - bar) * beta).sqrt()
    exact, predicted = (torch.distributions.Normal(mean, spread) for mean in means)
    expected = torch.distributions.kl_divergence(exact, predicted).sum(1)
    found = likelihood.transition(gaussian(schedule), x0, schedule, step, noise)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@each_schedule
def test_the_prior_is_a_divergence_of_gaussians(schedule: Schedule) -> None:
    x0, last = normals(5, 3), len(schedule) - 1
    alpha, sigma = schedule.alpha(last), schedule.sigma(last)
    size = torch.hypot(alpha, sigma)
    q = torch.distributions.Normal(alpha / size * x0, sigma / size)
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(likelihood.prior(x0, schedule), expected, rtol=1e-4, atol=1e-12)


def closed_form(schedule: Schedule, variance: Tensor) -> tuple[float, float]:
    """Return the bound of a Gaussian in the mean over its images: prior and transitions, and best decoder."""
    t = torch.arange(len(schedule))
    alpha, sigma, snr = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None], schedule.log_snrs.exp()
    left = variance * sigma**2 / (alpha**2 * variance + sigma**2)  # of x_0 given x_t
    signal = 1 / (1 + 1 / snr[-1])
    prior = (signal * (MEAN**2 + variance - 1) - (1 - signal).log()).sum() / 2
    terms = (-snr.diff() / 2 * left[1:].sum(1)).sum()
    return (prior + terms).item(), (2 * math.pi * math.e * left[0]).log().sum().item() / 2


@each_schedule
def test_the_bound_of_a_gaussian_is_its_closed_form(schedule: Schedule) -> None:
    x0 = MEAN + normals(1000, 3) @ DIAGONAL.sqrt()
    found = whole(gaussian(schedule), x0, schedule, transitions(schedule))
    expected, _ = closed_form(schedule, DIAGONAL.diagonal())
    assert found.mean().item() == pytest.approx(expected, abs=4 * found.std().item() / math.sqrt(1000))


@pytest.mark.parametrize("is_straight", [False, True])
def test_the_bound_of_a_gaussian_tightens_to_its_entropy(is_straight: bool) -> None:
    """The more timesteps there are between the same two ends, by one over their number."""
    entropy = (2 * math.pi * math.e * DIAGONAL.diagonal()).log().sum().item() / 2
    for timesteps, most in ((64, 2.0), (256, 0.5), (1024, 0.13)):
        levels = torch.linspace(8, -10, timesteps, dtype=torch.float64)
        schedule = Schedule("even", levels, is_straight)
        expected, decoder = closed_form(schedule, DIAGONAL.diagonal())
        assert 0 < expected + decoder - entropy < most
        x0 = MEAN + normals(1000, 3) @ DIAGONAL.sqrt()
        found = whole(gaussian(schedule), x0, schedule, transitions(schedule))
        error = found.std().item() / math.sqrt(1000)
        assert found.mean().item() == pytest.approx(expected, abs=4 * error)


@pytest.mark.slow
def test_the_bound_of_bytes_tightens_to_their_entropy() -> None:
    """Pixels of a few grey values: with exact predictions and little noise at the end nothing is lost."""
    values = torch.tensor([0, 1, 100, 101, 255], dtype=torch.float64) * BIN - 1
    shares = torch.tensor([0.5, 0.1, 0.1, 0.2, 0.1], dtype=torch.float64)
    entropy = -(shares * shares.log()).sum().item()
    x0 = values.repeat_interleave((1000 * shares).long())[:, None]  # each in its share: no luck in the draw

    def denoise(x: Tensor, t: float) -> Denoised:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        logits = shares.log() - ((x - alpha * values) / sigma).square() / 2
        clean = (logits.softmax(-1) * values).sum(-1, keepdim=True)
        return Denoised(clean, (x - alpha * clean) / sigma)

    excess = []
    for timesteps in (100, 1000, 10_000):
        schedule = straight(timesteps)
        nats = whole(denoise, x0, schedule, transitions(schedule, strata(1000)))
        nats = nats + likelihood.reconstruction(denoise, x0, schedule, normals(1000, 1))
        error = nats.std().item() / math.sqrt(1000)
        excess.append(nats.mean().item() - entropy)
        assert excess[-1] > -2 * error
    assert excess == sorted(excess, reverse=True)
    assert excess[-1] < 3 * error + 0.03


@pytest.mark.parametrize("schedule", [cosine(), *slow(linear(), straight())], ids=lambda s: str(s.name))
def test_a_few_steps_stand_for_all(schedule: Schedule) -> None:
    x0 = MEAN + normals(500, 3) @ DIAGONAL.sqrt()
    every = transitions(schedule)
    assert [step[:2] for step in every] == list(zip(range(1, 1000), range(999), strict=True))
    expected = whole(gaussian(schedule), x0, schedule, every).mean().item()
    guesses = torch.stack(
        [
            whole(gaussian(schedule), x0, schedule, transitions(schedule, strata(50, seed))).mean()
            for seed in range(20)
        ]
    )
    assert guesses.mean().item() == pytest.approx(expected, rel=0.01)
    assert guesses.std() < 0.05 * expected


def test_steps_weigh_by_how_much_they_stand_for() -> None:
    """In the mean over many draws each of the steps counts once."""
    schedule = cosine(64)
    counts = torch.zeros(64, dtype=torch.float64)
    for seed in range(200):
        for step in transitions(schedule, strata(200, seed)):
            counts[step.t] += step.weight / 200
    assert counts[0] == 0
    torch.testing.assert_close(counts[1:], torch.ones(63, dtype=torch.float64), rtol=0, atol=0.15)


# The decoder


@pytest.mark.parametrize("deviation", [1e-4, 1e-2, 0.3, 5.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_256_values_share_a_probability_of_one(deviation: float, dtype: torch.dtype) -> None:
    values = (torch.arange(256, dtype=dtype) * BIN - 1)[:, None]
    means = torch.tensor([[-1.3, -1.0, -0.99, 0.0, 0.0039, 0.5, 1.0, 2.0]], dtype=dtype)
    found = log_bin(values.expand(-1, 8), means.expand(256, -1), deviation)
    assert found.isfinite().all()
    torch.testing.assert_close(found.exp().sum(0), torch.ones(8, dtype=dtype), rtol=0, atol=1e-4)


def test_bins_are_integrals_also_in_the_tails() -> None:
    normal = torch.distributions.Normal(torch.tensor(0.2, dtype=torch.float64), 0.1)
    values = torch.arange(256, dtype=torch.float64) * BIN - 1
    found = log_bin(values, torch.full_like(values, 0.2), 0.1)
    inside = slice(120, 180)
    expected = (normal.cdf(values + BIN / 2) - normal.cdf(values - BIN / 2)).log()
    torch.testing.assert_close(found[inside], expected[inside], rtol=1e-9, atol=0)
    tail = torch.special.log_ndtr((values[0] + BIN / 2 - 0.2) / 0.1)
    torch.testing.assert_close(found[0], tail)
    # Thousands of deviations away it is the density at the nearer edge that counts, up to a logarithm.
    far = log_bin(torch.zeros(1).double(), torch.ones(1).double(), 1e-4).item()
    assert far == pytest.approx(-(((1 - BIN / 2) / 1e-4) ** 2) / 2, rel=1e-6)
    mirrored = log_bin(torch.zeros(1).double(), -torch.ones(1).double(), 1e-4).item()
    assert far == mirrored


# Models


def tiny(kind: type[Diffusion] = Diffusion, **options: object) -> Diffusion:
    """Return a small model whose weights are random, none of them zero."""
    torch.manual_seed(0)
    knobs = ConditionalOptions if kind is ConditionalDiffusion else DiffusionOptions
    model = kind(knobs.of({"size": "tiny", **options}))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    return model.place(CPU, "float32").eval()


def last_bound(model: Diffusion, images: Tensor, labels: Tensor | None = None, **options: Any) -> Bound:
    *_, result = bound(model, images, labels, **options)
    return result


def last_exact(model: Diffusion, images: Tensor, labels: Tensor | None = None, **options: Any) -> Exact:
    *_, result = exact(model, images, labels, **options)
    return result


def bits(
    measure: str,
    model: Diffusion,
    images: Tensor,
    labels: Tensor | None = None,
    steps: int = 4,
    **options: Any,
) -> float:
    if measure == "bound":
        return last_bound(model, images, labels, steps=steps, **options).bits
    return last_exact(model, images, labels, steps=steps, **options).bits


each_measure = pytest.mark.parametrize("measure", ["bound", "exact"])


@pytest.mark.parametrize("noise", ["linear", "straight"])
def test_the_parts_of_a_bound_add_up(few: Splits, noise: str) -> None:
    images = few.test.images[:6]
    every = list(bound(tiny(noise=noise), images, steps=8))
    assert [len(result.levels) for result in every] == list(range(9))
    result = every[-1]
    assert result.images == 6
    diffusion = sum(level.bits for level in result.levels)
    assert result.bits == pytest.approx(result.prior + diffusion + result.reconstruction)
    assert min(result.prior, result.reconstruction, *(level.bits for level in result.levels)) >= 0
    assert result.error is not None
    assert 0 < result.error < result.bits
    log_snrs = [level.log_snr for level in result.levels]
    assert log_snrs == sorted(log_snrs, reverse=True)
    ends = tiny(noise=noise).schedule.log_snrs[[0, -1]]
    assert sum(level.width for level in result.levels) == pytest.approx((ends[0] - ends[1]).item())


@pytest.mark.slow
def test_a_bound_over_all_timesteps(few: Splits) -> None:
    model = tiny(timesteps=64)
    every = last_bound(model, few.test.images[:4], steps=None)
    assert [level.timestep for level in every.levels] == list(range(1, 64))
    some = last_bound(model, few.test.images[:4], steps=40, seed=5)
    assert some.bits == pytest.approx(every.bits, rel=0.1)


@each_measure
def test_likelihoods_depend_on_seed_and_image_alone(few: Splits, measure: str) -> None:
    model, images = tiny(), few.test.images[:5]
    once = bits(measure, model, images, seed=1)
    assert bits(measure, model, images, seed=1) == once
    assert bits(measure, model, images, seed=1, batch_size=2) == pytest.approx(once, rel=1e-4)
    assert bits(measure, model, images, seed=2) != once


def test_the_exact_likelihood_comes_batch_by_batch(few: Splits) -> None:
    results = list(exact(tiny(), few.test.images[:5], steps=4, batch_size=2))
    assert [result.images for result in results] == [2, 4, 5]
    assert all(math.isfinite(result.bits) and result.error for result in results)
    model = tiny()
    with torch.inference_mode():
        again = last_exact(model, few.test.images[:1], steps=4)
    alone = last_exact(model, few.test.images[:1], steps=4)
    assert alone.error is None
    assert again.bits == alone.bits


def test_bits_count_from_pixels_of_equal_likelihood(few: Splits) -> None:
    """A model of pure noise, N(0, 1) at every timestep, knows nothing: the bits are those of a Gaussian."""
    model = tiny()

    def ignorant(x: Tensor, t: float, labels: Tensor | None = None) -> Denoised:
        alpha, sigma = model.schedule.alpha(t).item(), model.schedule.sigma(t).item()
        return Denoised(alpha * x, sigma * x)

    model.denoise = ignorant  # type: ignore[method-assign]
    images = few.test.images[:50]
    power = (((images.double() + 0.5) / 128 - 1).square().mean() + 1 / 128**2 / 12).item()
    expected = (math.log(2 * math.pi) + power) / 2 / math.log(2) + 7
    result = last_exact(model, images, steps=120)
    assert result.bits == pytest.approx(expected, abs=2e-3)


@each_measure
def test_labels_matter_to_a_model_with_labels(few: Splits, measure: str) -> None:
    model, images = tiny(ConditionalDiffusion), few.test.images[:4]
    null = bits(measure, model, images, torch.full((4,), 10))
    assert bits(measure, model, images) == pytest.approx(null, rel=1e-5)
    assert bits(measure, model, images, few.test.labels[:4]) != pytest.approx(null, rel=1e-5)


@pytest.mark.slow
@each_measure
def test_the_bundled_model_knows_digits_from_noise(few: Splits, measure: str) -> None:
    import genmnist

    model = genmnist.load("ddpm", "bundled", device="cpu")
    digits = few.test.images[:4]
    shuffled = digits.flatten(1)[:, torch.randperm(784, generator=torch.Generator().manual_seed(0))]
    known = bits(measure, model, digits, steps=16)
    assert known < bits(measure, model, shuffled.view(4, 28, 28), steps=16) - 0.5


@each_measure
def test_what_makes_no_sense(few: Splits, measure: str) -> None:
    images, labels = few.test.images[:2], few.test.labels
    with pytest.raises(UsageError, match="no images"):
        bits(measure, tiny(), images[:0])
    with pytest.raises(UsageError, match="`steps` must be"):
        bits(measure, tiny(), images, steps=0)
    with pytest.raises(UsageError, match="`batch_size` must be"):
        bits(measure, tiny(), images, batch_size=0)
    with pytest.raises(UsageError, match="takes no labels"):
        bits(measure, tiny(), images, labels[:2])
    with pytest.raises(UsageError, match="2 images but 3 labels"):
        bits(measure, tiny(ConditionalDiffusion), images, labels[:3])


def test_keeping_predictions_in_range_never_loosens_the_bound() -> None:
    """Nothing in [-1, 1] is nearer to a prediction outside than to its nearest point inside."""
    schedule = linear()
    x0, noise = normals(50, 3).clamp(-1, 1), normals(50, 3, seed=1)
    step = likelihood.Transition(500, 499)
    free = likelihood.transition(gaussian(schedule, 3 * MEAN), x0, schedule, step, noise)
    kept = samplers.thresholded(gaussian(schedule, 3 * MEAN), schedule)
    assert (likelihood.transition(kept, x0, schedule, step, noise) <= free).all()
