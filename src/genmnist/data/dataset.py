"""A data set that lives on one device as one tensor of bytes; a batch is an index into it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from genmnist.errors import UsageError
from genmnist.randomness import generator


@dataclass(frozen=True)
class Dataset:
    """Images of 28 x 28 grey pixels (0 black, 255 white) with their labels, all on one device."""

    name: str
    images: UInt8[Tensor, "n 28 28"]
    labels: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Dataset:
        """Return the same set on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def order(self, seed: int, epoch: int) -> Int64[Tensor, " n"]:
        """Return the order in which `epoch` visits the images; it depends on `seed` and `epoch` alone."""
        order = torch.randperm(len(self), generator=generator(seed, "shuffle", epoch))
        return order.to(self.images.device)

    def batch(self, index: Int64[Tensor, " b"]) -> tuple[Float[Tensor, "b 1 28 28"], Int64[Tensor, " b"]]:
        """Return the images at `index`, scaled to [0, 1], and their labels."""
        return scale(self.images.index_select(0, index)), self.labels.index_select(0, index)

    def first(self, label: int, skip: int = 0) -> UInt8[Tensor, "28 28"]:
        """Return the first image that carries `label`, after passing over `skip` of them.

        Raises:
            UsageError: the set has no such image.
        """
        found = (self.labels == label).nonzero()[skip : skip + 1, 0]
        if not len(found):
            known = ", ".join(str(int(value)) for value in self.labels.unique()[:12])
            raise UsageError(
                f"{self.name} has no image number {skip + 1} with label {label}; it has labels {known}"
            )
        return self.images[int(found[0])]


class Splits(NamedTuple):
    """A set's two parts: the images to train on and the images to validate on."""

    train: Dataset
    test: Dataset

    def checksum(self) -> str:
        """Return the SHA-256 sum of all images and labels, by which a run names the data that it saw."""
        digest = hashlib.sha256()
        for part in self:
            digest.update(part.images.cpu().numpy().data)
            digest.update(part.labels.cpu().numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> Splits:
        """Return the same parts on another device."""
        return Splits(self.train.to(device), self.test.to(device))


def scale(images: UInt8[Tensor, "b 28 28"]) -> Float[Tensor, "b 1 28 28"]:
    """Bring bytes to floats in [0, 1], the form in which models see images."""
    return images.unsqueeze(1).float().div_(255)


def quantise(images: Float[Tensor, "b 1 28 28"]) -> UInt8[Tensor, "b 28 28"]:
    """Bring floats in [0, 1] back to bytes, the form in which people see images."""
    return images.squeeze(1).mul(255).round_().clamp_(0, 255).to(torch.uint8)
