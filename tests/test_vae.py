"""The VAE's mathematics, held against torch.distributions and closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from conftest import CPU, weight
from genmnist.data import Splits, scale
from genmnist.errors import UsageError
from genmnist.families.vae import PriorSampling, VAEOptions
from genmnist.models import VAE, ClassifierFree
from genmnist.models.paths import lerp, slerp
from genmnist.models.vae import gaussian_kl
from genmnist.randomness import reseed


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_elbo_is_that_of_torch_distributions(network: str, few: Splits) -> None:
    torch.manual_seed(0)
    vae = VAE(VAEOptions(network=network, hidden=8, latent=4)).place(CPU, "float32")
    images = (scale(few.train.images[:16]) > 0.5).float()
    reseed(CPU, 0, "here")
    losses = vae.losses(images, few.train.labels[:16])
    mean, log_variance = vae.encode(images)
    posterior = Normal(mean, (log_variance / 2).exp())
    reseed(CPU, 0, "here")
    z = mean + posterior.stddev * torch.randn_like(mean)
    likelihood = Independent(Bernoulli(logits=vae.logits(z)), 3).log_prob(images)
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(losses["loss"], (divergence - likelihood).mean())
    torch.testing.assert_close(losses["reconstruction"], -likelihood.mean())
    torch.testing.assert_close(losses["kl"], divergence.mean())


def test_the_analytic_kl_is_the_monte_carlo_kl() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(1, 6), torch.randn(1, 6)
    posterior, prior = Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
    z = posterior.sample((200_000,))
    estimate = (posterior.log_prob(z) - prior.log_prob(z)).mean(0)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), estimate, atol=0.02, rtol=0.02)


def test_the_loss_is_finite_where_probabilities_round_to_zero(small_vae: VAE) -> None:
    weight(small_vae, "decoder.2.bias").fill_(-1000.0)
    assert small_vae.losses(torch.ones(2, 1, 28, 28), torch.zeros(2).long())["loss"].isfinite()


def test_beta_warmup_and_free_bits_weigh_the_kl(few: Splits) -> None:
    images, labels = few.train.batch(torch.arange(32))

    def losses(progress: float = 1.0, **options: float) -> dict[str, float]:
        torch.manual_seed(0)
        vae = VAE(VAEOptions.of({"hidden": 16, "latent": 4, **options})).place(CPU, "float32")
        reseed(CPU, 0)
        return {name: value.item() for name, value in vae.losses(images, labels, progress).items()}

    plain = losses()
    reconstruction, kl = plain["reconstruction"], plain["kl"]
    assert plain["loss"] == pytest.approx(reconstruction + kl)
    assert losses(beta=4)["loss"] == pytest.approx(reconstruction + 4 * kl)
    assert losses(kl_warmup=0.5, progress=0.25)["loss"] == pytest.approx(reconstruction + kl / 2)
    assert losses(kl_warmup=0.5, progress=0.75)["loss"] == pytest.approx(reconstruction + kl)
    assert losses(free_bits=50)["loss"] == pytest.approx(reconstruction + 4 * 50)
    assert losses(free_bits=1e-9)["loss"] == pytest.approx(plain["loss"], rel=1e-5)


def test_the_networks_are_those_of_the_presets() -> None:
    report = VAE()
    shapes = [tuple(weight.shape) for weight in report.parameters() if weight.ndim == 2]
    assert shapes == [(400, 784), (40, 400), (400, 20), (784, 400)]
    assert sum(weight.numel() for weight in report.parameters()) == 652_824


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sample_k_depends_on_seed_and_k_alone(small_vae: VAE, temperature: float, precision: str) -> None:
    small_vae.place(CPU, precision)
    whole = small_vae.sample(64, seed=1, temperature=temperature)
    assert whole.dtype == torch.uint8
    assert whole.shape == (64, 28, 28)
    for batch_size in (1, 7, 64):
        other = small_vae.sample(20, seed=1, batch_size=batch_size, temperature=temperature)
        assert (other.int() - whole[:20].int()).abs().max() <= 1  # a pixel on the edge between two bytes
    assert not torch.equal(whole, small_vae.sample(64, seed=2, temperature=temperature))


def test_samples_come_from_the_centre_of_the_prior(small_vae: VAE) -> None:
    frames = list(small_vae.frames(small_vae.request(0), 3))
    assert [frame.moment for frame in frames[::12]] == [f"temperature {t:.2f}" for t in (0, 0.5, 1)]
    assert torch.equal(frames[-1].images, small_vae.sample(3, seed=0))
    assert torch.equal(frames[0].images[0], frames[0].images[1])


def test_a_traversal_moves_one_factor_at_a_time(small_vae: VAE) -> None:
    base, values = small_vae.prior(0)[0], torch.linspace(-2, 2, 5)
    rows = small_vae.traverse(base, values)
    assert rows.shape == (4, 5, 1, 28, 28)
    z = base.clone()
    z[2] = 1.0
    torch.testing.assert_close(rows[2, 3], small_vae.decode(z[None])[0].detach())


@pytest.mark.parametrize("path", ["lerp", "slerp"])
def test_latent_walks_end_at_their_end_points(small_vae: VAE, path: str) -> None:
    z = small_vae.prior(0, 6)
    alphas = torch.linspace(0, 1, 11)
    walk = small_vae.interpolate(z[:3], z[3:], alphas, "latent", path)
    torch.testing.assert_close(walk[:, 10], small_vae.decode(z[3:]).detach())
    torch.testing.assert_close(walk[:, 0], small_vae.decode(z[:3]).detach())
    middle = {"lerp": lerp, "slerp": slerp}[path](z[:3], z[3:], alphas)[:, 5]
    torch.testing.assert_close(walk[:, 5], small_vae.decode(middle).detach())


def test_pixel_walks_are_fades(small_vae: VAE) -> None:
    z = small_vae.prior(0, 2)
    walk = small_vae.interpolate(z[:1], z[1:], torch.linspace(0, 1, 3), "pixel")
    start, end = (small_vae.decode(z[k : k + 1])[0].detach() for k in (0, 1))
    torch.testing.assert_close(walk[0], torch.stack((start, (start + end) / 2, end)))


def test_slerp_keeps_to_the_great_circle() -> None:
    start, end = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    points = slerp(start, end, torch.tensor([0.0, 1 / 3, 1.0]))[0]
    expected = [(3.0, 0.0), (3 * math.cos(math.pi / 6), 3 * math.sin(math.pi / 6)), (0.0, 3.0)]
    torch.testing.assert_close(points, torch.tensor(expected))
    same = slerp(start, start, torch.tensor([0.5]))
    torch.testing.assert_close(same, start[None])
    assert slerp(start, -start, torch.tensor([0.3])).isfinite().all()


def test_usage_is_the_mean_kl_and_counts_active_factors(small_vae: VAE, few: Splits) -> None:
    for row in (1, 5):  # factor 1 no longer sees the image
        weight(small_vae, "encoder.3.weight")[row] = 0
        weight(small_vae, "encoder.3.bias")[row] = 0
    usage = list(small_vae.usage(few.test, batch_size=64))[-1]
    mean, log_variance = small_vae.encode(scale(few.test.images))
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(usage.kl, expected.detach())
    assert usage.images == len(few.test)
    assert usage.active.tolist() == (mean.var(0, unbiased=False) > 0.01).tolist()
    assert not usage.active[1]
    assert usage.order()[-1] == 1


@pytest.mark.parametrize(
    "options",
    [{"latent": 0}, {"latent": 1.5}, {"latent": "20"}, {"latent": True}, {"hidden": 10**9}, {"beta": -1},
     {"beta": float("nan")}, {"beta": float("inf")}, {"network": "resnet"}, {"network": 3}, {"colour": 1}],
)  # fmt: skip
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        VAEOptions.of(options)


def test_numbers_that_make_no_sense(small_vae: VAE) -> None:
    with pytest.raises(UsageError, match=r"`num` must be a whole number of 1 or more, not 0") as caught:
        small_vae.sample(0)
    assert "--" not in str(caught.value)
    with pytest.raises(UsageError, match=r"`batch_size` .*1 or more, not -1"):
        small_vae.sample(3, batch_size=-1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": [7]}, "this model takes no `labels`"),
        ({"temprature": 9}, "there is no option 'temprature' here; there are temperature"),
        ({"labels": [7], "temprature": 9}, "there is no option 'temprature'"),
        ({"temperature": -1}, "`temperature` must be a number between 0 and 100, not -1"),
        ({"how": PriorSampling(), "temperature": 1.0}, "two ways to say one thing"),
    ],
)
def test_ways_of_sampling_that_make_no_sense(small_vae: VAE, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        small_vae.sample(1, **options)


def test_a_vae_is_not_guided(small_vae: VAE) -> None:
    guide = ClassifierFree(classes=10, strength=1.0)
    with pytest.raises(UsageError, match="cannot be guided"):
        small_vae.sample(1, guide=guide)
    with pytest.raises(UsageError, match="cannot be guided"):
        small_vae.request(guide=guide)


@pytest.mark.parametrize(("network", "hidden", "width"), [("mlp", 0, 400), ("conv", 0, 32), ("conv", 8, 8)])
def test_each_network_has_a_width_that_suits_it(network: str, hidden: int, width: int) -> None:
    options = VAEOptions(network=network, hidden=hidden)
    assert options.suited("cpu").hidden == options.width == width
    if hidden:
        built, said = (VAE(each).state_dict() for each in (options, options.suited("cpu")))
        assert {name: value.shape for name, value in built.items()} == {
            name: value.shape for name, value in said.items()
        }
