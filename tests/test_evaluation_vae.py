"""What a VAE is measured to know, held against quadrature and a second implementation of the counting."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import genmnist
from conftest import CPU, slow, weight
from genmnist.data import Dataset, Splits
from genmnist.errors import UsageError
from genmnist.evaluation.document import Bounds
from genmnist.evaluation.vae import bounds, disentanglement, mutual_information_gap
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE


@pytest.fixture(scope="module")
def trained() -> VAE:
    return genmnist.load("vae", "bundled", device="cpu", precision="float32")


def measure(vae: VAE, data: Dataset, samples: int, seed: int = 0, batch_size: int = 500) -> Bounds:
    return list(bounds(vae, data, samples, seed, batch_size))[-1]


@pytest.mark.parametrize("latent", [1, *slow(2)])
def test_the_importance_weighted_bound_comes_down_to_the_likelihood(latent: int, few: Splits) -> None:
    """A code of one or two factors can be integrated out on a grid."""
    torch.manual_seed(0)
    vae = VAE(VAEOptions(hidden=16, latent=latent)).place(CPU, "float32")
    weight(vae, "decoder.0.weight").mul_(3)  # else the code hardly matters
    weight(vae, "decoder.2.weight").mul_(2)
    data = Dataset("some", few.test.images[:50], few.test.labels[:50])
    axis = torch.linspace(-7, 7, 281)
    grid = torch.cartesian_prod(*[axis] * latent).view(-1, latent)
    x = data.images.flatten(1).float() / 255
    with torch.inference_mode():
        logits = vae.logits(grid).flatten(1)
        joint = x @ logits.T - F.softplus(logits).sum(1) - grid.square().sum(1) / 2
    volume = latent * (math.log(14 / 280) - math.log(2 * math.pi) / 2)
    exact = -(joint.double().logsumexp(1) + volume).mean().item()
    elbo, some, many = (measure(vae, data, samples) for samples in (1, 30, 1500))
    assert many.importance_weighted == pytest.approx(exact, abs=0.1)
    assert some.importance_weighted > exact - 0.1
    assert some.negative_elbo > some.importance_weighted + 0.1
    assert elbo.negative_elbo > exact + 0.5


def test_one_sample_is_the_elbo_and_more_are_tighter(trained: VAE, few: Splits) -> None:
    ones = [measure(trained, few.test, 1, seed) for seed in range(6)]
    gap = sum(one.importance_weighted - one.negative_elbo for one in ones) / 6
    assert gap == pytest.approx(0, abs=0.25)
    values = [measure(trained, few.test, samples).importance_weighted for samples in (1, 5, 25)]
    assert values[0] > values[1] + 1 > values[2] + 2


def test_the_terms_are_those_of_training(trained: VAE, few: Splits) -> None:
    found = measure(trained, few.test, 10)
    assert found.kl == pytest.approx(list(trained.usage(few.test))[-1].kl.sum().item(), rel=1e-5)
    torch.manual_seed(0)
    with torch.inference_mode():
        losses = trained.losses(*few.test.batch(torch.arange(500)))
    assert found.reconstruction == pytest.approx(losses["reconstruction"].item(), abs=0.5)
    assert found.negative_elbo == found.reconstruction + found.kl


def test_the_bounds_do_not_depend_on_the_batch(small_vae: VAE, few: Splits) -> None:
    steps = list(bounds(small_vae, few.test, 3, batch_size=64))
    assert [step.images for step in steps][-2:] == [448, 500]
    whole = measure(small_vae, few.test, 3)
    assert msgspec.structs.asdict(steps[-1]) == pytest.approx(msgspec.structs.asdict(whole), rel=1e-5)
    assert whole != measure(small_vae, few.test, 3, seed=1)


@pytest.mark.parametrize("numbers", [{"samples": 0}, {"batch_size": 0}])
def test_bounds_of_nothing(small_vae: VAE, few: Splits, numbers: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        next(bounds(small_vae, few.test, **numbers))


def test_a_copy_of_a_factor_has_the_whole_gap_and_two_copies_have_none() -> None:
    torch.manual_seed(0)
    label, place = torch.randint(10, (10_000,)), torch.randperm(10_000) / 10_000
    codes = torch.stack((torch.randn(10_000), -3 * place, label.float(), torch.randn(10_000)), 1)
    found = mutual_information_gap(codes, {"label": label, "place": place})
    assert found.factors == ("label", "place")
    assert found.information.argmax(1).tolist() == [2, 1]
    assert found.gaps == pytest.approx({"label": 1, "place": 1}, abs=0.02)
    assert found.mean_gap == pytest.approx(sum(found.gaps.values()) / 2)
    assert found.entropy.tolist() == pytest.approx([math.log(10), math.log(20)], abs=0.01)
    twice = mutual_information_gap(torch.cat((codes, codes), 1), {"label": label})
    assert twice.gaps["label"] == pytest.approx(0, abs=1e-6)
    noise = mutual_information_gap(torch.randn(10_000, 5), {"label": label, "place": place})
    assert noise.gaps == pytest.approx({"label": 0, "place": 0}, abs=0.01)
    alone = mutual_information_gap(label[:, None].float(), {"label": label})
    assert alone.gaps["label"] == pytest.approx(1)


def test_the_information_is_that_of_a_second_implementation() -> None:
    generator = np.random.default_rng(0)
    factor = generator.normal(size=3000)
    codes = np.stack([factor + generator.normal(size=3000), generator.normal(size=3000) - factor**2], 1)
    expected = []
    for code in codes.T:
        edges = np.quantile(factor, np.linspace(0, 1, 21))
        joint, _, _ = np.histogram2d(code, factor, bins=[np.linspace(code.min(), code.max(), 21), edges])
        share = joint / joint.sum()
        apart = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
        there = share > 0
        expected.append((share[there] * np.log(share[there] / apart[there])).sum())
    found = mutual_information_gap(torch.from_numpy(codes), {"factor": torch.from_numpy(factor)})
    assert found.information[0].tolist() == pytest.approx(expected, abs=2e-3)
    assert found.gaps["factor"] == pytest.approx(abs(expected[0] - expected[1]) / math.log(20), abs=2e-3)


def test_a_factor_that_never_changes_has_no_gap() -> None:
    with pytest.raises(UsageError, match="same label"):
        mutual_information_gap(torch.randn(10, 2), {"label": torch.ones(10, dtype=torch.int64)})


@pytest.mark.parametrize("sampled", [True, False])
def test_one_factor_of_the_bundled_vae_knows_the_slant(trained: VAE, mnist: Splits, sampled: bool) -> None:
    found = disentanglement(trained, mnist.test, sampled=sampled)
    assert found.factors == ("label", "slant", "thickness", "width")
    assert found.information.shape == (4, 20)
    assert found.gaps["slant"] > 0.1
    assert all(0 <= gap <= 1 for gap in found.gaps.values())
