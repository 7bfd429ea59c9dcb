"""How one set of images differs from another, in the features of a classifier."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from genmnist.data import Dataset, Shape, Splits
from genmnist.errors import UsageError
from genmnist.evaluation.document import Manifold
from genmnist.evaluation.shapes import by
from genmnist.models import Classifier
from genmnist.randomness import generator
from genmnist.runs import checkpoint
from genmnist.runs.find import bundled

BUNDLED = "genmnist-classifier-1"  # to be named beside every distance
Features = Float[Tensor, "n features"]
Others = Float[Tensor, "m features"]

_KNOWN, _ASKED = 0.8, 500  # the share of so many test images that must be read as they are labelled
_NEIGHBOURS = 5
_SUBSETS, _SUBSET = 50, 1000  # of the kernel distance
_ROWS = 500  # of a table of distances at a time


@dataclass(frozen=True)
class FeatureSpace:
    """The features by which a classifier decides, in which distances are measured, and what to call them.

    The one that ships is `bundled_features`; `own_features` makes one of a classifier that a user trained.
    """

    classifier: Classifier
    name: str

    @property
    def shape(self) -> Shape:
        """Return channels, height and width of the images that it knows."""
        return self.classifier.shape

    @property
    def classes(self) -> int:
        """Return how many classes it tells apart."""
        return self.classifier.classes

    def features(self, images: UInt8[Tensor, "n h w *rgb"]) -> Features:
        """Return the features of images, on the CPU, in the memory of a batch."""
        return torch.cat([self.classifier.features(batch).cpu() for batch in images.split(500)])

    def decide(self, features: Features) -> Int64[Tensor, " n"]:
        """Return the likeliest class by `features`."""
        return self.classifier.decide(features)

    def check(self, data: Splits, classes: int = 0) -> None:
        """Raise UsageError unless it knows these images, and the labels of a model of so many `classes`.

        A user's own classifier is taken at its word; the one that ships is asked to read some test images: it
        knows digits, and the distances between other things in its features would mean nothing.
        """
        fits = data.shape == self.shape and max(data.classes, classes) <= self.classes
        advice = "train a classifier on your data and name it by `features`"
        if self.name != BUNDLED:
            if not fits:
                raise UsageError(
                    f"{self.name} knows images of {by(self.shape)}, and {self.classes} labels, where these "
                    f"data have {by(data.shape)}, and {max(data.classes, classes)} labels: {advice}"
                )
            return
        fits = fits and classes in (0, self.classes)
        share = self.agreement(data.test) if fits else 0.0
        if share < _KNOWN:
            read = f", and reads {share:.0%} of these images as they are labelled" if fits else ""
            raise UsageError(
                f"the classifier that measures knows the digits 0 to {self.classes - 1} only, of "
                f"{by(self.shape)}{read}: evaluate against mnist, qmnist, emnist-digits or a folder of "
                f"digits, and a model with {self.classes} labels or none, or {advice}"
            )

    def agreement(self, test: Dataset) -> float:
        """Return the share of some images, spread evenly, that it reads as they are labelled."""
        chosen = torch.linspace(0, len(test) - 1, min(_ASKED, len(test))).long().to(test.images.device)
        read = self.decide(self.features(test.images[chosen]))
        return (read == test.labels[chosen].cpu()).double().mean().item()


def bundled_features(device: torch.device) -> FeatureSpace:
    """Return those of the classifier that ships in the package. Raises GenmnistError if it is damaged."""
    model, _ = checkpoint.load(bundled("classifier"), "classifier")
    return FeatureSpace(cast("Classifier", model.place(device, "float32")), BUNDLED)


def own_features(classifier: Classifier, data: str | None = None) -> FeatureSpace:
    """Return the features of any classifier, named by its data and by the SHA-256 sum of its weights.

    Args:
        classifier: which one.
        data: the name of what it was trained on; None: as its checkpoint says.
    """
    trained = classifier.trained
    if data is None and trained is not None:
        data = Path(trained.data_dir).name if trained.data_dir else trained.dataset
    digest = hashlib.sha256()
    for name, tensor in sorted(classifier.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return FeatureSpace(classifier, f"{data or 'own'}-classifier-{digest.hexdigest()[:8]}")


def frechet(ours: Features, theirs: Others) -> float:
    """Return the Fréchet distance of two sets, taken for Gaussians (Heusel et al. 2017, eq. 6).

    Raises:
        UsageError: one of them has fewer than two members.
    """
    _check(ours, theirs, 2)
    from torchmetrics.image.fid import FrechetInceptionDistance

    # Other processes of a job have the same images, which torchmetrics would add to ours.
    metric = FrechetInceptionDistance(feature=_identity(ours.shape[1]), sync_on_compute=False)
    metric.update(theirs.double(), real=True)
    metric.update(ours.double(), real=False)
    return float(metric.compute())


def kernel(ours: Features, theirs: Others) -> float:
    """Return the kernel distance, the unbiased MMD² of a cubic kernel (Bińkowski et al. 2018, section 4).

    The mean over 50 subsets of up to 1000 members, always the same ones.

    Raises:
        UsageError: one of them has fewer than two members.
    """
    _check(ours, theirs, 2)
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(ours), len(theirs), _SUBSET)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of the memory it takes
        metric = KernelInceptionDistance(
            feature=_identity(ours.shape[1]), subsets=_SUBSETS, subset_size=size, sync_on_compute=False
        )
    metric.update(theirs.double(), real=True)
    metric.update(ours.double(), real=False)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        mean, _ = metric.compute()
    return float(mean)


def fixed_subset(members: Features, count: int) -> Others:
    """Return so many members, drawn at random but always the same: files may be sorted by label."""
    # The purpose's name is that of the first version, whose numbers it keeps.
    chosen = torch.randperm(len(members), generator=generator(0, "some"))[:count]
    return members[chosen]


def manifold(ours: Features, theirs: Others, neighbours: int = _NEIGHBOURS) -> Manifold:
    """Return precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Recall and coverage grow with the number of members: compare sets of one size.

    Raises:
        UsageError: one of them has no more than `neighbours` members.
    """
    _check(ours, theirs, neighbours + 1)
    our_reach, their_reach = (_reach(members, neighbours) for members in (ours, theirs))
    within_theirs, recalled = 0, torch.zeros(len(theirs), dtype=torch.bool)
    balls, nearest = 0, torch.full((len(theirs),), torch.inf, dtype=torch.float64)
    for members, reach in zip(ours.double().split(_ROWS), our_reach.split(_ROWS), strict=True):
        distances = torch.cdist(members, theirs.double())
        inside = distances <= their_reach
        within_theirs += int(inside.any(1).sum())
        balls += int(inside.sum())
        recalled |= (distances <= reach[:, None]).any(0)
        nearest = torch.minimum(nearest, distances.amin(0))
    return Manifold(
        precision=within_theirs / len(ours),
        recall=recalled.double().mean().item(),
        density=balls / (neighbours * len(ours)),
        coverage=(nearest <= their_reach).double().mean().item(),
    )


def _reach(members: Features, neighbours: int) -> Float[Tensor, " n"]:
    """Return the distance of each member to its k-th neighbour; the first found is itself."""
    every = members.double()
    return torch.cat(
        [torch.cdist(rows, every).kthvalue(neighbours + 1, dim=1).values for rows in every.split(_ROWS)]
    )


def _identity(width: int) -> nn.Module:
    network = nn.Identity()
    network.num_features = width  # type: ignore[assignment]
    return network


def _check(ours: Features, theirs: Others, least: int) -> None:
    if min(len(ours), len(theirs)) < least:
        raise UsageError(f"a distance needs {least} images or more on either side")
