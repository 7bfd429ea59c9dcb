"""A network that answers with the probability of every value that a pixel may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from genmnist.diffusion import categorical
from genmnist.families.ddpm import DiffusionOptions
from genmnist.nn.unet import Labels, answer

Images = Float[Tensor, "b c h w"]


class Judged(NamedTuple):
    """What becomes of known images: the loss, the posterior means, and the surprise of each pixel in nats."""

    loss: Float[Tensor, ""]
    mean: Images
    nats: Images


class Categorical(nn.Module):
    """A network of the contract `(x, log_snr, labels=None)` that answers the mean of a posterior over values.

    The network inside says what the values of a pixel depend on elsewhere: `features` numbers a channel, from
    which a linear map makes log-probabilities, added to the histogram of the data. It sees the noisy image
    and beside it, in each channel, the posterior mean under the histogram alone and the posterior probability
    of black. An answer of zeros leaves the histogram, which is where training starts.

    Args:
        network: takes `options.inputs` channels and answers with `options.outputs`.
        options: of the diffusion model.
    """

    histogram: Float[Tensor, "c values"]  # log-probabilities

    def __init__(self, network: nn.Module, options: DiffusionOptions) -> None:
        super().__init__()
        channels, values = options.shape[0], options.values
        self.network = network
        self.features = options.outputs // channels
        self.readout = nn.Parameter(categorical.waves(values, self.features))
        self.register_buffer("histogram", torch.zeros(channels, values))

    @property
    def values(self) -> int:
        """Return how many values a pixel may have."""
        return len(self.readout)

    def begin(self, images: UInt8[Tensor, "n h w *rgb"]) -> None:
        """Start from the histogram of images, unless there is one."""
        if not self.histogram.any():
            self.histogram.copy_(categorical.histogram(images, self.values))

    def forward(self, x: Images, log_snr: Float[Tensor, " #b"], labels: Labels | None = None) -> Images:
        """Return the posterior mean of variance-preserving noisy images."""
        level = categorical.levels(self.values, x.device)
        return self._judge(x, log_snr, labels, lambda logits: logits.softmax(-1) @ level)

    def log_probability(
        self,
        x: Images,
        log_snr: Float[Tensor, " #b"],
        clean: Int64[Tensor, "b c h w"],
        labels: Labels | None = None,
    ) -> Images:
        """Return the log-probability of the values that pixels have, in nats."""

        def own(logits: Tensor, truth: Tensor) -> Tensor:
            return logits.log_softmax(-1).gather(-1, truth[..., None])[..., 0]

        return self._judge(x, log_snr, labels, own, _rows(clean))

    def log_probabilities(
        self, x: Images, log_snr: Float[Tensor, " #b"], labels: Labels | None = None
    ) -> Float[Tensor, "b c h w values"]:
        """Return the log-probability of every value that each pixel may have, in nats."""
        return self._judge(x, log_snr, labels, lambda logits: logits.log_softmax(-1))

    def judge(
        self,
        x: Images,
        log_snr: Float[Tensor, " b"],
        clean: Int64[Tensor, "b c h w"],
        error: Float[Tensor, " b"],
        surprise: float,
        labels: Labels | None = None,
    ) -> Judged:
        """Return the loss that training minimises: the mean over pixels of what `Judgement` says.

        Args:
            x: noisy images, variance preserving.
            log_snr: the noise level of each.
            clean: the numbers of the values of the images without noise.
            error: the weight of the squared error of each image's posterior mean.
            surprise: the weight of the cross-entropy, in nats.
            labels: those of the images, for a network that knows labels.
        """
        features = self._features(x, log_snr, labels)
        with torch.autocast(x.device.type, enabled=False):
            loss, mean, nats = categorical.Judgement.apply(
                features, self.readout, self.histogram, _rows(x), log_snr, _rows(clean), error, surprise
            )
        return Judged(loss, _images(mean, x), _images(nats, x))

    def _judge(
        self, x: Images, log_snr: Tensor, labels: Labels | None, ask: Callable[..., Tensor], *more: Tensor
    ) -> Float[Tensor, "b c h w *each"]:
        """Return an answer for every pixel from the logits of its values and more, a few images at a time."""
        features, log_snr = self._features(x, log_snr, labels), log_snr.expand(x.shape[0])
        with torch.autocast(x.device.type, enabled=False):
            found = [
                ask(categorical.posterior(seen @ self.readout.T + self.histogram, rows, level), *own)
                for seen, rows, level, *own in self._parts(x, features, _rows(x), log_snr, *more)
            ]
        return _images(torch.cat(found), x)

    def _features(self, x: Images, log_snr: Tensor, labels: Labels | None) -> Float[Tensor, "b n c features"]:
        seen = torch.cat((x, *self._informed(x, log_snr.expand(x.shape[0]))), 1)
        b, c, h, w = x.shape
        wanted = (b, c * self.features, h, w)
        must = f"{list(wanted)}, {self.features} numbers a channel, with the target categorical"
        found = answer(self.network, seen, log_snr, labels, wanted, must)
        return found.permute(0, 2, 3, 1).reshape(b, h * w, c, self.features).float()

    @torch.no_grad()
    def _informed(self, x: Images, log_snr: Tensor) -> tuple[Images, Images]:
        """Return what noisy pixels say by themselves: their posterior mean, and how likely they are black."""
        level = categorical.levels(self.values, x.device)
        means, black = [], []
        for rows, at in self._parts(x, _rows(x), log_snr):
            p = categorical.posterior(self.histogram.expand(*rows.shape, -1), rows, at).softmax(-1)
            means.append(p @ level)
            black.append(2 * p[..., 0] - 1)
        return _images(torch.cat(means), x), _images(torch.cat(black), x)

    def _parts(self, x: Images, *tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
        """Return tensors, a row an image, as many images at a time as there is memory for."""
        if torch.compiler.is_exporting():
            return [tensors]  # a graph has no loop
        size = categorical.at_a_time(x[0].numel(), self.values, x.device)
        return zip(*(tensor.split(size) for tensor in tensors), strict=True)


def _rows(x: Tensor) -> Tensor:
    """Return images [b, c, h, w] as rows of pixels, [b, h w, c]."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _images(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows of pixels, with whatever belongs to each, as images of the shape of `like`."""
    b, c, h, w = like.shape
    return rows.view(b, h, w, c, *rows.shape[3:]).movedim(3, 1)
