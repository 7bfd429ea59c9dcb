"""How likely a diffusion model holds images to be, in bits per dimension; fewer are better.

Image k is measured by noise that depends on the seed and on k alone, whatever the batch. The network runs in
the precision that the model was placed in, everything else in float32, and the averages in float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from genmnist.data import Shape, scale
from genmnist.diffusion import likelihood, samplers
from genmnist.diffusion.samplers import Denoise
from genmnist.diffusion.spacings import spaced
from genmnist.distributed import ALONE, Ranks
from genmnist.errors import UsageError
from genmnist.evaluation.document import Bound, Exact, Level
from genmnist.evaluation.shapes import by, image_shape
from genmnist.models import Diffusion
from genmnist.models.request import check_whole
from genmnist.randomness import SampleNoise, derive, generator

Images = UInt8[Tensor, "n h w *rgb"]
Labels = Int64[Tensor, " labels"]
PerImage = Float64[Tensor, " n"]


@torch.inference_mode()
def bound(
    model: Diffusion,
    images: Images,
    labels: Labels | None = None,
    steps: int | None = 100,
    seed: int = 0,
    batch_size: int = 250,
    ranks: Ranks = ALONE,
) -> Iterator[Bound]:
    """Measure the variational bound; yields 1 + `steps` times, after each noise level, last the whole.

    It is the bound of ancestral sampling with the variance beta-tilde and with predictions kept in [-1, 1],
    as sampling keeps them by default: where pixels lie in that range, this brings no prediction further from
    them (Ho, Jain & Abbeel 2020, section 3; see `genmnist.diffusion.likelihood`).

    Args:
        model: whose bound it is.
        images: 8-bit images of the model's shape; there must be one at least.
        labels: those of the images, for a model with labels; None: they may be any.
        steps: how many noise levels stand for all of them, without bias; None takes all T - 1.
        seed: fixes the noise, and which noise levels.
        batch_size: images at a time.
        ranks: the processes that share the work, a noise level each at a time.

    Raises:
        UsageError: there are no images or no steps, an empty batch, or images or labels that do not fit.
    """
    check(model, images, labels, batch_size)
    schedule, each, u = model.schedule, bits_per_nat(model), None
    if steps is not None:
        check_whole("steps", steps, 1)
        draws = torch.rand(steps, generator=generator(seed, "levels"), dtype=torch.float64)
        u = (torch.arange(steps) + draws) / steps

    def bits(number: int, term: Callable[..., Tensor]) -> PerImage:
        """Return a term of the bound for every image, by noise of its own."""
        found = []
        for first in range(0, len(images), batch_size):
            x0, denoise = _batch(model, images, labels, slice(first, first + batch_size))
            drawn = SampleNoise(derive(seed, "bound", number), first, len(x0), x0.device)
            noise = drawn.normal(*model.shape)
            kept = samplers.thresholded(denoise, schedule)
            found.append(term(kept, x0=x0, schedule=schedule, noise=noise).cpu())
        return torch.cat(found).double() * each

    prior = bits(0, lambda _, x0, schedule, noise: likelihood.prior(x0, schedule))
    reconstruction = bits(0, likelihood.reconstruction)
    total, levels = prior + reconstruction, list[Level]()
    ends = prior.mean().item(), reconstruction.mean().item()

    def result() -> Bound:
        bits = math.fsum((*ends, *(level.bits for level in levels)))
        return Bound(bits, len(images), *ends, tuple(levels), standard_error(total))

    yield result()
    transitions = [*likelihood.transitions(schedule, u)]

    def level(number: int) -> PerImage:
        return bits(number, functools.partial(likelihood.transition, step=transitions[number - 1]))

    terms = ranks.each(level, range(1, len(transitions) + 1))
    for step, term in zip(transitions, terms, strict=True):
        total += term
        log_snr, log_snr_s = schedule.log_snr(step.t).item(), schedule.log_snr(step.s).item()
        width = step.weight * (log_snr_s - log_snr)
        levels.append(Level(step.t, log_snr, width, term.mean().item()))
        yield result()


@torch.inference_mode(mode=False)
def exact(
    model: Diffusion,
    images: Images,
    labels: Labels | None = None,
    steps: int = 48,
    seed: int = 0,
    batch_size: int = 50,
    ranks: Ranks = ALONE,
) -> Iterator[Exact]:
    """Measure the likelihood under the probability-flow ODE; yields after each batch, last the whole.

    A byte v becomes (v + u) / 128 - 1 with u uniform in (0, 1); then -log2 p(x) / dim + 7 is no less, on
    average over u, than the bits of the byte (Theis, van den Oord & Bethge 2016, "A note on the evaluation of
    generative models", section 3.1). Timestep 0 passes for the clean image: p(x_0) is the density there at
    alpha x_0, times alpha^dim, without the little noise that belongs to it (as Song et al. 2021, appendix
    D.2). A model that learnt bytes as points, not as intervals, is charged for it: a density narrower than
    1 / 128 falls short at the interval's ends, a wider one everywhere. Predictions are not kept in range.

    Args:
        model: whose likelihood it is.
        images: 8-bit images of the model's shape; there must be one at least.
        labels: those of the images, for a model with labels; None: they may be any.
        steps: at how many timesteps, evenly spaced in log-SNR, to look.
        seed: fixes u, and the probes of the trace estimate.
        batch_size: images at a time; each takes as much memory as in training.
        ranks: the processes that share the work, a batch each at a time.

    Raises:
        UsageError: there are no images, fewer steps than two or more than timesteps, an empty batch, or
            images or labels that do not fit.
    """
    check(model, images, labels, batch_size)
    check_whole("steps", steps, 2)
    timesteps = spaced(model.schedule, steps, "log-snr")[-2::-1]  # from clean to noisy, without CLEAN
    alpha, each = model.schedule.alpha(timesteps[0]).item(), bits_per_nat(model)
    found: list[PerImage] = []

    def measure(first: int) -> PerImage:
        x0, denoise = _batch(model, images, labels, slice(first, first + batch_size))
        noise = SampleNoise(derive(seed, "exact"), first, len(x0), x0.device)
        u = torch.special.ndtr(noise.normal(*model.shape))
        x = ((x0 + 1) * 127.5 + u) / 128 - 1
        signs = functools.partial(_signs, noise, model.shape)
        log_p = likelihood.log_density(denoise, alpha * x, model.schedule, timesteps, signs)
        return 7 - math.log2(alpha) - log_p.cpu().double() * each

    for measured in ranks.each(measure, range(0, len(images), batch_size)):
        found.append(measured)
        bits = torch.cat(found)
        yield Exact(len(bits), bits.mean().item(), standard_error(bits))


def bits_per_nat(model: Diffusion) -> float:
    """Return how many bits per dimension there are in a nat per image."""
    return 1 / (math.prod(model.shape) * math.log(2))


def _signs(noise: SampleNoise, shape: Shape) -> Tensor:
    """Draw random signs for every image."""
    return noise.normal(*shape).sign()


def _batch(model: Diffusion, images: Images, labels: Labels | None, batch: slice) -> tuple[Tensor, Denoise]:
    """Return the pixels of a batch, in [-1, 1], and what denoises it."""
    own = None if labels is None else labels[batch].to(model.device)
    x0 = 2 * scale(images[batch].to(model.device)) - 1
    return x0, functools.partial(model.denoise, labels=own)


def standard_error(bits: PerImage) -> float | None:
    """Return the standard error of a mean over images; one alone has none."""
    return bits.std().item() / math.sqrt(len(bits)) if len(bits) > 1 else None


def check(model: Diffusion, images: Images, labels: Labels | None, batch_size: int) -> None:
    """Raise UsageError unless images and labels fit the model."""
    if not len(images):
        raise UsageError("the likelihood of no images is not a number")
    check_whole("batch_size", batch_size, 1)
    if (shape := image_shape(images)) != model.shape:
        raise UsageError(f"the images are {by(shape)}, and those of this model {by(model.shape)}")
    if labels is not None:
        if not model.classes:
            raise UsageError("this model takes no labels")
        if len(labels) != len(images):
            raise UsageError(f"there are {len(images)} images but {len(labels)} labels")
        if not 0 <= int(labels.min()) <= int(labels.max()) <= model.classes:
            raise UsageError(
                f"the labels of this model are 0 to {model.classes - 1}, and {model.classes} for any"
            )
