"""The families' mathematics: what is their loss, how are they drawn from."""

from genmnist.models.base import Frame, Generator, Latent, Losses, Model
from genmnist.models.classifier import Classifier
from genmnist.models.conditional import ConditionalDiffusion
from genmnist.models.diffusion import Diffusion
from genmnist.models.few import FewSteps
from genmnist.models.guidance import ByClassifier, ClassifierFree, Guidance
from genmnist.models.request import Request
from genmnist.models.vae import VAE

__all__ = [
    "VAE",
    "ByClassifier",
    "Classifier",
    "ClassifierFree",
    "ConditionalDiffusion",
    "Diffusion",
    "FewSteps",
    "Frame",
    "Generator",
    "Guidance",
    "Latent",
    "Losses",
    "Model",
    "Request",
]
