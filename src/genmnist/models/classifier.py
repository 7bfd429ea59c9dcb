"""The classifier: what tells digits apart, and whose features distances between images are measured in."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from genmnist.data import scale
from genmnist.diffusion.times import stratified
from genmnist.errors import UsageError
from genmnist.families.classifier import ClassifierOptions
from genmnist.models.base import Images, Losses, Model
from genmnist.models.graphs import Graph, Graphs, Port
from genmnist.nn.classifier import ClassifierNet
from genmnist.shares import for_batch, normal_like


class Classifier(Model):
    """A small residual network, trained on digits a little turned, shifted and stretched.

    Its noisy kind learns from digits under every level of noise as well, and can say which way they would
    have to change to look more like a class.
    """

    family: ClassVar[str] = "classifier"
    unit: ClassVar[str] = "nats an image"
    options: ClassifierOptions

    def __init__(self, options: ClassifierOptions | None = None, network: nn.Module | None = None) -> None:
        if network is not None:
            raise UsageError("a classifier has no `network` of your own yet: leave it out")
        super().__init__(options)
        self.network = ClassifierNet(self.options.classes, self.options.width, self.shape[0])

    def graphs(self) -> Graphs:
        """Return the logits of clean images, and the features that they are a linear function of."""
        image = Port("x", "pixels in [0, 1], light on dark", self.shape)
        logits = Port("logits", "of each class, before the softmax", (self.classes,))
        features = Port("features", "what distances are measured in", (self.network.head.in_features,))
        return {"network": Graph(_OfClean(self.network), (image,), (logits, features))}

    def logits(
        self, images: Images, log_snr: Float[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b classes"]:
        """Return the logits of each class.

        Args:
            images: pixels in [0, 1]; with a `log_snr`, noisy images of variance 1.
            log_snr: of those, in a classifier that is `noisy`.
        """
        x = 2 * images - 1 if log_snr is None else images
        with self.computing():
            logits: Tensor = self.network(x, _clean(images) if log_snr is None else log_snr)
        return logits.float()

    @torch.inference_mode()
    def features(self, images: UInt8[Tensor, "b h w *rgb"]) -> Float[Tensor, "b features"]:
        """Return the features by which the last layer decides, in float32 whatever the precision."""
        pixels = scale(images.to(self.device))
        return self.network.features(2 * pixels - 1, _clean(pixels))

    @torch.inference_mode()
    def decide(self, features: Float[Tensor, "b features"]) -> Int64[Tensor, " b"]:
        """Return the likeliest class by `features`."""
        logits: Tensor = self.network.head(features.to(self.device))
        return logits.argmax(-1).cpu()

    def gradient(
        self, x: Images, alpha: float, sigma: float, labels: Int64[Tensor, " b"] | Float[Tensor, "b shares"]
    ) -> Images:
        """Return the gradient by x of log p(label | x), for x = alpha image + sigma noise.

        Labels may be mixtures, a share of each class, whose logarithms are mixed; further shares count for
        nothing.
        """
        classes = self.options.classes
        shares = labels[:, :classes] if labels.is_floating_point() else F.one_hot(labels, classes)
        log_snr = x.new_full((len(x),), 2 * math.log(alpha / sigma))
        # Samplers run without gradients, and in inference mode, whose tensors know none: hence the copy.
        with torch.inference_mode(False), torch.enable_grad():
            x, shares = x.clone().requires_grad_(), shares.clone()
            log_probability = self.logits(x / math.hypot(alpha, sigma), log_snr.clone()).log_softmax(-1)
            return torch.autograd.grad((shares * log_probability).sum(), x)[0]

    def losses(self, images: Images, labels: Int64[Tensor, " b"], progress: float = 1.0) -> Losses:
        """Return the cross-entropy in nats, and the share of the labels that are not the likeliest.

        The noisy kind takes each image at a noise level of its own: the angle of (alpha, sigma) is spread
        evenly, from a clean image to nothing but noise.
        """
        if self.training:
            images = self.disturbed(images)
        if self.options.noisy:
            # In float64 on the CPU up to here: in float32 the last angle may round to more than a right one.
            angle = stratified(len(images)) * math.pi / 2
            levels = torch.stack((angle.cos(), angle.sin(), -2 * angle.tan().log())).float()
            alpha, sigma, log_snr = levels.to(images.device, non_blocking=True)
            alpha, sigma = (part[:, None, None, None] for part in (alpha, sigma))
            x = alpha * (2 * images - 1) + sigma * normal_like(images)
            logits = self.logits(x, log_snr)
        else:
            logits = self.logits(images)
        error = (logits.argmax(-1) != labels).float().mean()
        return {"loss": F.cross_entropy(logits, labels), "error": error}

    def disturbed(self, images: Images) -> Images:
        """Turn, stretch and shift each image by a little of its own."""
        options, n, device = self.options, len(images), images.device
        _, height, width = self.shape

        def spread(reach: float) -> Float[Tensor, " n"]:
            drawn = for_batch(n, lambda whole: torch.rand(whole, device=device))
            return reach * (2 * drawn - 1)

        angle = spread(math.radians(options.turn))
        wide, high = (1 + spread(options.stretch) for _ in range(2))
        right, down = (spread(options.shift / (side / 2)) for side in (width, height))
        # The grid counts from edge to edge, whatever the sides are: a turn must not shear what is not square.
        rows = (
            torch.stack((wide * angle.cos(), -high * angle.sin() * (height / width), right), -1),
            torch.stack((wide * angle.sin() * (width / height), high * angle.cos(), down), -1),
        )
        places = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        return F.grid_sample(images, places, align_corners=False)


class _OfClean(nn.Module):
    """The network on images without noise."""

    def __init__(self, network: ClassifierNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Images) -> tuple[Float[Tensor, "b classes"], Float[Tensor, "b f"]]:
        """Return logits and features of pixels in [0, 1]."""
        # One noise level stands for all images.
        features = self.network.features(2 * x - 1, x.new_full((1,), math.inf))
        return self.network.head(features), features


def _clean(images: Images) -> Float[Tensor, " b"]:
    return images.new_full((len(images),), math.inf)
