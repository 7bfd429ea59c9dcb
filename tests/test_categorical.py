"""A model that knows that pixels have values: Bayes' rule, gradients, bounds that can be known otherwise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from genmnist import api
from genmnist.data import Splits
from genmnist.diffusion import categorical
from genmnist.diffusion.schedules import log_snr
from genmnist.diffusion.times import Spread, adaptive, stratified
from genmnist.errors import UsageError
from genmnist.evaluation import distances, scores, suite
from genmnist.evaluation.document import is_sound
from genmnist.evaluation.scores import Terms
from genmnist.families import Recipe
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.ddpm import DiffusionOptions
from genmnist.models import ConditionalDiffusion, Diffusion
from genmnist.randomness import reseed
from genmnist.registry import SAMPLERS
from genmnist.training import Trainer

LIKELY: dict[str, Any] = {
    "noise_schedule": "log-snr",
    "target": "categorical",
    "times": "adaptive",
    "weight": "likelihood",
    "size": "tiny",
}


def made(shape: tuple[int, int, int] = (1, 28, 28), **options: Any) -> Diffusion:
    reseed(torch.device("cpu"), 0, "categorical")
    return Diffusion(DiffusionOptions(shape=shape, **{**LIKELY, **options})).eval()


def last(model: Diffusion, images: Tensor, **options: Any) -> Terms:
    *_, found = scores.terms(model, images, **options)
    return found


def test_the_posterior_is_bayes_rule() -> None:
    torch.manual_seed(0)
    prior = torch.randn(4, 6, 2, 5).log_softmax(-1)
    levels_ = categorical.levels(5)
    log_snrs = torch.tensor([-6.0, -1.0, 2.0, 6.0])
    alpha, sigma = log_snrs.sigmoid().sqrt()[:, None, None], (-log_snrs).sigmoid().sqrt()[:, None, None]
    x = alpha * levels_[torch.randint(5, (4, 6, 2))] + sigma * torch.randn(4, 6, 2)
    found = categorical.posterior(prior, x, log_snrs).softmax(-1)
    normal = torch.distributions.Normal(alpha[..., None] * levels_, sigma[..., None])
    joint = prior.exp().double() * normal.log_prob(x[..., None]).double().exp()
    torch.testing.assert_close(found.double(), joint / joint.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("at_a_time", [1, 2, 100], ids="{} images at a time".format)
def test_gradients_are_those_of_autograd(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    b, n, c, values = 5, 7, 2, 9
    monkeypatch.setattr(categorical, "_CACHED", at_a_time * n * c * values)
    features = torch.randn(b, n, c, 6, requires_grad=True)
    weight = torch.randn(values, 6, requires_grad=True)
    prior, log_snrs = torch.randn(c, values).log_softmax(-1), torch.tensor([-6.0, -1.0, 2.0, 4.0, 13.0])
    clean, error, surprise = torch.randint(values, (b, n, c)), 3 * torch.rand(b), 0.7
    truth = categorical.levels(values)[clean]
    alpha, sigma = log_snrs.sigmoid().sqrt()[:, None, None], (-log_snrs).sigmoid().sqrt()[:, None, None]
    x = alpha * truth + sigma * torch.randn(b, n, c)
    given = (features, weight, prior, x, log_snrs, clean, error, surprise)
    loss, mean, nats = categorical.Judgement.apply(*given)
    log_p = categorical.posterior(features @ weight.T + prior, x, log_snrs).log_softmax(-1)
    plain_mean = log_p.exp() @ categorical.levels(values)
    plain_nats = -log_p.gather(-1, clean[..., None])[..., 0]
    plain = (error[:, None, None] * (plain_mean - truth).square() + surprise * plain_nats).mean()
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(mean, plain_mean.detach())
    torch.testing.assert_close(nats, plain_nats.detach(), rtol=1e-4, atol=1e-5)
    own, other = (torch.autograd.grad(3 * end, (features, weight)) for end in (loss, plain))
    torch.testing.assert_close(own, other)


def test_a_network_that_says_nothing_leaves_the_histogram(few: Splits) -> None:
    """Its pixels are independent, so that the bound must meet the cross-entropy of the histogram."""
    model, test = made(), few.test.images[:24]
    model.begin(few.train.images)
    counts = few.train.images.flatten().bincount(minlength=256) + 1.0
    bits = -(counts / counts.sum()).log2()[test.long()].flatten(1).mean(1).double()
    off = last(model, test, looks=16).bits - bits
    assert abs(off.mean()) < 4 * off.std() / math.sqrt(len(off)) + 2e-3
    assert off.std() < 0.3 * bits.std()  # it is that of each image, too


class Enumerated(torch.nn.Module):
    """The exact network of a distribution over small images: log p(x_i = v | all other noisy pixels)."""

    def __init__(self, states: Tensor, p: Tensor, values: int, features: int) -> None:
        super().__init__()
        self.states, self.p, self.values, self.features = states, p, values, features
        self.dummy = torch.nn.Parameter(torch.zeros(()))

    def forward(self, seen: Tensor, log_snr: Tensor, labels: Tensor | None = None) -> Tensor:
        x = seen[:, 0].flatten(1).double()
        log_snr = log_snr.double().expand(len(x))[:, None, None]
        alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
        value = categorical.levels(self.values).double()[self.states]  # [states, pixels]
        each = -((x[:, None] - alpha * value) ** 2) / (2 * sigma**2)  # [b, states, pixels]
        others = self.p.log()[:, None] + each.sum(-1, keepdim=True) - each
        chosen = torch.nn.functional.one_hot(self.states, self.values).bool()  # [states, pixels, values]
        logits = others[..., None].expand(-1, -1, -1, self.values).masked_fill(~chosen, -torch.inf)
        logits = logits.logsumexp(1).clamp_min(-200.0)  # [b, pixels, values]
        padded = torch.zeros(*logits.shape[:2], self.features)
        padded[..., : self.values] = logits.float()
        side = math.isqrt(x.shape[1])
        return padded.permute(0, 2, 1).view(len(x), self.features, side, side) + self.dummy


@pytest.fixture(scope="module")
def known() -> tuple[Diffusion, Tensor, Tensor]:
    """An exact model of images of 2 x 2 pixels with 4 values, 256 in all; some of them, and their bits."""
    states = torch.tensor([*itertools.product(range(4), repeat=4)])
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(256, generator=generator).double() ** 12
    p = p / p.sum()
    options = DiffusionOptions(shape=(1, 2, 2), values=4, **LIKELY)
    model = Diffusion(options, Enumerated(states, p, 4, options.outputs)).eval()
    model.network.readout = torch.nn.Parameter(torch.eye(4, options.outputs))
    drawn = torch.multinomial(p, 1000, replacement=True, generator=generator)
    images = (states[drawn].view(-1, 2, 2) * 85).to(torch.uint8)
    return model, images, -p[drawn].log2() / 4


def excess(known: tuple[Diffusion, Tensor, Tensor], **options: Any) -> tuple[float, float]:
    """Return by how much a bound exceeds the bits that these images have, and the error of that."""
    model, images, bits = known
    off = last(model, images, batch_size=1000, **options).bits - bits
    return off.mean().item(), off.std().item() / math.sqrt(len(off))


def test_the_bound_of_an_exact_model_is_the_entropy(known: tuple[Diffusion, Tensor, Tensor]) -> None:
    more, error = excess(known, looks=32)
    assert error < 0.025
    assert abs(more) < 4 * error


def test_a_chain_costs_more_the_fewer_its_steps(known: tuple[Diffusion, Tensor, Tensor]) -> None:
    found = [excess(known, looks=8, steps=steps) for steps in (8, 32, 4096)]
    for (more, error), (less, other) in itertools.pairwise(found):
        assert more > less - 3 * math.hypot(error, other)
    assert found[0][0] > 0.2
    assert abs(found[2][0]) < 4 * found[2][1] + 0.002


def test_a_model_that_is_wrong_costs_more_than_the_entropy(known: tuple[Diffusion, Tensor, Tensor]) -> None:
    _, images, bits = known
    flat = made((1, 2, 2), values=4)  # a histogram of equal shares: 2 bits a pixel
    assert last(flat, images, batch_size=1000).bits.mean().item() == pytest.approx(2, abs=0.05)
    assert bits.mean() < 1.8


def test_draws_follow_the_loss_and_weights_make_up_for_it() -> None:
    schedule, spread = log_snr(500), Spread()
    torch.manual_seed(0)

    def loss(share: Tensor) -> Tensor:
        return 1 + 20 * (-(((share - 0.3) / 0.05) ** 2)).exp()

    for _ in range(400):
        share = adaptive(schedule, stratified(64), spread) / 499
        spread.learn(share, loss(share).float())
    share = adaptive(schedule, stratified(100_000), spread) / 499
    near = ((share - 0.3).abs() < 0.05).double().mean().item()
    assert near > 0.4  # of an even draw a tenth
    grid = (torch.arange(100_000).double() + 0.5) / 100_000
    assert (loss(share) / spread.density(share)).mean().item() == pytest.approx(
        loss(grid).mean().item(), rel=1e-3
    )
    counts = (share * 64).long().bincount(minlength=64) / len(share) * 64
    torch.testing.assert_close(counts.double(), spread.densities(), rtol=0.02, atol=0.002)


@pytest.mark.parametrize("target", ["categorical", "v"])
def test_training_learns_where_to_look(few: Splits, target: str) -> None:
    torch.manual_seed(0)
    model = Diffusion(DiffusionOptions(**{**LIKELY, "target": target}))
    trainer = Trainer(model, few, Recipe(batch_size=16, lr=2e-3), steps=12)
    before = [*trainer.train()][-1]
    assert model.spread is not None
    assert not model.spread.squares.eq(1).all()
    assert math.isfinite(before.metrics.val_loss)  # type: ignore[union-attr]


def test_scores_depend_on_seed_and_image_alone(few: Splits) -> None:
    model, images = made(), few.test.images[:7]
    model.begin(few.train.images)
    whole = last(model, images, looks=3, batch_size=7).bits
    torch.testing.assert_close(last(model, images, looks=3, batch_size=2).bits, whole)
    assert not torch.allclose(last(model, images, looks=3, seed=1).bits, whole, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 9, 8), (1, 12, 12)], ids=str)
def test_colours_and_labels(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    channels, height, width = shape
    colour = (3,) if channels == 3 else ()
    images = torch.randint(0, 2, (20, height, width, *colour)).mul(255).to(torch.uint8)
    model = ConditionalDiffusion(ConditionalOptions(shape=shape, classes=3, values=2, **LIKELY)).eval()
    model.begin(images)
    labels = torch.arange(20) % 3
    assert last(model, images, labels=labels, looks=16).bits.mean().item() == pytest.approx(1, abs=0.1)
    drawn = model.sample(3, steps=2, labels=[0, 1, 2], guidance=2.0)
    assert drawn.shape == images[:3].shape


def test_what_takes_other_targets_takes_this_one(few: Splits) -> None:
    model = made()
    model.begin(few.train.images)
    for sampler in SAMPLERS.names():
        *_, last_step = model.trace(model.request(0, sampler=sampler, steps=3), 2)
        assert last_step.x.isfinite().all()
    noise = model.embed(few.test.images[:2], steps=24)
    again = model.decode(noise, request=model.request(how=model.deterministic(steps=24)))
    assert (again - few.test.images[:2, None] / 255).abs().mean() < 0.05
    walk = model.interpolate(noise[:1], noise[1:], torch.linspace(0, 1, 3), path="slerp")
    assert walk.shape == (1, 3, 1, 28, 28)


def sentence(action: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        action()
    return str(caught.value)


def test_what_makes_no_sense(few: Splits) -> None:
    images = few.test.images[:2]
    plain = Diffusion(DiffusionOptions(size="tiny"))
    assert "only a diffusion model with the target categorical" in sentence(lambda: last(plain, images))
    assert "other values than the 4" in sentence(lambda: last(made(values=4), images))
    assert "28 x 28" in sentence(lambda: last(made((1, 8, 8)), images))
    assert "`looks` must be a whole number of 1 or more" in sentence(lambda: last(made(), images, looks=0))
    assert "`steps` must be a whole number of 1 or more" in sentence(lambda: last(made(), images, steps=0))
    assert "no images" in sentence(lambda: last(made(), images[:0]))


def test_an_evaluation_has_the_bound_by_level_and_that_of_a_chain(few: Splits) -> None:
    model = made()
    model.begin(few.train.images)
    effort = replace(suite.QUICK, scored=6, looks=4, chained=3, steps=50)
    task = suite.Task(
        model,
        few,
        distances.bundled_features(torch.device("cpu")),
        effort,
        lambda stage, share: None,
        0,
        None,
    )
    name, found = suite.MEASURES["likelihood"](task)
    assert name == "likelihood"
    assert is_sound(found)
    bound, chain = found.bound, found.chain
    assert (bound.images, len(bound.levels), chain.images, chain.steps) == (6, 4, 3, 50)
    parts = bound.prior + bound.reconstruction + sum(level.bits for level in bound.levels)
    assert bound.bits == pytest.approx(parts)
    assert sum(level.width for level in bound.levels) == pytest.approx(21.3)
    assert found.exact is None
    assert "exact" not in msgspec.to_builtins(found)


def test_a_chain_is_of_models_that_know_values() -> None:
    plain = Diffusion(DiffusionOptions(size="tiny"))
    assert "`likelihood_steps` is for" in sentence(lambda: api.evaluate(plain, likelihood_steps=9))
