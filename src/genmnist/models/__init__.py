"""The families: what is their loss, how are they sampled."""

from genmnist.models.base import Losses, Model
from genmnist.models.vae import VAE

FAMILIES: dict[str, type[Model]] = {VAE.family: VAE}

__all__ = ["FAMILIES", "VAE", "Losses", "Model"]
