"""The variational autoencoder: its evidence lower bound, and the walks through its latent space."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from genmnist.data import Dataset, quantise, scale
from genmnist.device import products
from genmnist.errors import UsageError
from genmnist.families.vae import VAEOptions
from genmnist.models.base import Frame, Images, Latent, Losses
from genmnist.models.graphs import Graph, Graphs, Port
from genmnist.models.request import Request
from genmnist.randomness import SampleNoise
from genmnist.registry import AUTOENCODERS
from genmnist.shares import batch_mean, normal_like

Latents = Float[Tensor, "b latent"]

# A factor counts as active if its posterior mean varies over the data by more than this
# (Burda, Grosse & Salakhutdinov 2016, section 5.2).
ACTIVE_VARIANCE = 0.01
_FRAMES = 24  # of an animation


@dataclass(frozen=True)
class Usage:
    """What each factor contributes over `images` images: its mean KL in nats, and whether it is active."""

    images: int
    kl: Float[Tensor, " latent"]
    active: Bool[Tensor, " latent"]

    def order(self) -> list[int]:
        """Return the factors, the most used first."""
        return [int(factor) for factor in self.kl.argsort(descending=True)]


class VAE(Latent):
    """A Gaussian latent code, a Bernoulli likelihood (Kingma & Welling 2014, section 3 and appendix B)."""

    family: ClassVar[str] = "vae"
    unit: ClassVar[str] = "nats an image"
    options: VAEOptions

    def __init__(self, options: VAEOptions | None = None, network: nn.Module | None = None) -> None:
        super().__init__(options, network)
        parts = self.build(AUTOENCODERS, self.options.network, network)
        if not (hasattr(parts, "encoder") and hasattr(parts, "decoder")):
            raise UsageError("the `network` of a vae must have an `encoder` and a `decoder`")
        self.encoder, self.decoder = parts.encoder, parts.decoder
        self.products_only: bool = getattr(parts, "products_only", False)

    def place(self, device: torch.device, precision: str = "auto") -> Self:
        """Move the model to `device`. Raises UsageError for float16 on the MLP: it lowers products only."""
        if precision == "float16" and self.products_only:
            raise UsageError(
                "`precision` float16 is not for the MLP, whose products run in bfloat16 or float32"
            )
        return super().place(device, precision)

    def computing(self) -> AbstractContextManager[None]:
        """Return the context in which the network runs; the MLP gains from faster products alone."""
        return products(self.device, self.precision) if self.products_only else super().computing()

    def graphs(self) -> Graphs:
        """Return both ways: from images to codes, and from codes to images."""
        pixels, latent = "pixels in [0, 1]", (self.options.latent,)
        mean = Port("mean", "the mean of q(z | x)", latent)
        log_variance = Port("log_variance", "the logarithm of its variance", latent)
        code = Port("z", "a latent code; those of the prior are N(0, 1)", latent)
        image = Port("image", f"the mean of p(x | z), {pixels}", self.shape)
        return {
            "encoder": Graph(_Encoder(self.encoder), (Port("x", pixels, self.shape),), (mean, log_variance)),
            "decoder": Graph(nn.Sequential(self.decoder, nn.Sigmoid()), (code,), (image,)),
        }

    @property
    def needs_whole_batch(self) -> bool:
        """Tell whether the loss of a batch is more than the mean of its parts', as where bits are free."""
        return self.options.free_bits > 0

    def encode(self, images: Images) -> tuple[Latents, Latents]:
        """Return the mean and the log-variance of q(z | x) for pixels in [0, 1]."""
        with self.computing():
            mean, log_variance = self.encoder(images).float().chunk(2, -1)
        return mean, log_variance

    def logits(self, z: Latents) -> Images:
        """Return the logits of p(x | z), the probability that each pixel is lit."""
        with self.computing():
            logits: Tensor = self.decoder(z)
        return logits.float()

    def decode(self, z: Latents, labels: Tensor | None = None, request: Request | None = None) -> Images:
        """Return the means of p(x | z), pixels in [0, 1]; nothing else decides them.

        In float32 always: it costs next to nothing, and in lower precision a row of a product depends on how
        many rows there are.
        """
        probabilities: Tensor = self.decoder(z).sigmoid()
        return probabilities

    def losses(self, images: Images, labels: Int64[Tensor, " b"], progress: float = 1.0) -> Losses:
        """Return the objective and the two terms of the negative ELBO, in nats an image.

        `reconstruction` + `kl` is the negative ELBO (Kingma & Welling 2014, eq. 3); `loss` weighs the KL by
        beta, with a floor of the free bits under each factor. Summed over pixels and factors, averaged over
        images.
        """
        mean, log_variance = self.encode(images)
        deviation = (log_variance / 2).exp()
        z = torch.addcmul(mean, deviation, normal_like(mean))
        n = len(images)
        # From the logits: the logarithm of a probability that rounds to 0 or 1 would be infinite.
        reconstruction = F.binary_cross_entropy_with_logits(self.logits(z), images, reduction="sum") / n
        kl = gaussian_kl(mean, log_variance)
        charged = (
            batch_mean(kl).clamp_min(self.options.free_bits).sum() if self.options.free_bits else kl.sum() / n
        )
        warmup = self.options.kl_warmup
        beta = self.options.beta * (min(progress / warmup, 1.0) if warmup else 1.0)
        return {"loss": reconstruction + beta * charged, "reconstruction": reconstruction, "kl": kl.sum() / n}

    def draw(self, request: Request, first: int, count: int) -> Float[Tensor, "count c h w"]:
        """Decode points of the prior, its deviation scaled by the temperature."""
        return self.decode(self.prior(request.seed, count, first) * request.how.temperature)

    @torch.inference_mode()
    def frames(self, request: Request, num: int) -> Iterator[Frame]:
        """Yield the images as their temperature rises from 0, where all are the prior's centre."""
        z, temperature = self.prior(request.seed, num), request.how.temperature
        for frame in range(_FRAMES + 1):
            images = quantise(self.decode(z * temperature * frame / _FRAMES)).cpu()
            yield Frame(f"temperature {temperature * frame / _FRAMES:.2f}", images)
            request.watch(frame / _FRAMES)

    def prior(self, seed: int, count: int = 1, first: int = 0) -> Latents:
        """Draw latent points `first` … `first + count - 1` of N(0, I) under `seed`."""
        return SampleNoise(seed, first, count, self.device).normal(self.options.latent)

    @torch.no_grad()
    def embed(
        self, images: UInt8[Tensor, "b h w *rgb"], labels: Int64[Tensor, " b"] | None = None
    ) -> Latents:
        """Return the posterior means of images."""
        return self.encode(scale(images.to(self.device)))[0]

    @torch.inference_mode()
    def traverse(
        self, base: Float[Tensor, " latent"], values: Float[Tensor, " steps"]
    ) -> Float[Tensor, "latent steps c h w"]:
        """Decode `base` with each factor in turn set to each of `values`: a row a factor."""
        latent, steps = self.options.latent, len(values)
        z = base.to(self.device).repeat(latent, steps, 1)
        factor = torch.arange(latent, device=self.device)
        z[factor, :, factor] = values.to(self.device, z.dtype)
        return self.decode(z.flatten(0, 1)).view(latent, steps, *self.shape)

    @torch.inference_mode()
    def plane(
        self, base: Float[Tensor, " latent"], values: Float[Tensor, " steps"], factors: tuple[int, int]
    ) -> Float[Tensor, "steps steps c h w"]:
        """Decode `base` with two factors set to each pair of values: one grows across, the other upwards."""
        values = values.to(self.device)
        z = base.to(self.device).repeat(len(values), len(values), 1)
        z[..., factors[0]], z[..., factors[1]] = values, values.flip(0).unsqueeze(1)
        return self.decode(z.flatten(0, 1)).view(*z.shape[:2], *self.shape)

    def usage(self, data: Dataset, batch_size: int = 1000) -> Iterator[Usage]:
        """Measure how much each factor is used over a data set; yields after each batch, last the whole."""
        count = 0
        kl, total, square = torch.zeros(3, self.options.latent, device=self.device)
        for images in data.images.split(batch_size):
            with torch.inference_mode():
                mean, log_variance = self.encode(scale(images.to(self.device)))
                kl += gaussian_kl(mean, log_variance).sum(0)
                total += mean.sum(0)
                square += mean.square().sum(0)
            count += len(images)
            variance = square / count - (total / count).square()
            yield Usage(count, (kl / count).cpu(), (variance > ACTIVE_VARIANCE).cpu())


class _Encoder(nn.Module):
    """An encoder whose answer is in two parts."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Images) -> tuple[Latents, Latents]:
        """Return mean and log-variance."""
        mean, log_variance = self.encoder(x).chunk(2, -1)
        return mean, log_variance


def gaussian_kl(mean: Latents, log_variance: Latents) -> Latents:
    """Return KL(N(mean, variance) || N(0, 1)) of every factor in nats (Kingma & Welling 2014, appendix B)."""
    return (mean.square() + log_variance.exp() - log_variance - 1) / 2
