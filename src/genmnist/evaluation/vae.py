"""What a trained VAE knows: its bounds on the likelihood, and which latent factor stands for what.

How much each latent factor is used, and which are active, is `genmnist.models.VAE.usage`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from genmnist.data import Dataset, scale
from genmnist.errors import UsageError
from genmnist.evaluation import factors
from genmnist.evaluation.document import Bounds
from genmnist.models import VAE
from genmnist.models.request import check_whole
from genmnist.models.vae import gaussian_kl
from genmnist.randomness import SampleNoise

_BINS = 20  # Locatello et al. 2019, "Challenging common assumptions"


def bounds(
    vae: VAE, data: Dataset, samples: int = 50, seed: int = 0, batch_size: int = 500
) -> Iterator[Bounds]:
    """Measure the two terms of the ELBO, and the importance-weighted bound -L_K with K samples.

    L_K = E[log 1/K sum_k p(x, z_k) / q(z_k | x)] (Burda, Grosse & Salakhutdinov 2016, eq. 8). Memory is
    that of a batch, whatever the number of samples, and image k has noise of its own, which depends on `seed`
    and k alone. The network runs in the precision that the model was placed in.

    Yields:
        the means so far after each batch, the last those of the whole.

    Raises:
        UsageError: a number that makes no sense.
    """
    check_whole("samples", samples, 1)
    check_whole("batch_size", batch_size, 1)
    count, reconstruction, kl, evidence = 0, 0.0, 0.0, 0.0
    for batch in data.images.split(batch_size):
        noise = SampleNoise(seed, count, len(batch), vae.device)
        with torch.inference_mode():
            images = scale(batch.to(vae.device))
            mean, log_variance = vae.encode(images)
            log_likelihood = torch.zeros(len(batch), device=vae.device)
            log_weight = torch.full_like(log_likelihood, -torch.inf)
            for _ in range(samples):
                epsilon = noise.normal(vae.options.latent)
                z = torch.addcmul(mean, (log_variance / 2).exp(), epsilon)
                error = F.binary_cross_entropy_with_logits(vae.logits(z), images, reduction="none")
                likelihood = -error.flatten(1).sum(1)
                # log p(z) - log q(z | x); the constants of the two densities cancel.
                ratio = (epsilon.square() + log_variance - z.square()).sum(1) / 2
                log_likelihood += likelihood
                log_weight = torch.logaddexp(log_weight, likelihood + ratio)
            log_weight -= math.log(samples)
            kl += gaussian_kl(mean, log_variance).sum().item()
        reconstruction -= log_likelihood.sum().item() / samples
        evidence += log_weight.sum().item()
        count += len(batch)
        yield Bounds(count, samples, reconstruction / count, kl / count, -evidence / count)


@dataclass(frozen=True)
class Disentanglement:
    """How much each latent factor tells about each factor of the images, in nats."""

    factors: tuple[str, ...]
    information: Float[Tensor, "factors latent"]  # mutual information
    entropy: Float[Tensor, " factors"]

    @property
    def gaps(self) -> dict[str, float]:
        """Return the mutual information gap of each factor, 1 where one latent factor alone knows all."""
        # A code of one factor has no second: as if that knew nothing.
        first, second = F.pad(self.information, (0, 1)).topk(2).values.unbind(1)
        return dict(zip(self.factors, ((first - second) / self.entropy).tolist(), strict=True))

    @property
    def mean_gap(self) -> float:
        """Return the mean of the gaps."""
        return sum(self.gaps.values()) / len(self.factors)


def mutual_information_gap(
    codes: Float[Tensor, "n latent"], measured: Mapping[str, Tensor], bins: int = _BINS
) -> Disentanglement:
    """Measure the mutual information gap (Chen et al. 2018, "Isolating sources of disentanglement", eq. 6).

    Latent factors are cut into bins of equal width, as Locatello et al. 2019 do; measured factors in floating
    point into bins of equal numbers of images, so that a few odd digits do not fill most of them; those in
    integers are classes. Counted information is too large by about bins^2 / 2n nats, which the gap is free
    of: both of its terms are.

    Args:
        codes: the latent code of each image.
        measured: the factors of the images by name, n numbers each.
        bins: how many.

    Raises:
        UsageError: a factor is the same in all images, and so there is nothing to know about it.
    """
    cut = [_equal_width(code, bins) for code in codes.unbind(1)]
    information, entropy = [], []
    for name, values in measured.items():
        classes = _equal_count(values, bins) if values.is_floating_point() else values - values.min()
        certain = _entropy(classes)
        if certain == 0:
            raise UsageError(f"all images have the same {name}: there is nothing to know about it")
        number = int(classes.max()) + 1
        joint = torch.stack([_entropy(code * number + classes) for code in cut])
        information.append(torch.stack([_entropy(code) for code in cut]) + certain - joint)
        entropy.append(certain)
    return Disentanglement(
        tuple(measured), torch.stack(information).clamp_min(0).float(), torch.stack(entropy).float()
    )


def disentanglement(
    vae: VAE, data: Dataset, seed: int = 0, sampled: bool = True, bins: int = _BINS
) -> Disentanglement:
    """Measure which latent factor knows the label, the slant, the thickness and the width of digits.

    What is the same in all images, as the label of a set of one class, is left out.

    Args:
        vae: whose latent factors.
        data: the images; see `genmnist.evaluation.factors` for what is measured on them.
        seed: of the samples.
        sampled: take a sample of q(z | x) for each image, as Chen et al. define the gap; else the mean of it,
            as Locatello et al. do, by which even a factor that the decoder ignores may know something.
        bins: see `mutual_information_gap`.

    Raises:
        UsageError: all images are the same.
    """
    codes: list[Tensor] = []
    for batch in data.images.split(1000):
        with torch.inference_mode():
            mean, log_variance = vae.encode(scale(batch.to(vae.device)))
            if sampled:
                noise = SampleNoise(seed, 1000 * len(codes), len(batch), vae.device)
                mean = torch.addcmul(mean, (log_variance / 2).exp(), noise.normal(vae.options.latent))
        codes.append(mean.cpu())
    images = data.images.cpu()
    measured = {
        "label": data.labels.cpu(),
        "slant": factors.slant(images),
        "thickness": factors.thickness(images),
        "width": factors.width(images),
    }
    differing = {name: values for name, values in measured.items() if (values != values[0]).any()}
    if not differing:
        raise UsageError(f"all images of {data.name} are the same: there is nothing to know about them")
    return mutual_information_gap(torch.cat(codes), differing, bins)


def _equal_width(values: Float[Tensor, " n"], bins: int) -> Int64[Tensor, " n"]:
    low, high = values.aminmax()
    return ((values - low) / (high - low).clamp_min(1e-12) * bins).long().clamp_max(bins - 1)


def _equal_count(values: Float[Tensor, " n"], bins: int) -> Int64[Tensor, " n"]:
    edges = values.quantile(torch.arange(1, bins, dtype=values.dtype, device=values.device) / bins)
    return torch.bucketize(values, edges)


def _entropy(classes: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return the entropy of how often each class is there, in nats."""
    shares = classes.bincount().double() / len(classes)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy
