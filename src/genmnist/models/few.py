"""Few-step models: diffusion models whose predictions agree along the path, by consistency tuning."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from genmnist.diffusion.times import stratified
from genmnist.families.few import FewOptions
from genmnist.models.base import Images, Losses
from genmnist.models.conditional import ConditionalDiffusion
from genmnist.nn.unet import Labels
from genmnist.registry import TIMES
from genmnist.shares import normal_like

Times = Float64[Tensor, " b"]


class FewSteps(ConditionalDiffusion):
    """A diffusion model tuned until its prediction is the end of its own path (Geng et al. 2024, "ECT").

    One network and one x_0(x_t, t), which is x itself where there is no noise. Training compares it at two
    noise levels of one image and one noise, t and r < t, and lets the first follow the second. While the gap
    between them is the whole way, r = 0, that is the loss of diffusion; as it halves and halves again it
    becomes that of consistency (Song et al. 2023), under which x_0(x_t, t) is a sample, not an average.
    """

    family: ClassVar[str] = "few"
    unit: ClassVar[str] = "weighted distance of an image"
    options: FewOptions

    def losses(self, images: Images, labels: Int64[Tensor, " b"], progress: float = 1.0) -> Losses:
        """Return the consistency loss, an image, and how far apart the two predictions are, a pixel.

        The gap between the noise levels is that of `progress`, the share of the training that is done.
        """
        given = self.shown(images, labels)
        t = TIMES[self.options.times](self.schedule, stratified(len(images)))
        noisy, r = self._ratio(t), self._nearer(t, progress)
        clean, noise = 2 * images - 1, normal_like(images)
        with torch.no_grad():
            goal = self._jump(clean, noise, self._timestep(r), given).clamp(-1, 1)
            # Nearer than the schedule reaches, an image with its noise is the image.
            goal = torch.where(_column(r, images) < self._ratio(0.0), clean, goal)
        apart = (self._jump(clean, noise, t, given) - goal).flatten(1)
        width = self.options.huber * apart.shape[1] ** 0.5
        distance = (apart.square().sum(1) + width**2).sqrt() - width
        weight = (1 / (noisy - r)).float().to(images.device)
        return {"loss": (weight * distance).mean(), "distance": apart.detach().square().mean()}

    def _ratio(self, t: Tensor | float) -> Float64[Tensor, ...]:
        """Return sigma / alpha, which Karras et al. call sigma."""
        return (-self.schedule.log_snr(t) / 2).exp()

    def _timestep(self, ratio: Times) -> Times:
        return self.schedule.timestep(-2 * ratio.log())

    def _nearer(self, t: Times, progress: float) -> Times:
        """Return the noise r that training compares with that at t (eq. 17): r / t = 1 - n(t) / 2^k."""
        noisy = self._ratio(t)
        widened = 1 + 8 * (-noisy).sigmoid()
        gap: Tensor = widened * 2.0 ** -(1 + self.options.halvings * progress)
        return noisy * (1 - gap).clamp_min(0)

    def _jump(self, clean: Images, noise: Images, t: Times, labels: Labels | None) -> Images:
        """Return x_0 as predicted from an image with noise of timestep t, one for each image."""
        alpha, sigma = (
            _column(level, clean).float() for level in (self.schedule.alpha(t), self.schedule.sigma(t))
        )
        x = alpha * clean + sigma * noise
        return self.separate(x, alpha, sigma, labels).x0


def _column(values: Tensor, images: Images) -> Float64[Tensor, "b 1 1 1"]:
    """Return a value an image, where the images are, to be multiplied with them."""
    return values.to(images.device)[:, None, None, None]
