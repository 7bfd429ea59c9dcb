"""Pixels that have one of a few values, seen through Gaussian noise, by Bayes' rule.

Where a pixel can only have the values v_k, a model need not guess a number: it says how likely each value is
from all that it sees elsewhere, and what the noisy pixel z = alpha x_0 + sigma epsilon says itself enters
exactly, as log N(z; alpha v_k, sigma^2). The mean of that posterior is the prediction of x_0 that the bound
of a diffusion model is about (Kingma et al. 2021, "Variational diffusion models", eq. 15); at the clean end
the posterior itself is the decoder.

Images are in [-1, 1], noisy ones variance preserving. Rows are pixels: [b, n, c] for n places of c channels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.autograd.function import once_differentiable

Pixels = Float[Tensor, "b n c"]
Logits = Float[Tensor, "b n c values"]

# Logits at a time: on a CPU they should stay in its cache, or every operation waits for memory.
_CACHED, _RESIDENT = 1 << 19, 1 << 26


def levels(values: int, device: torch.device | None = None) -> Float[Tensor, " values"]:
    """Return the values that a pixel may have, evenly spaced from -1 to 1."""
    return torch.linspace(-1, 1, values, device=device)


def nearest(x: Tensor, values: int) -> Int64[Tensor, ...]:
    """Return the number of the value that is nearest to each pixel in [-1, 1]."""
    return ((x + 1) / 2 * (values - 1)).round().long().clamp(0, values - 1)


def histogram(images: UInt8[Tensor, "n h w *rgb"], values: int) -> Float[Tensor, "c values"]:
    """Return the logarithm of how often pixels of each channel have each value; one more counts as seen.

    What was never seen in the data can then still be met in a test image.
    """
    channels = images.unbind(-1) if images.ndim == 4 else (images,)
    bytes_ = torch.stack([channel.flatten().bincount(minlength=256) for channel in channels])
    number = nearest(torch.linspace(-1, 1, 256, device=images.device), values)  # of each byte
    counts = bytes_.new_zeros(len(channels), values).index_add_(1, number, bytes_)
    return (counts + 1.0).log().log_softmax(-1)


def posterior(prior: Logits, x: Pixels, log_snr: Float[Tensor, " b"]) -> Logits:
    """Return the log-probabilities of the values once the noisy pixel has been seen, up to a constant.

    What it adds is log N(x; alpha v_k, sigma^2) = -SNR (x / alpha - v_k)^2 / 2, up to a constant.
    """
    size = (log_snr.exp() / 2).sqrt()[:, None, None]
    seen = size * x / log_snr.sigmoid().sqrt()[:, None, None]
    distance = seen[..., None] - size[..., None] * levels(prior.shape[-1], x.device)
    return torch.addcmul(prior, distance, distance, value=-1)


def at_a_time(pixels: int, values: int, device: torch.device) -> int:
    """Return how many images of so many pixels to judge at a time."""
    limit = _CACHED if device.type == "cpu" else _RESIDENT
    return max(1, limit // (pixels * values))


class Judgement(torch.autograd.Function):
    """The loss of log-probabilities that are a linear function of features, with gradients found on the way.

    `loss, mean, nats = Judgement.apply(features, weight, prior, x, log_snr, clean, error, surprise)`: the
    loss of each pixel is `error` (mean - x_0)^2 + `surprise` (-log p(x_0 | x)), and the mean of them all is
    returned beside the posterior means and the nats, which no gradient goes through. Logits and their
    gradients are as many as pixels times values: here they live for a few images at a time, and are computed
    once.

    Shapes: features [b, n, c, features], weight [values, features], prior [c, values] (log-probabilities
    before anything is seen), x and clean (numbers of values) [b, n, c], log_snr and error [b]; surprise is a
    number.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        prior: Tensor,
        x: Tensor,
        log_snr: Tensor,
        clean: Tensor,
        error: Tensor,
        surprise: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, the means and the nats; keep the gradients of the loss."""
        b, n, c, _ = features.shape
        values = len(weight)
        level = levels(values, x.device)
        mean, nats = torch.empty_like(x), torch.empty_like(x)
        to_features, to_weight = torch.empty_like(features), torch.zeros_like(weight)
        size = at_a_time(n * c, values, x.device)
        for first in range(0, b, size):
            part = slice(first, first + size)
            logits = F.linear(features[part], weight).add_(prior)
            p = posterior(logits, x[part], log_snr[part]).softmax(-1)
            truth = clean[part][..., None]
            # Surprises of over 87 nats count as 87, which spares a second pass of exponentials.
            nats[part] = -p.gather(-1, truth)[..., 0].clamp_min(torch.finfo(p.dtype).tiny).log()
            mean[part] = p @ level
            # By logit k: p_k (surprise + 2 error (mean - x_0) (v_k - mean)) - surprise [v_k is x_0].
            off = mean[part] - level[clean[part]]
            steep = (2 * error[part])[:, None, None] * off
            slope = torch.addcmul((surprise - steep * mean[part])[..., None], steep[..., None], level)
            to_logits = p.mul_(slope)
            to_logits.scatter_add_(-1, truth, torch.full_like(truth, -surprise, dtype=p.dtype))
            to_features[part] = to_logits @ weight
            to_weight.addmm_(to_logits.flatten(0, 2).T, features[part].flatten(0, 2))
        ctx.save_for_backward(to_features.div_(x.numel()), to_weight.div_(x.numel()))
        ctx.mark_non_differentiable(mean, nats)
        off = mean - level[clean]
        loss = (error[:, None, None] * off.square() + surprise * nats).mean()
        return loss, mean, nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients by features and weight."""
        features, weight = ctx.saved_tensors
        return loss * features, loss * weight, None, None, None, None, None, None


def waves(values: int, features: int) -> Float[Tensor, "values features"]:
    """Return functions of the value to build log-probabilities from: is it black, and ever finer cosines."""
    places = (torch.arange(values) + 0.5) / values
    cosines = (math.pi * places[:, None] * torch.arange(1, features)).cos()
    return torch.cat((F.one_hot(torch.zeros(1, dtype=torch.long), values).T.float(), cosines), 1)
