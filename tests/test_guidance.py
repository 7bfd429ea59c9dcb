"""Guidance: on data whose every distribution is known, and in the models that use it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import CPU, same_samples, slow
from genmnist.data import Splits, scale
from genmnist.diffusion import guidance, samplers
from genmnist.diffusion.samplers import Denoise, Gradient
from genmnist.diffusion.schedules import Schedule, cosine, linear, straight
from genmnist.diffusion.spacings import spaced
from genmnist.diffusion.targets import Denoised
from genmnist.errors import UsageError
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.classifier import ClassifierOptions
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.sampling import Sampling
from genmnist.models import ByClassifier, Classifier, ConditionalDiffusion, Diffusion
from genmnist.randomness import reseed
from genmnist.registry import SAMPLERS

# Two classes, each a round Gaussian: everything is known in closed form.

MEANS = torch.tensor([[1.0, -0.5], [-1.0, 0.8]], dtype=torch.float64)
SPREAD = 0.3
NULL = 2


def known(schedule: Schedule) -> guidance.Conditional:
    """Return the best denoiser there is, of either class or, for the null label, of both together."""

    def denoise(x: Tensor, t: float, labels: Tensor | None) -> Denoised:
        assert labels is not None
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        variance = alpha**2 * SPREAD**2 + sigma**2
        apart = x[:, None] - alpha * MEANS
        each = MEANS + alpha * SPREAD**2 / variance * apart
        shares = (-apart.square().sum(-1) / variance / 2).softmax(-1)
        shares = torch.where(labels[:, None] == NULL, shares, torch.nn.functional.one_hot(labels, 3)[:, :2])
        clean = (shares[..., None] * each).sum(1)
        return Denoised(clean, (x - alpha * clean) / sigma)

    return denoise


def pull(schedule: Schedule, label: int, strength: float = 1.0) -> Gradient:
    """Return the gradient of the logarithm of the posterior of a class, by automatic differentiation."""

    def gradient(x: Tensor, t: float) -> Tensor:
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        variance = alpha**2 * SPREAD**2 + sigma**2
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            log_shares = (-(x[:, None] - alpha * MEANS).square().sum(-1) / variance / 2).log_softmax(-1)
            return strength * torch.autograd.grad(log_shares[:, label].sum(), x)[0]

    return gradient


def points(n: int = 50) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def of_label(denoise: guidance.Conditional, label: int) -> Denoise:
    return lambda x, t: denoise(x, t, torch.full((len(x),), label))


@pytest.mark.parametrize("w", [0.5, 3.0])
def test_classifier_free_guidance_is_its_formula(w: float) -> None:
    schedule, x, calls = linear(), points(), []
    denoise = known(schedule)

    def counted(x: Tensor, t: float, labels: Tensor | None) -> Denoised:
        calls.append(len(x))
        return denoise(x, t, labels)

    labels, null = torch.zeros(50, dtype=torch.long), torch.full((50,), NULL)
    guided = guidance.classifier_free(counted, labels, null, lambda t: w)(x, 300.0)
    labelled, plain = denoise(x, 300.0, labels), denoise(x, 300.0, null)
    torch.testing.assert_close(guided.epsilon, (1 + w) * labelled.epsilon - w * plain.epsilon)
    # What belongs together stays together: x = alpha x0 + sigma epsilon.
    alpha, sigma = schedule.alpha(300.0), schedule.sigma(300.0)
    torch.testing.assert_close(alpha * guided.x0 + sigma * guided.epsilon, x)
    assert calls == [100]


def test_without_guidance_one_of_the_models_is_asked_and_no_other() -> None:
    asked: list[list[int]] = []

    def record(x: Tensor, t: float, labels: Tensor | None) -> Denoised:
        assert labels is not None
        asked.append(labels.tolist())
        return Denoised(x, x)

    labels, null = torch.tensor([0, 1]), torch.tensor([NULL, NULL])
    strengths = {900.0: 0.0, 500.0: -1.0, 100.0: 2.0}
    denoise = guidance.classifier_free(record, labels, null, strengths.__getitem__)
    for t in strengths:
        denoise(points(2), t)
    assert asked == [[0, 1], [NULL, NULL], [0, 1, NULL, NULL]]


@pytest.mark.parametrize("schedule", [linear(), cosine(), straight()], ids=lambda s: str(s.name))
@pytest.mark.parametrize("t", [10.0, 300.0, 900.0])
def test_a_true_classifier_makes_the_unconditional_model_the_conditional_one(
    schedule: Schedule, t: float
) -> None:
    """Bayes' rule: the score of a class is the score of all plus the gradient of the class's posterior."""
    x = points()
    steered = guidance.by_classifier(of_label(known(schedule), NULL), pull(schedule, 1), schedule)(x, t)
    expected = of_label(known(schedule), 1)(x, t)
    torch.testing.assert_close(steered.epsilon, expected.epsilon)
    torch.testing.assert_close(steered.x0, expected.x0)


def test_the_shift_is_that_of_dhariwal_and_nichol() -> None:
    """Algorithm 2: the predicted noise moves by - s sqrt(1 - alpha-bar) times the gradient."""
    schedule, x = linear(), points()
    alpha_bar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)[300]
    plain = of_label(known(schedule), NULL)
    steered = guidance.by_classifier(plain, pull(schedule, 1, 2.5), schedule)(x, 300.0)
    expected = plain(x, 300.0).epsilon - 2.5 * (1 - alpha_bar).sqrt() * pull(schedule, 1)(x, 300.0)
    torch.testing.assert_close(steered.epsilon, expected)


@pytest.mark.parametrize("variance", ["beta", "beta-tilde"])
def test_ancestral_steps_move_by_the_variance_times_the_gradient(variance: str) -> None:
    """Algorithm 1: N(mu + s Sigma grad, Sigma); without noise drawn, the mean is left."""
    schedule, x = linear(), points()
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = (1 - betas).cumprod(0)
    beta = betas[300] if variance == "beta" else betas[300] * (1 - alpha_bar[299]) / (1 - alpha_bar[300])
    gradient = pull(schedule, 1, 2.5)

    def mean(gradient: Gradient | None) -> Tensor:
        denoise = of_label(known(schedule), NULL)
        walk = samplers.ancestral(
            denoise, x, schedule, [300.0, 299.0], lambda: torch.zeros_like(x), variance, gradient
        )
        return next(walk).x

    torch.testing.assert_close(mean(gradient) - mean(None), beta * gradient(x, 300.0))


def _dpm_solver(denoise: Denoise, x: Tensor, schedule: Schedule, times: list[float]) -> Tensor:
    *_, step = samplers.dpm_solver(denoise, x, schedule, times)
    return step.x


@pytest.mark.parametrize("sampler", ["dpm-solver", "ancestral"])
def test_a_steered_sampler_draws_the_class_it_is_asked_for(sampler: str) -> None:
    schedule, generator = linear(), torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(4000, 2, generator=generator, dtype=torch.float64)

    plain, gradient = of_label(known(schedule), NULL), pull(schedule, 1)
    if sampler == "ancestral":
        times = spaced(schedule, 500)
        *_, step = samplers.ancestral(plain, noise(), schedule, times, noise, gradient=gradient)
        drawn = step.x
    else:
        guided = guidance.by_classifier(plain, gradient, schedule)
        drawn = _dpm_solver(guided, noise(), schedule, spaced(schedule, 60))
    torch.testing.assert_close(drawn.mean(0), MEANS[1], rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(drawn.T), SPREAD**2 * torch.eye(2).double(), rtol=0, atol=0.02)


# The models


def randomised(model: torch.nn.Module) -> Any:
    """Give every weight a random value, none of them zero."""
    for number, weight in enumerate(model.parameters()):
        generator = torch.Generator().manual_seed(number)
        weight.data = 0.05 * torch.randn(weight.shape, generator=generator)
    return model.place(CPU, "float32").eval()  # type: ignore[operator]


def noises(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def conditional(**options: object) -> ConditionalDiffusion:
    model = randomised(ConditionalDiffusion(ConditionalOptions.of({"size": "tiny", **options})))
    source = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(model.network.label.weight, generator=source)  # labels that are heard
    return model  # type: ignore[no-any-return]


def noisy() -> Classifier:
    return randomised(Classifier(ClassifierOptions(noisy=True, width=8)))  # type: ignore[no-any-return]


def unconditional() -> Diffusion:
    return randomised(Diffusion(DiffusionOptions(size="tiny")))  # type: ignore[no-any-return]


def decoded(model: ConditionalDiffusion, denoise: Denoise, seed: int, count: int) -> Tensor:
    """Return what a denoiser makes of the noise of samples, by the default sampler."""
    how = Sampling(steps=4)
    kept = samplers.thresholded(denoise, model.schedule)
    with torch.no_grad():
        x = _dpm_solver(kept, model.prior(seed, count), model.schedule, model.timesteps(how))
        return (x + 1) / 2


@pytest.mark.parametrize(("w", "label"), [(0.0, 3), (-1.0, 10)])
def test_no_guidance_is_exactly_one_model_or_the_other(w: float, label: int) -> None:
    model = conditional()
    request = model.request(5, labels=[3], guidance=w, steps=4, sampler="dpm-solver")
    drawn = model.draw(request, 0, 6)
    alone = functools.partial(model.denoise, labels=torch.full((6,), label))
    assert torch.equal(drawn, decoded(model, alone, 5, 6))
    other = functools.partial(model.denoise, labels=torch.full((6,), 4))
    assert not torch.allclose(drawn, decoded(model, other, 5, 6), atol=1e-2)


def test_the_null_label_is_what_a_network_without_labels_takes() -> None:
    model, x = conditional(), noises(3)
    with torch.no_grad():
        null = model.denoise(x, 500.0, torch.full((3,), 10))
        torch.testing.assert_close(model.denoise(x, 500.0).x0, null.x0)


def test_guidance_keeps_to_its_interval() -> None:
    model = conditional(noise_schedule="straight")
    asked: list[tuple[float, int]] = []
    plain = model.denoise

    def counted(x: Tensor, t: float, labels: Tensor | None = None) -> Denoised:
        asked.append((model.schedule.sigma(t).item(), len(x)))
        return plain(x, t, labels)

    model.denoise = counted  # type: ignore[method-assign]
    model.sample(2, guidance=2.0, guide_above=0.3, guide_below=0.8, steps=20, spacing="trailing")
    for noise, batch in asked:  # on the straight path sigma is the share of noise
        assert batch == (4 if 0.3 <= noise <= 0.8 else 2)
    assert {batch for _, batch in asked} == {2, 4}


@pytest.mark.parametrize(
    ("sampler", "precision"),
    [
        ("ddim", "float32"),
        ("ancestral", "float32"),
        *slow(*((name, "float32") for name in SAMPLERS.names() if name not in ("ddim", "ancestral"))),
        *slow(*((name, "bfloat16") for name in SAMPLERS.names())),
    ],
)
def test_a_guided_sample_depends_on_its_seed_and_label_alone(sampler: str, precision: str) -> None:
    model = conditional().place(CPU, precision)
    options: dict[str, Any] = {"sampler": sampler, "steps": 4, "guidance": 3.0, "labels": [3, 1, 4]}
    whole = model.sample(64, seed=3, batch_size=64, **options)
    for batch_size in (1, 7):
        again = model.sample(14, seed=3, batch_size=batch_size, **options)
        assert same_samples(again, whole[:14], precision)
    alone = model.sample(2, seed=3, **options | {"labels": [3, 1]})
    assert same_samples(alone, whole[:2], precision)
    for other in ({"seed": 4}, {"labels": [5]}):
        changed = model.sample(2, **{"seed": 3, **options, **other})
        assert ((changed.int() - whole[:2].int()).abs().float().mean((1, 2)) > 20).all()


def test_labels_are_taken_in_turn() -> None:
    model = conditional()
    for given, first, expected in (((), 8, [8, 9, 0, 1]), ([3, 1, 4], 4, [1, 4, 3, 1])):
        taken = model.request(labels=given).sequence(first, 4)
        assert taken is not None
        assert taken.tolist() == expected
    assert unconditional().request().sequence(0, 3) is None
    for label in (10, -1):
        with pytest.raises(UsageError, match="those of this model are 0 to 9"):
            model.request(labels=[3, label])
    with pytest.raises(UsageError, match="this model takes no `labels`"):
        unconditional().sample(1, labels=[7])


def test_training_drops_labels_image_by_image(few: Splits) -> None:
    model = conditional(drop_label=0.3).train()
    heard: list[Tensor] = []
    network = model.network

    def listen(_: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        heard.append(arguments[2])

    network.register_forward_pre_hook(listen)
    images, labels = few.train.batch(torch.arange(1000))
    reseed(CPU, 0)
    model.losses(images[:500], labels[:500])
    model.losses(images[500:], labels[500:])
    seen = torch.cat(heard)
    dropped = seen == 10
    assert torch.equal(seen[~dropped], labels[~dropped])
    assert 0.25 < dropped.float().mean() < 0.35
    assert 0.2 < dropped[:500].float().mean() < 0.4  # of the batch some, not all or none
    model.eval().losses(images[:500], labels[:500])
    assert torch.equal(heard[-1], labels[:500])


def test_a_model_whose_labels_are_all_dropped_is_the_unconditional_one(few: Splits) -> None:
    model = conditional(drop_label=1.0).train()
    images, labels = few.train.batch(torch.arange(20))
    found = []
    for given in (labels, labels.flip(0)):
        reseed(CPU, 0)
        found.append(model.losses(images, given)["loss"])
    assert found[0] == found[1]


def test_walks_mix_labels_and_end_at_their_own() -> None:
    model = conditional()
    start, end, alphas = model.prior(0, 2), model.prior(1, 2), torch.linspace(0, 1, 3)
    labels = torch.tensor([3, 5]), torch.tensor([8, 1])
    request = model.request(how=model.deterministic(steps=4, guidance=1.5))
    walk = model.interpolate(start, end, alphas, labels=labels, request=request)
    close = functools.partial(torch.testing.assert_close, rtol=1e-3, atol=1e-3)
    close(walk[:, 0], model.decode(start, labels[0], request))
    close(walk[:, -1], model.decode(end, labels[1], request))
    walk = model.interpolate(start, end, alphas, "label", labels=labels, request=request)
    close(walk[:, 0], model.decode(start, labels[0], request))
    close(walk[:, -1], model.decode(start, labels[1], request))
    assert (walk[:, 1] - walk[:, 0]).abs().max() > 0.01
    walk = model.interpolate(start, end, alphas, "pixel", labels=labels, request=request)
    close(walk[:, 1], (walk[:, 0] + walk[:, 2]) / 2)


def test_a_sharp_mixture_is_a_label() -> None:
    model, x = conditional(), noises(3)
    labels = torch.tensor([3, 0, 9])
    mixture = torch.nn.functional.one_hot(labels, 11).float()
    with torch.no_grad():
        for request in (model.request(guidance=2.0), model.request(guidance=-1.0)):
            whole, mixed = (model.denoiser(request, given)(x, 400.0).x0 for given in (labels, mixture))
            torch.testing.assert_close(whole, mixed)


# The classifier of noisy images


def test_the_gradient_is_that_of_the_log_probability() -> None:
    classifier = noisy().double()
    classifier.place(CPU, "float32")
    x = noises(3).double()
    labels, alpha, sigma = torch.tensor([7, 0, 3]), 0.6, 0.4

    def log_probability(x: Tensor) -> Tensor:
        size = (alpha**2 + sigma**2) ** 0.5
        log_snr = torch.full((3,), 2.0, dtype=torch.float64) * torch.tensor(alpha / sigma).double().log()
        network: Callable[..., Tensor] = classifier.network
        return network(x / size, log_snr).log_softmax(-1).gather(1, labels[:, None]).squeeze(1)

    gradient = classifier.gradient(x, alpha, sigma, labels)
    direction = noises(3, seed=1).double()
    step = 1e-4
    with torch.no_grad():
        slope = (log_probability(x + step * direction) - log_probability(x - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum((1, 2, 3)), slope, rtol=1e-3, atol=1e-5)


def test_gradients_are_there_even_where_none_are_kept() -> None:
    classifier, x, labels = noisy(), noises(2), torch.tensor([7, 3])
    plain = classifier.gradient(x, 0.8, 0.6, labels)
    with torch.inference_mode():
        again = classifier.gradient(x.clone(), 0.8, 0.6, labels.clone())
    assert torch.equal(plain, again)
    assert plain.abs().max() > 0


def test_a_mixture_of_classes_pulls_both_ways() -> None:
    classifier, x = noisy(), noises(2)
    first, second = (classifier.gradient(x, 0.8, 0.6, torch.full((2,), label)) for label in (7, 3))
    shares = torch.zeros(2, 11)
    shares[:, 7], shares[:, 3] = 0.25, 0.75
    mixed = classifier.gradient(x, 0.8, 0.6, shares)
    torch.testing.assert_close(mixed, 0.25 * first + 0.75 * second)


def test_a_noisy_classifier_learns_from_every_level_of_noise(few: Splits) -> None:
    classifier, levels = noisy(), []
    network = classifier.network

    def listen(_: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        levels.append(arguments)

    network.register_forward_pre_hook(listen)
    classifier.losses(*few.test.batch(torch.arange(100)))
    x, log_snr = levels[0]
    angle = (-log_snr / 2).exp().atan() / (torch.pi / 2)
    assert (angle * 100).floor().tolist() == list(range(100))
    clean = 2 * scale(few.test.images[:100]) - 1
    alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
    noise = (x - alpha[:, None, None, None] * clean)[50:] / sigma[50:, None, None, None]
    assert noise.std() == pytest.approx(1, abs=0.02)


def test_a_classifier_of_clean_images_cannot_guide() -> None:
    with pytest.raises(UsageError, match="take one trained with `noisy`"):
        ByClassifier(randomised(Classifier(ClassifierOptions(width=8))))


@pytest.mark.parametrize("sampler", SAMPLERS.names())
def test_a_steered_sample_depends_on_its_seed_and_label_alone(sampler: str) -> None:
    model, guide = unconditional(), ByClassifier(noisy(), 50.0)
    options: dict[str, Any] = {"sampler": sampler, "steps": 4, "labels": [7, 2], "guide": guide}
    whole = model.sample(14, seed=3, batch_size=14, **options).int()
    again = model.sample(7, seed=3, batch_size=3, **options).int()
    assert (again - whole[:7]).abs().max() <= 1
    plain = model.sample(7, seed=3, sampler=sampler, steps=4).int()
    assert (plain - whole[:7]).abs().max() > 1


def test_a_guided_model_stays_as_it_was() -> None:
    """Guidance is an object of its own: nothing of it is left in the model, or in the classifier."""
    model, classifier = unconditional(), noisy()
    before = [
        {name: tensor.clone() for name, tensor in part.state_dict().items()} for part in (model, classifier)
    ]
    plain = model.sample(3, seed=1, steps=4)
    attributes = {*vars(model)}
    guided = model.sample(3, seed=1, steps=4, labels=[7], guide=ByClassifier(classifier, 50.0))
    assert not torch.equal(guided, plain)
    for part, weights in zip((model, classifier), before, strict=True):
        now = part.state_dict()
        assert now.keys() == weights.keys()
        assert all(torch.equal(now[name], tensor) for name, tensor in weights.items())
        assert all(weight.grad is None for weight in part.parameters())
    assert {*vars(model)} == attributes
    assert model.classes == 0
    assert torch.equal(model.sample(3, seed=1, steps=4), plain)
    with pytest.raises(UsageError, match="takes no `labels`"):
        model.sample(1, labels=[7])


def test_one_model_takes_one_guide_after_another() -> None:
    model, classifier = unconditional(), noisy()
    guides = [ByClassifier(classifier, scale) for scale in (20.0, 80.0)]

    def drawn(guide: ByClassifier) -> Tensor:
        return model.sample(3, seed=1, steps=4, labels=[7], guide=guide)

    first, second = map(drawn, guides)
    assert not torch.equal(first, second)
    assert torch.equal(drawn(guides[0]), first)
    requests = [model.request(1, labels=[7], guide=guide, steps=4) for guide in guides]
    turns = [model.walk(request, 0, 3) for request in requests]
    for one, other in zip(*turns, strict=True):  # in turn, a step of each: neither knows of the other
        last = one.x, other.x
    alone = [model.draw(request, 0, 3) for request in requests]
    for x, expected in zip(last, alone, strict=True):
        assert torch.equal((x + 1) / 2, expected)


def test_a_guide_brings_its_labels() -> None:
    model, guide = unconditional(), ByClassifier(noisy())
    assert guide.classes == 10
    taken = model.request(guide=guide).sequence(8, 4)
    assert taken is not None
    assert taken.tolist() == [8, 9, 0, 1]
    with pytest.raises(UsageError, match="there is no label 10: those of this model are 0 to 9"):
        model.sample(1, labels=[10], guide=guide)


def test_a_guide_of_no_strength_changes_nothing() -> None:
    model = unconditional()
    plain = model.sample(3, seed=1, steps=4).int()
    guided = model.sample(3, seed=1, steps=4, labels=[7], guide=ByClassifier(noisy(), 0.0)).int()
    assert (guided - plain).abs().max() <= 1
