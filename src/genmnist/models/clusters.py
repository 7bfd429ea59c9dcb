"""Labels that nobody gave: clusters of the training images, which a model without labels can be told.

What is drawn follows p(x) = sum over k of p(k) p(x | k), k being a cluster. Which of them an image will be of
is the hardest that a network has to settle on the way from noise; where it is told, it learns the rest sooner
(Bao et al. 2022, "Why are conditional generative models better than unconditional ones?"; Hu et al. 2023,
"Self-guided diffusion models"; Adaloglou et al. 2024, "Rethinking cluster-conditioned diffusion models").
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from genmnist.data import Shape, scale
from genmnist.randomness import deal, generator

_FITTED = 20_000  # images that clusters are found among, at most
_PIXELS = 2**26  # of all these, at most
_AT_ONCE = 2**22
_ROUNDS = 25
_ROWS = 4096
_SIDE = 16  # of what is compared, at most


class Clusters(nn.Module):
    """The clusters of images that k-means finds (Lloyd 1982), and the share of the images that each has.

    Args:
        count: how many.
        shape: of the images.

    Attributes:
        centres: in `features` of images.
        shares: of the training images; all 0 before `begin`.
    """

    centres: Float[Tensor, "k features"]
    shares: Float[Tensor, " k"]

    def __init__(self, count: int, shape: Shape) -> None:
        super().__init__()
        width = features(torch.zeros(1, *shape)).shape[1]
        self.register_buffer("centres", torch.zeros(count, width))
        self.register_buffer("shares", torch.zeros(count))

    def begin(self, images: UInt8[Tensor, "n h w *rgb"]) -> None:
        """Find the clusters of images, unless there are some."""
        if not self.shares.any():
            centres, shares = _kmeans(images, len(self.centres))
            self.centres.copy_(centres)
            self.shares.copy_(shares)

    def agree(self, other: Clusters | None) -> bool:
        """Tell whether others are the same, but for the precision in which they are kept."""
        own = self.centres
        return (
            other is not None
            and other.centres.shape == own.shape
            and torch.allclose(own.cpu(), other.centres.cpu(), atol=1e-2)
        )

    def nearest(self, images: Float[Tensor, "b c h w"]) -> Int64[Tensor, " b"]:
        """Return the cluster of each image, whose pixels are in [0, 1]."""
        return _nearest(features(images), self.centres)

    def deal(self, seed: int, first: int, count: int) -> Int64[Tensor, " count"]:
        """Return the clusters of samples `first` … `first + count - 1` under `seed`, dealt by the shares."""
        return deal(self.shares, seed, "clusters", first, count).to(self.shares.device)


def features(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b features"]:
    """Return images as clusters are found in: centred by their mass, without their slant, and small.

    The slant is the shear under which columns and rows of the mass would not covary; hands differ by it more
    than digits do.
    """
    count, _, height, width = images.shape
    mass = images.mean(1)
    mass = mass / mass.sum((1, 2), keepdim=True).clamp_min(1e-6)
    rows, columns = (
        (torch.arange(side, device=images.device) + 0.5) * 2 / side - 1 for side in (height, width)
    )
    y, x = mass.sum(2) @ rows, mass.sum(1) @ columns
    down, right = rows - y[:, None], columns - x[:, None]
    covariance = torch.einsum("bij,bi,bj->b", mass, down, right)
    slant = covariance / torch.einsum("bij,bi->b", mass, down.square()).clamp_min(1e-6)
    ones, zeros = torch.ones_like(x), torch.zeros_like(x)
    looks = torch.stack((ones, slant, x, zeros, ones, y), 1).view(count, 2, 3)
    upright = F.grid_sample(images, F.affine_grid(looks, [*images.shape], False), align_corners=False)
    stride = max(2, -(-max(height, width) // _SIDE))
    return F.avg_pool2d(upright, stride + 1, stride, stride // 2).flatten(1)


@functools.lru_cache(maxsize=1)  # a training builds its model more than once, to try it and to time it
def _kmeans(
    images: UInt8[Tensor, "n h w *rgb"], count: int
) -> tuple[Float[Tensor, "k features"], Float[Tensor, " k"]]:
    """Return the centres of so many clusters, and their shares; both are found among some of the images."""
    size = math.prod(images.shape[1:])
    few = min(len(images), _FITTED, max(_PIXELS // size, count))
    chosen = images[torch.linspace(0, len(images) - 1, few).long()]
    points = torch.cat([features(scale(batch)) for batch in chosen.split(max(_AT_ONCE // size, 1))])
    centres = points[torch.randperm(len(points), generator=generator(0, "clusters"))[:count]]
    centres = F.pad(centres, (0, 0, 0, count - len(centres)))  # of fewer images than clusters
    for _ in range(_ROUNDS):
        own = _nearest(points, centres)
        members = own.bincount(minlength=count)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, own, points)
        centres = torch.where(members > 0, sums / members.clamp_min(1), centres)
    return centres, _nearest(points, centres).bincount(minlength=count) / len(points)


def _nearest(
    points: Float[Tensor, "n features"], centres: Float[Tensor, "k features"]
) -> Int64[Tensor, " n"]:
    """Return the nearest centre of each point."""
    size = centres.square().sum(1)
    return torch.cat([(size - 2 * part @ centres.T).argmin(1) for part in points.split(_ROWS)])
