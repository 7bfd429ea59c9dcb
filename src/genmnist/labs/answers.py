"""The exercises of the lessons: what is asked in a line, how an answer is judged, and what helps on.

The solutions stand on the teachers' page of the documentation, whose code the tests run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genmnist.diffusion import schedules
from genmnist.errors import UsageError
from genmnist.models.vae import ACTIVE_VARIANCE, gaussian_kl

Judge = Callable[[Any], bool]


@dataclass(frozen=True)
class Exercise:
    """A question, its judge, and a hint."""

    question: str
    judge: Judge
    hint: str


@dataclass(frozen=True)
class Verdict:
    """What is to be said of an answer; true if it is right."""

    exercise: str
    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{self.exercise}: {self.text}"


class _StillToComeError(Exception):
    """A function is as the lesson left it."""


def check(exercise: str, answer: Any = ...) -> Verdict:
    """Judge an answer to an exercise.

    >>> from genmnist.labs import check
    >>> check("2.4", 24)
    2.4: not yet. Heun looks twice a step, but think of the last one, which ends at the clean image.
    >>> check("2.4")
    2.4: waiting for your answer. How often does `heun` call the network in 12 steps?

    Args:
        exercise: its number, such as `2.3`.
        answer: a number, a letter, or a function that is tried out; left out, or `...`, it is still to come.

    Raises:
        UsageError: there is no such exercise.
    """
    if exercise not in EXERCISES:
        raise UsageError(f"there is no exercise {exercise!r:.40}: there are {', '.join(EXERCISES)}")
    asked = EXERCISES[exercise]
    if answer is ...:
        return Verdict(exercise, False, f"waiting for your answer. {asked.question}")
    try:
        right = asked.judge(answer)
    except _StillToComeError:
        return Verdict(exercise, False, f"waiting for your answer. {asked.question}")
    except Exception as error:  # whatever a function of a learner's does
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return Verdict(exercise, False, f"your answer could not be tried out ({reason}). {asked.hint}")
    return Verdict(exercise, right, "right." if right else f"not yet. {asked.hint}")


def _number(expected: float, tolerance: float = 0.01) -> Judge:
    """Judge a number, to a share of it."""
    return lambda answer: abs(float(answer) - expected) <= tolerance * max(abs(expected), 1e-9)


def _letter(expected: str) -> Judge:
    return lambda answer: str(answer).strip().lower() == expected


def _same(function: Callable[..., Any], *examples: tuple[Any, ...]) -> Judge:
    """Judge a function by what it makes of examples, beside one that is right."""

    def judge(answer: Callable[..., Any]) -> bool:
        found = [answer(*example) for example in examples]
        if any(one is ... for one in found):
            raise _StillToComeError
        return all(_close(ours, function(*example)) for ours, example in zip(found, examples, strict=True))

    return judge


def _close(ours: Any, theirs: Any) -> bool:
    found, wanted = (torch.as_tensor(value).detach().double() for value in (ours, theirs))
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def _mixed(clean: Tensor, noise: Tensor, log_snr: float) -> Tensor:
    share = torch.tensor(log_snr)
    return share.sigmoid().sqrt() * clean + (-share).sigmoid().sqrt() * noise


_IMAGES, _NOISE = _normal(3, 1, 4, 4), _normal(3, 1, 4, 5)[..., :4]

EXERCISES: dict[str, Exercise] = {
    "1.1": Exercise(
        "Write `kl(mean, log_variance)`: what each factor of each image costs, in nats.",
        _same(gaussian_kl, (_normal(5, 3), _normal(5, 4)[:, :3]), (torch.zeros(1, 2), torch.zeros(1, 2))),
        "It is (mean² + variance − log variance − 1) / 2, and the variance is the exponential of its "
        "logarithm.",
    ),
    "1.2": Exercise(
        "A factor has the mean 1.5 and the deviation 0.2 for an image. What does it cost, in nats?",
        _number((1.5**2 + 0.2**2 - math.log(0.2**2) - 1) / 2),
        "Put 1.5 and log(0.2²) into your function `kl`.",
    ),
    "1.3": Exercise(
        "Write `active(means)`: how many factors are active, given the means [images, factors].",
        _same(
            lambda means: int((means.var(0, correction=0) > ACTIVE_VARIANCE).sum()),
            (_normal(50, 6) * torch.tensor([1, 0.001, 0.5, 0.01, 2, 0.0]),),
            (torch.ones(9, 4) * 7,),
        ),
        "Take the variance over the images, factor by factor, and count those above 0.01.",
    ),
    "1.4": Exercise(
        "As β grows: are there (a) more active factors and sharper images, (b) fewer and blurrier, (c) more "
        "and blurrier, or (d) fewer and sharper?",
        _letter("b"),
        "Look at the table: β is the price of what a factor says.",
    ),
    "2.1": Exercise(
        "Write `noisy(clean, noise, log_snr)`: the mixture whose log-SNR is that, with alpha² + sigma² = 1.",
        _same(_mixed, *((_IMAGES, _NOISE, level) for level in (-6.0, 0.0, 2.5))),
        "alpha² is the sigmoid of the log-SNR, sigma² the sigmoid of its negative.",
    ),
    "2.2": Exercise(
        "At which timestep of the schedule `linear` are there as much image and noise? A whole number "
        "will do.",
        lambda answer: abs(float(answer) - schedules.linear().timestep(0.0).item()) <= 1,
        "As much of both is an SNR of 1, a log-SNR of 0: ask `schedules.linear().timestep(...)`.",
    ),
    "2.3": Exercise(
        "Write `clean_image(v, x, alpha, sigma)`: x₀ from the prediction v = alpha ε − sigma x₀.",
        _same(lambda v, x, alpha, sigma: alpha * x - sigma * v, (_NOISE, _IMAGES, 0.6, 0.8),
              (_IMAGES, _NOISE, 1.0, 0.0)),
        "Multiply x = alpha x₀ + sigma ε by alpha, v by sigma, and subtract: alpha² + sigma² is 1.",
    ),
    "2.4": Exercise(
        "How often does `heun` call the network in 12 steps?",
        _number(23, 0),
        "Heun looks twice a step, but think of the last one, which ends at the clean image.",
    ),
    "3.1": Exercise(
        "Write `guided(with_label, without, w)`: the noise that classifier-free guidance predicts.",
        _same(lambda label, plain, w: (1 + w) * label - w * plain, (_IMAGES, _NOISE, 0.0),
              (_IMAGES, _NOISE, 3.0),
              (_IMAGES, _NOISE, -1.0)),
        "w = 0 must give `with_label`, w = −1 `without`, and more goes on in the same direction.",
    ),
    "3.2": Exercise(
        "Which scale s of classifier guidance does w = 3 correspond to?",
        _number(4, 0),
        "Write the guided noise as `without` plus a multiple of (`with_label` − `without`).",
    ),
    "3.3": Exercise(
        "As guidance grows: (a) precision and recall rise, (b) precision rises while recall falls, (c) both "
        "fall at once, (d) nothing but the time changes?",
        _letter("b"),
        "Look at the chart up to w = 3: one of them says that digits look real, the other that all "
        "kinds are there.",
    ),
    "3.4": Exercise(
        "Write `diversity(images)`: the mean distance of two different images, floats [n, pixels].",
        _same(lambda images: torch.pdist(images).mean(), (_normal(6, 5),), (torch.ones(4, 3),)),
        "`torch.cdist(images, images)` has all pairs; the n on the diagonal, of an image with itself, "
        "do not count.",
    ),
    "4.1": Exercise(
        "What is the log-SNR half-way along the straight path?",
        lambda answer: abs(float(answer)) < 1e-6,
        "There alpha and sigma are both one half.",
    ),
    "4.2": Exercise(
        "Write `score(noise, sigma)`: the score of x_t, from the predicted noise.",
        _same(lambda noise, sigma: -noise / sigma, (_NOISE, 0.5), (_IMAGES, 2.0)),
        "x_t is normal around alpha x₀ with the deviation sigma: the gradient of its log-density is "
        "−(x_t − alpha x₀) / sigma².",
    ),
    "4.3": Exercise(
        "Write `velocity(x, clean, u)` of the straight path x = (1 − u) x₀ + u ε.",
        _same(lambda x, clean, u: (x - clean) / u, (_IMAGES, _NOISE, 0.5), (_NOISE, _IMAGES, 0.9)),
        "The velocity is ε − x₀; find ε from x and x₀ first.",
    ),
    "4.4": Exercise(
        "With four steps: which comes nearer to the data, (a) the ODE of second order or (b) the SDE?",
        _letter("a"),
        "Look at the chart, where lower is nearer.",
    ),
    "5.1": Exercise(
        "Write `frechet_1d(m1, s1, m2, s2)`: the Fréchet distance of two normal distributions on a line.",
        _same(lambda m1, s1, m2, s2: (m1 - m2) ** 2 + (s1 - s2) ** 2, (0.0, 1.0, 2.0, 1.5),
              (1.0, 1.0, 1.0, 1.0)),
        "In one dimension the trace term s1² + s2² − 2 √(s1² s2²) is a square.",
    ),
    "5.2": Exercise(
        "A paper has the distance 1.9 with 500 samples, yours is 0.9 with 10,000. Whose model is better: (a) "
        "yours, (b) theirs, (c) one cannot know?",
        _letter("c"),
        "Look at the floor: what does the distance of real images do as n grows?",
    ),
    "5.3": Exercise(
        "An image of 28 x 28 pixels has a negative log-likelihood of 500 nats. How many bits per dimension?",
        _number(500 / math.log(2) / 784),
        "A nat is 1 / ln 2 bits, and an image has 784 dimensions.",
    ),
    "5.4": Exercise(
        "A set of samples consists of training images. Which measure gives it away: (a) the Fréchet "
        "distance, (b) precision, (c) recall, (d) the share of near-copies?",
        _letter("d"),
        "The first three ask whether samples look like real images. These do.",
    ),
}  # fmt: skip
