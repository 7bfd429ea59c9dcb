"""How one set of images differs from another, in the features of the classifier that ships with genmnist."""

from __future__ import annotations

import warnings
from typing import NamedTuple, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from genmnist import checkpoint
from genmnist.errors import UsageError
from genmnist.models import Classifier
from genmnist.randomness import generator
from genmnist.runs import WEIGHTS

FEATURES = "genmnist-classifier-1"  # to be named beside every distance
Features = Float[Tensor, "n features"]

_NEIGHBOURS = 5
_SUBSETS, _SUBSET = 50, 1000  # of the kernel distance
_ROWS = 500  # of a table of distances at a time


def bundled_classifier(device: torch.device) -> Classifier:
    """Return the classifier that ships in the package. Raises GenmnistError if it is damaged."""
    model, _ = checkpoint.load(WEIGHTS / "classifier.safetensors", "classifier")
    return cast("Classifier", model.place(device, "float32"))


def features(classifier: Classifier, images: UInt8[Tensor, "n 28 28"]) -> Features:
    """Return the features of images, in the memory of a batch."""
    return torch.cat([classifier.features(batch).cpu() for batch in images.split(500)])


def frechet(ours: Features, theirs: Features) -> float:
    """Return the Fréchet distance of two sets, taken for Gaussians (Heusel et al. 2017, eq. 6).

    Raises:
        UsageError: one of them has fewer than two members.
    """
    _check(ours, theirs, 2)
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_identity(ours.shape[1]))
    metric.update(theirs.double(), real=True)
    metric.update(ours.double(), real=False)
    return float(metric.compute())


def kernel(ours: Features, theirs: Features) -> float:
    """Return the kernel distance, the unbiased MMD² of a cubic kernel (Bińkowski et al. 2018, section 4).

    The mean over 50 subsets of up to 1000 members, always the same ones.

    Raises:
        UsageError: one of them has fewer than two members.
    """
    _check(ours, theirs, 2)
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(ours), len(theirs), _SUBSET)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of the memory it takes
        metric = KernelInceptionDistance(feature=_identity(ours.shape[1]), subsets=_SUBSETS, subset_size=size)
    metric.update(theirs.double(), real=True)
    metric.update(ours.double(), real=False)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        mean, _ = metric.compute()
    return float(mean)


class Manifold(NamedTuple):
    """How two sets lie in one another, by balls that reach from each member to its fifth neighbour."""

    precision: float  # the share of our members within a ball of theirs: do they look real?
    recall: float  # the share of theirs within a ball of ours: is there one for every kind?
    density: float  # the same as precision, but by how many balls, over five: 1 for the real thing
    coverage: float  # the share of their balls that hold a member of ours


def some(members: Features, count: int) -> Features:
    """Return so many members, drawn at random but always the same: files may be sorted by label."""
    chosen = torch.randperm(len(members), generator=generator(0, "some"))[:count]
    return members[chosen]


def manifold(ours: Features, theirs: Features, neighbours: int = _NEIGHBOURS) -> Manifold:
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


def _check(ours: Features, theirs: Features, least: int) -> None:
    if min(len(ours), len(theirs)) < least:
        raise UsageError(f"a distance needs {least} images or more on either side")
