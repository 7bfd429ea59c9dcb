"""A data set that lives on one device as one tensor of bytes; a batch is an index into it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from genmnist.data.facts import Shape, class_name
from genmnist.errors import UsageError
from genmnist.randomness import deal, generator


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one shape with their labels, all on one device.

    Grey images are [n, h, w] (0 black, 255 white), colour images [n, h, w, 3] (red, green, blue).
    `places` are the images' numbers in the set that they were taken from, where it was not cut in a row;
    `class_names` what its labels 0, 1, … are called, where they are called anything.
    """

    name: str
    images: UInt8[Tensor, "n h w *rgb"]
    labels: Int64[Tensor, " n"]
    places: Int64[Tensor, " n"] | None = None
    class_names: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """Channels, height and width of each image."""
        height, width, *rgb = self.images.shape[1:]
        return (rgb[0] if rgb else 1, height, width)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Dataset:
        """Return the same set on another device."""
        places = None if self.places is None else self.places.to(device)
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), places=places)

    def order(self, seed: int, epoch: int) -> Int64[Tensor, " n"]:
        """Return the order in which `epoch` visits the images; it depends on `seed` and `epoch` alone."""
        order = torch.randperm(len(self), generator=generator(seed, "shuffle", epoch))
        return order.to(self.images.device)

    def batch(self, index: Int64[Tensor, " b"]) -> tuple[Float[Tensor, "b c h w"], Int64[Tensor, " b"]]:
        """Return the images at `index`, scaled to [0, 1], and their labels."""
        return scale(self.images.index_select(0, index)), self.labels.index_select(0, index)

    def deal(self, num: int, seed: int = 0) -> Int64[Tensor, " num"]:
        """Return labels to ask a model for, each as often among so many as it is among those of this set.

        Real images are seldom as many of each class. Of MNIST 10,000 real digits, a thousand of each, lie
        four times as far from the test set as any 10,000 do (docs/results.md).
        """
        return deal(self.labels.bincount(), seed, "labels", 0, num)

    def number(self, label: int | str) -> int:
        """Return the label that a number is, or that is called so. Raises UsageError if none is."""
        if not isinstance(label, str):
            return label
        if not label or label not in self.class_names:
            raise UsageError(f"{self.name} has no label {label!r:.60}; it has labels {self._known()}")
        return self.class_names.index(label)

    def first(self, label: int | str, skip: int = 0) -> UInt8[Tensor, "h w *rgb"]:
        """Return the first image that carries `label`, after passing over `skip` of them.

        Raises:
            UsageError: the set has no such image.
        """
        found = (self.labels == self.number(label)).nonzero()[skip : skip + 1, 0]
        if not len(found):
            lacking = f"no image number {skip + 1} with label {label}"
            raise UsageError(f"{self.name} has {lacking}; it has labels {self._known()}")
        return self.images[int(found[0])]

    def _known(self) -> str:
        labels = self.labels.unique()[:12].tolist()
        return ", ".join(class_name(self.class_names, label) for label in labels)


class Splits(NamedTuple):
    """A set's three parts: images to train on, to make choices by, and to take the final figures from."""

    train: Dataset
    validation: Dataset
    test: Dataset

    @property
    def shape(self) -> Shape:
        """Channels, height and width of each image."""
        return self.train.shape

    @property
    def classes(self) -> int:
        """How many labels there may be: one more than the largest of all parts."""
        return 1 + max(int(part.labels.max()) for part in self)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return what the labels 0, 1, … are called; empty for a label that no image has."""
        seen = {int(label) for part in self for label in part.labels.unique()}
        names = self.train.class_names or tuple(map(str, range(self.classes)))
        return tuple(name if label in seen else "" for label, name in enumerate(names))

    def checksum(self) -> str:
        """Return the SHA-256 sum of all images and labels, by which a run names the data that it saw.

        Which images are held out for validation makes no difference to it.
        """
        joined, digest = self.validated_on_test(), hashlib.sha256()
        for part in (joined.train, joined.test):
            digest.update(part.images.cpu().numpy().data)
            digest.update(part.labels.cpu().numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> Splits:
        """Return the same parts on another device."""
        test = self.test.to(device)
        validation = test if self.validation is self.test else self.validation.to(device)
        return Splits(self.train.to(device), validation, test)

    def validated_on_test(self) -> Splits:
        """Return all training images, validation's among them, in their order; the test set validates.

        For comparisons with published figures that were made so: what is chosen by these splits is chosen
        on the test set.
        """
        if self.validation is self.test:
            return self
        parts = (self.train, self.validation)
        images = torch.cat([part.images for part in parts])
        labels = torch.cat([part.labels for part in parts])
        if self.train.places is not None and self.validation.places is not None:
            order = torch.cat((self.train.places, self.validation.places)).argsort()
            images, labels = images[order], labels[order]
        return Splits(replace(self.train, images=images, labels=labels, places=None), self.test, self.test)


def scale(images: UInt8[Tensor, "n h w *rgb"]) -> Float[Tensor, "n c h w"]:
    """Bring bytes to floats in [0, 1], the form in which models see images.

    Colour images stay as they lie in memory: what comes out is in torch's channels-last format.
    """
    channels_first = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return channels_first.float().div_(255)


def quantise(images: Float[Tensor, "n c h w"]) -> UInt8[Tensor, "n h w *rgb"]:
    """Bring floats in [0, 1] back to bytes, the form in which people see images.

    Raises:
        UsageError: the images have neither one channel nor three.
    """
    if images.shape[1] not in (1, 3):
        raise UsageError(f"an image has 1 channel (grey) or 3 (colour), not {images.shape[1]}")
    people_see = images.squeeze(1) if images.shape[1] == 1 else images.permute(0, 2, 3, 1)
    levels = people_see.mul(255).round_().clamp_(0, 255)
    return levels.to(torch.uint8, memory_format=torch.contiguous_format)
