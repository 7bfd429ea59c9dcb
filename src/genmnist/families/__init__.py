"""The families, a file each: all that is true of one before torch is imported; its model lives elsewhere."""

from genmnist.families.cfg import CFG
from genmnist.families.classifier import CLASSIFIER
from genmnist.families.ddpm import DDPM
from genmnist.families.family import Family, Preset
from genmnist.families.few import FEW
from genmnist.families.recipe import Recipe
from genmnist.families.vae import VAE

__all__ = ["CFG", "CLASSIFIER", "DDPM", "FEW", "VAE", "Family", "Preset", "Recipe"]
