"""The families: what is their loss, how are they sampled."""

from genmnist.models.base import Generator, Latent, Losses, Model
from genmnist.models.classifier import Classifier
from genmnist.models.diffusion import Diffusion
from genmnist.models.guided import ClassifierGuided, ConditionalDiffusion
from genmnist.models.vae import VAE

FAMILIES: dict[str, type[Model]] = {
    kind.family: kind for kind in (VAE, Diffusion, ConditionalDiffusion, Classifier)
}

__all__ = [
    "FAMILIES",
    "VAE",
    "Classifier",
    "ClassifierGuided",
    "ConditionalDiffusion",
    "Diffusion",
    "Generator",
    "Latent",
    "Losses",
    "Model",
]
