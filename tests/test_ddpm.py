"""The diffusion model: its loss, its samples, its traces and its walks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from conftest import CPU, same_samples, slow
from genmnist.data import Splits, scale
from genmnist.diffusion.schedules import CLEAN
from genmnist.diffusion.times import stratified
from genmnist.errors import UsageError
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.classifier import ClassifierOptions
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.sampling import GuidedSampling, Sampling
from genmnist.families.vae import PriorSampling
from genmnist.models import ByClassifier, Classifier, ConditionalDiffusion, Diffusion
from genmnist.randomness import reseed
from genmnist.registry import SAMPLERS, SCHEDULES, TIMES


def tiny(**options: object) -> Diffusion:
    """Return a small model whose weights are random, none of them zero."""
    torch.manual_seed(0)
    model = Diffusion(DiffusionOptions.of({"size": "tiny", **options}))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    return model.place(CPU, "float32").eval()


# Where training draws its noise levels


def test_strata_have_one_number_each() -> None:
    reseed(CPU, 0)
    u = stratified(64)
    assert (u * 64).floor().tolist() == list(range(64))
    assert u.dtype == torch.float64


@pytest.mark.parametrize("schedule", ["cosine", "straight"])
def test_times_have_the_distributions_they_are_named_for(schedule: str) -> None:
    table = SCHEDULES[schedule]()
    reseed(CPU, 0)
    u = stratified(20_000)
    normal = torch.distributions.Normal(0.0, 1.0)
    uniform = TIMES["uniform"](table, u) / 999
    torch.testing.assert_close(uniform.mean().item(), 0.5, rtol=0, atol=1e-3)
    share = TIMES["logit-normal"](table, u) / 999
    torch.testing.assert_close(
        normal.cdf(share.logit()), u, rtol=0, atol=1e-5
    )  # the transform takes it back to u
    levels = -table.log_snr(TIMES["log-normal"](table, u)) / 2
    inside = (levels > -table.log_snrs[0] / 2 + 0.01) & (levels < -table.log_snrs[-1] / 2 - 0.01)
    torch.testing.assert_close(levels[inside].median().item(), -1.2, rtol=0, atol=0.02)
    torch.testing.assert_close(levels[inside].std().item(), 1.2, rtol=0.03, atol=0)


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_the_slope_of_a_schedule_is_its_derivative(name: str) -> None:
    table = SCHEDULES[name]()
    t = torch.tensor([0.3, 17.5, 500.25, 998.5], dtype=torch.float64)
    numeric = (table.log_snr(t + 0.01) - table.log_snr(t - 0.01)) / 0.02
    torch.testing.assert_close(table.slope(t), numeric)


# The loss


@pytest.mark.parametrize("noise", ["linear", "cosine", "arctan", "straight"])
def test_a_network_that_predicts_nothing_costs_the_power_of_its_target(few: Splits, noise: str) -> None:
    model = Diffusion(
        DiffusionOptions(size="tiny", noise_schedule=noise, target="epsilon", times="uniform")
    ).place(CPU, "float32")
    images = scale(few.train.images[:256])
    reseed(CPU, 1)
    losses = model.losses(images, few.train.labels[:256])
    torch.testing.assert_close(losses["loss"].item(), 1.0, rtol=0.02, atol=0)  # that of the noise
    torch.testing.assert_close(losses["epsilon"], losses["loss"])
    model = Diffusion(
        DiffusionOptions(size="tiny", noise_schedule=noise, target="x0", times="uniform")
    ).place(CPU, "float32")
    power = (2 * images - 1).square().mean()
    torch.testing.assert_close(model.losses(images, few.train.labels[:256])["loss"], power)


@pytest.mark.parametrize("target", ["epsilon", "x0", "v", "flow"])
@pytest.mark.parametrize("noise", ["cosine", "straight"])
def test_the_loss_is_zero_for_one_who_knows(few: Splits, target: str, noise: str) -> None:
    """A network that is told the images answers with the target, whichever it is."""
    model = tiny(target=target, noise_schedule=noise)
    images = scale(few.train.images[:32])
    clean = 2 * images - 1

    class Knowing(torch.nn.Module):
        def forward(self, x: torch.Tensor, log_snr: torch.Tensor, labels: None = None) -> torch.Tensor:
            ratio = (log_snr / 2).exp()[:, None, None, None]  # alpha / sigma
            size = 1 + ratio if noise == "straight" else (1 + ratio**2).sqrt()
            alpha, sigma = ratio / size, 1 / size
            epsilon = (x * torch.hypot(alpha, sigma) - alpha * clean) / sigma
            return {
                "epsilon": epsilon,
                "x0": clean,
                "v": alpha * epsilon - sigma * clean,
                "flow": epsilon - clean,
            }[target]

    model.network = Knowing()
    reseed(CPU, 0)
    losses = model.losses(images, few.train.labels[:32])
    assert losses["loss"] < 1e-3 if target != "x0" else losses["loss"] == 0
    assert losses["epsilon"] < 1e-3


@pytest.mark.parametrize("weight", ["min-snr", "likelihood"])
def test_weights_change_the_loss_but_not_what_is_predicted(few: Splits, weight: str) -> None:
    batch = few.train.batch(torch.arange(64))
    found = []
    for name in ("simple", weight):
        reseed(CPU, 0)
        found.append(tiny(weight=name).losses(*batch))
    assert found[0]["loss"] != found[1]["loss"]
    assert found[1]["loss"] > 0
    torch.testing.assert_close(found[0]["epsilon"], found[1]["epsilon"])


# Sampling


@pytest.mark.parametrize(
    ("sampler", "precision"),
    [
        *((name, "float32") for name in (*SAMPLERS.names(), "eta")),
        ("dpm-solver", "bfloat16"),
        *slow(*((name, "bfloat16") for name in (*SAMPLERS.names(), "eta") if name != "dpm-solver")),
    ],
)
def test_sample_k_depends_on_seed_and_k_alone(sampler: str, precision: str) -> None:
    model = tiny().place(CPU, precision)
    options: dict[str, Any] = {"sampler": sampler, "steps": 4}
    if sampler == "eta":
        options |= {"sampler": "ddim", "eta": 1.0}
    whole = model.sample(64, seed=3, batch_size=64, **options)
    for batch_size in (1, 7):
        assert same_samples(model.sample(14, seed=3, batch_size=batch_size, **options), whole[:14], precision)
    other = model.sample(14, seed=4, **options)
    assert ((other.int() - whole[:14].int()).abs().float().mean((1, 2)) > 20).all()


def test_a_cold_sampler_draws_one_image() -> None:
    images = tiny().sample(3, temperature=0.0, steps=3)
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


@pytest.mark.parametrize("threshold", ["static", "dynamic"])
def test_thresholds_keep_predictions_in_range(threshold: str) -> None:
    model = tiny()
    x = 3 * torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    assert model.denoiser(model.request(threshold="none"))(x, 500.0).x0.abs().max() > 1
    assert model.denoiser(model.request(threshold=threshold))(x, 500.0).x0.abs().max() <= 1


@pytest.mark.parametrize("sampler", SAMPLERS.names())
def test_a_trace_passes_through_the_timesteps_asked_for(sampler: str) -> None:
    model = tiny()
    visit = [999, 431, 0]
    steps = list(model.trace(model.request(5, sampler=sampler, steps=5), 2, visit))
    times = [step.t for step in steps]
    assert set(visit) <= set(times)
    assert times[-1] == CLEAN
    assert all(before > after for before, after in pairwise(times))
    assert torch.equal(steps[0].x, model.prior(5, 2))
    # Under each image is what the model predicts from that very image.
    if sampler != "ancestral":
        middle = steps[times.index(431)]
        predicted = model.denoiser(model.request())(middle.x, 431).x0
        torch.testing.assert_close(middle.x0, predicted, rtol=1e-4, atol=1e-4)


def test_the_last_frame_is_the_sample() -> None:
    model = tiny()
    *_, last = model.frames(model.request(2, steps=4), 3)
    assert last.moment == "the sample"
    assert torch.equal(last.images, model.sample(3, seed=2, steps=4))


def test_watchers_see_every_step() -> None:
    shares: list[float] = []
    model = tiny()
    batches = list(model.sample_batches(model.request(steps=4, watch=shares.append), 3, batch_size=2))
    assert [len(batch) for batch in batches] == [2, 1]
    assert shares == [0.25, 0.5, 0.75, 1.0] * 2


@pytest.mark.slow
def test_the_bundled_model_finds_the_noise_of_real_digits(few: Splits) -> None:
    """DDIM inversion: solved backwards and forwards again, the ODE comes back to where it began."""
    import genmnist

    model = genmnist.load("ddpm", "bundled", device="cpu", precision="float32")
    digits = few.test.images[:4]
    noise = model.embed(digits)
    assert 0.9 < noise.std() < 1.1
    back = model.decode(noise, request=model.request(sampler="heun", steps=48))
    assert (back - scale(digits)).abs().mean() < 0.02


def test_walks_end_at_their_end_points() -> None:
    model = tiny()
    start, end = model.prior(0, 2), model.prior(1, 2)
    alphas, request = torch.linspace(0, 1, 3), model.request(steps=4)
    for space in ("latent", "pixel"):
        walk = model.interpolate(start, end, alphas, space, request=request)
        assert walk.shape == (2, 3, 1, 28, 28)
        torch.testing.assert_close(walk[:, 0], model.decode(start, request=request), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(walk[:, -1], model.decode(end, request=request), rtol=1e-3, atol=1e-3)


def test_the_reverse_process_of_the_bundled_model_is_that_of_the_report() -> None:
    """Figure 7: noise at 999, structure by 199, clean at 0."""
    import genmnist

    model = genmnist.load("ddpm", "bundled", device="cpu")
    steps = {step.t: step for step in model.trace(model.request(), 4, [999, 899, 499, 199, 99, 49, 19, 0])}
    final = steps[CLEAN].x

    def likeness(t: float) -> float:
        return torch.corrcoef(torch.stack((steps[t].x.flatten(), final.flatten())))[0, 1].item()

    likenesses = [likeness(t) for t in (999, 899, 499, 199, 99, 49, 19, 0)]
    assert likenesses == sorted(likenesses)
    assert likenesses[0] < 0.3
    assert likenesses[3] > 0.8
    assert likenesses[-1] > 0.999
    assert ((final.abs() > 0.9).float().mean(dim=(1, 2, 3)) > 0.7).all()  # black or white, hardly any grey


# What makes no sense


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sampler": "euler"}, "there is no sampler 'euler'; choose one of dpm-solver"),
        ({"steps": 0}, "`steps` must be a whole number between 1"),
        ({"steps": 1001}, "`steps` must lie between 1 and 1000"),
        ({"eta": 0.5}, "`eta` is for the `sampler` ddim: dpm-solver has none"),
        ({"sampler": "heun", "eta": 1.0}, "heun has none"),
        ({"variance": "beta-tilde"}, "`variance` is for the `sampler` ancestral"),
        ({"eta": math.nan, "sampler": "ddim"}, "`eta` must be a number between 0 and 1"),
        ({"colour": 1}, "there is no option 'colour'"),
    ],
)
def test_ways_of_sampling_that_make_no_sense(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        tiny().sample(1, **options)


def test_walks_need_a_sampler_that_draws_nothing() -> None:
    model = tiny()
    for options in ({"sampler": "ancestral"}, {"sampler": "ddim", "eta": 0.1}):
        with pytest.raises(UsageError, match="draws noise on its way"):
            model.decode(torch.zeros(1, 1, 28, 28), request=model.request(**options))


def test_timesteps_outside_the_schedule() -> None:
    model = tiny()
    with pytest.raises(UsageError, match="there is no timestep 1000: those of this model are 0 to 999"):
        list(model.trace(model.request(), 1, [1000]))


def test_a_sampler_makes_no_tiny_steps_beside_visited_timesteps() -> None:
    times = tiny().timesteps(Sampling.choose(steps=16), [999, 970, 500])
    assert {999, 970, 500} <= set(times)
    assert min(before - after for before, after in pairwise(times[:-1])) >= 1


@pytest.mark.slow
def test_animations_stay_short() -> None:
    model = tiny()
    frames = list(model.frames(model.request(sampler="ancestral", steps=200), 1))
    assert 40 < len(frames) <= 61
    assert frames[0].moment == "t = 999"
    assert torch.equal(frames[-1].images, model.sample(1, sampler="ancestral", steps=200))


@pytest.mark.parametrize("timesteps", [64, 1000, 10_000])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_schedules_end_in_noise_whatever_their_length(name: str, timesteps: int) -> None:
    schedule = SCHEDULES[name](timesteps)
    assert schedule.sigma(0).item() < 0.1
    assert schedule.sigma(timesteps - 1).item() > 0.99
    assert 0 < schedule.alpha(timesteps - 1).item() < 0.02


def test_samplers_keep_their_own_settings() -> None:
    assert Sampling.choose("ddim").steps == 50
    assert Sampling.choose("ddim", steps=7).steps == 7
    assert Sampling.choose().sampler == "dpm-solver"
    assert GuidedSampling.choose("ddim") == GuidedSampling.choose()  # one name, one meaning


def test_a_way_of_sampling_is_given_once() -> None:
    model = tiny()
    how = model.how(steps=4)
    assert torch.equal(model.sample(2, seed=1, how=how), model.sample(2, seed=1, steps=4))
    with pytest.raises(UsageError, match="two ways to say one thing"):
        model.sample(2, how=how, steps=4)
    with pytest.raises(UsageError, match="`num` must be a whole number of 1 or more, not 0"):
        model.sample(0)
    with pytest.raises(UsageError, match="what this model's own `how` returns"):
        model.sample(2, how=PriorSampling())


def test_a_network_without_weights_draws() -> None:
    """What is known in closed form is a network too: here of images that are black all over."""

    class Black(torch.nn.Module):
        def forward(self, x: torch.Tensor, log_snr: torch.Tensor, labels: object = None) -> torch.Tensor:
            return -torch.ones_like(x)

    model = Diffusion(DiffusionOptions(target="x0"), Black())
    assert model.device == CPU
    assert not model.sample(2, steps=4).any()


@pytest.mark.parametrize(
    "labels",
    [[3, 1], (3, 1), np.array([3, 1]), torch.tensor([3, 1])],
    ids=["list", "tuple", "array", "tensor"],
)
def test_labels_may_be_any_list_of_whole_numbers(labels: Any) -> None:
    torch.manual_seed(0)
    model = ConditionalDiffusion(ConditionalOptions(size="tiny")).eval()
    assert torch.equal(model.sample(2, labels=labels, steps=2), model.sample(2, labels=[3, 1], steps=2))


@pytest.mark.parametrize("labels", [[True], [-1], [10]], ids=str)
def test_labels_that_are_none_are_refused(labels: Any) -> None:
    with pytest.raises(UsageError, match=r"`labels` must be whole numbers|there is no label"):
        ConditionalDiffusion(ConditionalOptions(size="tiny")).sample(1, labels=labels)


def test_a_guide_must_know_the_images() -> None:
    guide = ByClassifier(Classifier(ClassifierOptions(noisy=True, width=4)))
    with pytest.raises(UsageError, match="knows images of 1 x 28 x 28, and the model draws 3 x 12 x 12"):
        Diffusion(DiffusionOptions(size="tiny", shape=(3, 12, 12))).sample(1, labels=[1], guide=guide)
    with pytest.raises(UsageError, match="a cfg cannot be guided"):
        ConditionalDiffusion(ConditionalOptions(size="tiny")).sample(1, labels=[1], guide=guide)
