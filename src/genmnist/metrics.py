"""How far one set of images is from another, in the features of the classifier that ships with genmnist."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from genmnist import checkpoint
from genmnist.errors import UsageError
from genmnist.models import Classifier
from genmnist.runs import WEIGHTS

FEATURES = "genmnist-classifier-1"  # to be named beside every distance
Features = Float[Tensor, "n features"]


def bundled_classifier(device: torch.device) -> Classifier:
    """Return the classifier that ships in the package. Raises GenmnistError if it is damaged."""
    model, _ = checkpoint.load(WEIGHTS / "classifier.safetensors", "classifier")
    return cast("Classifier", model.place(device, "float32"))


def features(classifier: Classifier, images: UInt8[Tensor, "n 28 28"]) -> Features:
    """Return the features of images, in the memory of a batch."""
    return torch.cat([classifier.features(batch).cpu() for batch in images.split(500)])


def frechet_distance(ours: Features, theirs: Features) -> float:
    """Return the Fréchet distance of two sets, taken for Gaussians (Heusel et al. 2017, eq. 6).

    Raises:
        UsageError: one of them has fewer than two members.
    """
    if min(len(ours), len(theirs)) < 2:
        raise UsageError("a distance needs two images or more on either side")
    from torchmetrics.image.fid import FrechetInceptionDistance

    network = nn.Identity()
    network.num_features = ours.shape[1]  # type: ignore[assignment]
    metric = FrechetInceptionDistance(feature=network)
    metric.update(theirs.double(), real=True)
    metric.update(ours.double(), real=False)
    return float(metric.compute())
