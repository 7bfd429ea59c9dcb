"""The variational autoencoder (Kingma & Welling 2014)."""

from __future__ import annotations

from typing import Annotated, Self

from genmnist.families.family import Family, ModelOptions, Preset, Recipe
from genmnist.options import Options, about, named
from genmnist.registry import AUTOENCODERS


class VAEOptions(ModelOptions, frozen=True, kw_only=True):
    """What a variational autoencoder is, and what its objective weighs.

    The weight of the KL term is that of the beta-VAE (Higgins et al. 2017); free bits are those of Kingma
    et al. 2016, appendix C.8.
    """

    network: Annotated[str, named(AUTOENCODERS, "Kind of network.")] = "mlp"
    hidden: Annotated[
        int,
        about(
            "Width of the mlp's hidden layer, or channels of conv at half the side; 0: 400, or 32.", 0, 4096
        ),
    ] = 0
    latent: Annotated[int, about("Latent factors.", 1, 512)] = 20
    beta: Annotated[float, about("Weight of the KL term (beta-VAE).", 0, 1000)] = 1.0
    kl_warmup: Annotated[float, about("Share of training over which that weight rises from 0.", 0, 1)] = 0.0
    free_bits: Annotated[float, about("KL in nats that each factor may use uncharged.", 0, 100)] = 0.0

    @property
    def width(self) -> int:
        """Return `hidden`, or what suits the kind of network."""
        return self.hidden or int(AUTOENCODERS.facts(self.network).get("width", 400))

    def suited(self, device: str) -> Self:
        """Return a copy with the width that suits the kind of network, where it was left open."""
        return self.replace({"hidden": self.width})


class PriorSampling(Options, frozen=True, kw_only=True):
    """How a variational autoencoder is sampled."""

    temperature: Annotated[float, about("Scales the deviation of the prior.", 0, 100)] = 1.0


VAE = Family(
    name="vae",
    title="variational autoencoder",
    model="genmnist.models.vae:VAE",
    presets={
        "report": Preset(
            "the reference: 784-400-20-400-784, 20 epochs of Adam at 1e-3 on all 60,000 training images, "
            "validated on the test images, as published (validation loss 103.5 to 103.9)",
            VAEOptions(),
            validation="test",
        ),
        "conv": Preset(
            "a convolutional VAE: 13 epochs, five minutes of two cores (92.5 nats)",
            VAEOptions(network="conv", latent=32),
            Recipe(epochs=13, batch_size=128, lr=2e-3, optimizer="adamw", lr_schedule="cosine", warmup=0.02,
                   clip=1.0, ema=0.999),
        ),
    },
    commands={
        "train": "Train a variational autoencoder.",
        "sample": "Draw images from a variational autoencoder.",
        "reconstruct": "Encode test images and decode them again: images above their reconstructions.",
        "traverse": "Set one factor of a latent point at a time; the factors most used come first.",
        "interpolate": "Decode the points between two latent points, or fade between their two images.",
        "evaluate": "Measure a variational autoencoder: its samples, bounds, latent factors and walks.",
        "export": "Write encoder and decoder as ONNX, for other runtimes.",
    },
    sampling=PriorSampling,
    batch_size=512,
    measures=("autoencoder", "walks"),
    walk_ends="digits",
    story="Digits are decoded from a few latent factors. Samples are varied but blurred; between two codes "
    "lie digits, between two images only a fade.",
)  # fmt: skip
