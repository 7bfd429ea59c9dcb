"""How likely a model that knows values holds each image to be, in bits per dimension; fewer are better.

The bound in continuous time (Kingma et al. 2021, "Variational diffusion models", eq. 11 to 18): a prior term
in closed form, what is left to say at the cleanest noise level, and 1/2 e^lambda ||x_0 - x0_hat||^2 over the
range of the log-SNR lambda, an integral that a few looks estimate, one in each of as many parts of the range.
Image k is measured by noise that depends on the seed and on k alone, whatever the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from genmnist.data import scale
from genmnist.diffusion import categorical, likelihood
from genmnist.distributed import ALONE, Ranks
from genmnist.errors import UsageError
from genmnist.evaluation.document import Bound, Level
from genmnist.evaluation.likelihood import Images, Labels, PerImage, bits_per_nat, check, standard_error
from genmnist.models import Diffusion
from genmnist.models.request import check_whole
from genmnist.randomness import SampleNoise, derive

NO_LIKELIHOOD = (
    "only a diffusion model with the target categorical says how likely an image is, such as `model` "
    "bundled:likelihood"
)


@dataclass(frozen=True)
class Terms:
    """The bound of each image, in bits per dimension, term by term.

    Attributes:
        prior: what is left of the image at the noisiest level.
        reconstruction: what is left to say at the cleanest.
        levels: the terms of the parts of the range of log-SNR between them, from clean to noisy.
        edges: where these parts end, falling; one more than parts.
    """

    prior: PerImage
    reconstruction: PerImage
    levels: Float64[Tensor, "n looks"]
    edges: Float64[Tensor, " edges"]

    @property
    def bits(self) -> PerImage:
        """Return the bound of each image."""
        return self.prior + self.reconstruction + self.levels.sum(1)

    def bound(self, model: Diffusion) -> Bound:
        """Return the mean over images, by noise level, with its standard error."""
        centres = (self.edges[1:] + self.edges[:-1]) / 2
        timesteps = model.schedule.timestep(centres).round().long().tolist()
        widths, means = (-self.edges.diff()).tolist(), self.levels.mean(0).tolist()
        return Bound(
            self.bits.mean().item(),
            len(self.bits),
            self.prior.mean().item(),
            self.reconstruction.mean().item(),
            tuple(Level(*level) for level in zip(timesteps, centres.tolist(), widths, means, strict=True)),
            standard_error(self.bits),
        )


def terms(
    model: Diffusion,
    images: Images,
    labels: Labels | None = None,
    looks: int = 32,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    ranks: Ranks = ALONE,
) -> Iterator[Terms]:
    """Measure every image; yields after each batch, last the whole.

    Args:
        model: one with the target categorical.
        images: 8-bit images of the model's shape, of values that it knows; there must be one at least.
        labels: those of the images, for a model with labels; None: they may be any.
        looks: at how many noise levels to look at each image; the estimate has no bias for any number.
        steps: measure a chain of so many steps, even in log-SNR, in discrete time instead (eq. 13), which is
            what a coder can spend.
        seed: fixes the noise, and which noise levels.
        batch_size: images at a time.
        ranks: the processes that share the work, a batch each at a time.

    Raises:
        UsageError: the model does not know values; there are no images, looks or steps, an empty batch, or
            images or labels that do not fit.
    """
    check(model, images, labels, batch_size)
    check_values(model, images)
    check_whole("looks", looks, 1)
    if steps is not None:
        check_whole("steps", steps, 1)
    levels = _Levels(model, looks, steps)
    found: list[Tensor] = []

    def measure(first: int) -> Tensor:
        batch = slice(first, first + batch_size)
        own = None if labels is None else labels[batch].to(model.device)
        clean = 2 * scale(images[batch].to(model.device)) - 1
        noise = SampleNoise(derive(seed, "score"), first, len(clean), clean.device)
        return _score(model, clean, own, levels, noise)

    for measured in ranks.each(measure, range(0, len(images), batch_size)):
        found.append(measured)
        prior, reconstruction, costs = torch.cat(found).tensor_split((1, 2), 1)
        yield Terms(prior[:, 0], reconstruction[:, 0], costs, levels.edges)


class _Levels:
    """Where to look: at one noise level in each of `looks` parts of the range.

    In continuous time the parts are finer where training found the loss to be large; the steps of a chain are
    drawn evenly.
    """

    def __init__(self, model: Diffusion, looks: int, steps: int | None) -> None:
        self.looks, self.steps = looks, steps
        self.spread = model.spread if steps is None else None
        self.most, self.least = model.schedule.log_snrs[[0, -1]].tolist()
        shares = torch.linspace(0, 1, looks + 1, dtype=torch.float64)
        if self.spread is not None:
            shares = self.spread.quantile(shares)
        self.edges = self._log_snr(shares)

    def draw(self, look: int, u: PerImage) -> tuple[PerImage, PerImage]:
        """Return log-SNRs in the part of number `look`, by u in (0, 1), and how much errors count there."""
        u = (look + u) / self.looks
        if self.steps is not None:
            step = (u * self.steps).ceil().clamp(1, self.steps)
            log_snr = self._log_snr(step / self.steps)
            lost = self.steps * math.expm1((self.most - self.least) / self.steps) * log_snr.exp()
        else:
            share = u if self.spread is None else self.spread.quantile(u)
            log_snr = self._log_snr(share)
            lost = (self.most - self.least) * log_snr.exp()
            if self.spread is not None:
                lost = lost / self.spread.density(share)
        return log_snr, lost / (2 * self.looks)

    def _log_snr(self, share: Tensor) -> Tensor:
        found: Tensor = self.most + share * (self.least - self.most)
        return found


@torch.inference_mode()
def _score(
    model: Diffusion, clean: Tensor, labels: Labels | None, levels: _Levels, noise: SampleNoise
) -> Float64[Tensor, "b terms"]:
    """Return prior, reconstruction and levels of a batch of images in [-1, 1], as in `Terms`, in columns."""
    schedule, each = model.schedule, bits_per_nat(model)
    seen = likelihood.noisy(clean, schedule, 0, noise.normal(*model.shape))
    reconstruction = model.surprise(seen, 0, categorical.nearest(clean, model.options.values), labels)
    costs = []
    for look in range(levels.looks):
        log_snr, cost = levels.draw(look, torch.special.ndtr(noise.normal(1)[:, 0].double().cpu()))
        alpha, sigma = (
            (sign * log_snr).sigmoid().sqrt().float().to(clean.device)[:, None, None, None]
            for sign in (1, -1)
        )
        x = alpha * clean + sigma * noise.normal(*model.shape)
        error = (clean - model.predict(x, alpha, sigma, labels)).square().flatten(1).sum(1)
        costs.append(cost * error.double().cpu())
    ends = (likelihood.prior(clean, schedule), reconstruction)
    return each * torch.stack([part.double().cpu() for part in (*ends, *costs)], 1)


def check_values(model: Diffusion, images: Images) -> None:
    """Raise UsageError unless the model knows values, and these bytes are among them."""
    if not model.knows_values:
        raise UsageError(NO_LIKELIHOOD)
    values = model.options.values
    known = ((categorical.levels(values) + 1) / 2 * 255).round().to(images.dtype)
    if not torch.isin(images, known.to(images.device)).all():
        raise UsageError(f"the images have other values than the {values} that this model knows")
