"""Denoising diffusion: its loss, its samplers, and the ways into and through its noise."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from genmnist.data import quantise, scale
from genmnist.diffusion import samplers
from genmnist.diffusion.samplers import Denoise, Gradient, Step
from genmnist.diffusion.schedules import CLEAN, SCHEDULES, Schedule, spaced
from genmnist.diffusion.targets import WEIGHTS, Denoised, denoised, target
from genmnist.diffusion.times import TIMES, stratified
from genmnist.errors import UsageError
from genmnist.models.base import Latent, Losses
from genmnist.models.paths import PATHS, lerp
from genmnist.nn.unet import SIZES, Labels, UNet
from genmnist.presets import DiffusionOptions, Sampling
from genmnist.randomness import SampleNoise

Images = Float[Tensor, "b 1 28 28"]

_EMBEDDED = 7.8  # the log-SNR from which images are embedded: sigma / alpha = 0.02
_FRAMES = 60  # of an animation, at most
_DECODED = 256  # images at a time


class Diffusion(Latent):
    """A network that tells image from noise (Ho, Jain & Abbeel 2020), for any schedule and target."""

    family: ClassVar[str] = "ddpm"
    unit: ClassVar[str] = "squared error a pixel"
    validation_stride: ClassVar[int] = 5  # all of them would take a tenth of the training's time
    kind: ClassVar[type[DiffusionOptions]] = DiffusionOptions
    how: ClassVar[type[Sampling]] = Sampling
    options: DiffusionOptions

    def __init__(self, options: DiffusionOptions | None = None) -> None:
        super().__init__()
        self.options = options or self.kind()
        size = SIZES["small" if self.options.size == "auto" else self.options.size]
        if self.options.width:
            size = dataclasses.replace(
                size, channels=tuple(self.options.width * c // size.channels[0] for c in size.channels)
            )
        size = dataclasses.replace(
            size, blocks=self.options.blocks or size.blocks, patch=self.options.patch or size.patch
        )
        self.network = UNet(size, self.classes)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Self:
        """Build an untrained model. Raises UsageError for options that do not fit."""
        return cls(cls.kind.of(options))

    def place(self, device: torch.device, precision: str = "auto") -> Self:
        """Move the model to `device`, its convolutions in the channels-last order that they run in."""
        self.network.to(memory_format=torch.channels_last)
        return super().place(device, precision)

    @functools.cached_property
    def schedule(self) -> Schedule:
        """Return the noise schedule; made when first needed, on the CPU wherever the model was built."""
        with torch.device("cpu"):
            return SCHEDULES[self.options.noise](self.options.timesteps)

    def predict(self, x: Images, alpha: Tensor, sigma: Tensor, labels: Labels | None = None) -> Images:
        """Return what the network makes of noisy images; its own precision ends here."""
        log_snr = 2 * (alpha / sigma).log()
        with self.computing():
            prediction: Tensor = self.network(x / torch.hypot(alpha, sigma), log_snr.flatten(), labels)
        return prediction.float()

    def losses(self, images: Images, labels: Int64[Tensor, " b"], progress: float = 1.0) -> Losses:
        """Return the weighted squared error of the target, a pixel, and that of the noise it implies.

        Timesteps are stratified: one from each of as many equal parts of their distribution as there are
        images.
        """
        return self._losses(images, None)

    def _losses(self, images: Images, labels: Labels | None) -> Losses:
        name = self.options.target
        t = TIMES[self.options.times](self.schedule, stratified(len(images)))
        levels = self.schedule.alpha(t), self.schedule.sigma(t)
        weight = WEIGHTS[self.options.weight](name, *levels, self.schedule.slope(t))
        # In float64 on the CPU up to here: not every device has float64.
        alpha, sigma, weight = (
            torch.stack((*levels, weight)).float()[..., None, None, None].to(images.device, non_blocking=True)
        )
        clean, noise = 2 * images - 1, torch.randn_like(images)
        x = alpha * clean + sigma * noise
        prediction = self.predict(x, alpha, sigma, labels)
        error = prediction - target(name, clean, noise, alpha, sigma)
        implied = denoised(name, prediction.detach(), x, alpha, sigma).epsilon
        return {
            "loss": (weight * error.square()).mean(),
            "epsilon": (implied - noise).square().mean(),
        }

    def denoise(self, x: Images, t: float, labels: Labels | None = None) -> Denoised:
        """Return the clean images and the noise that the network sees in images at timestep `t`."""
        levels = torch.stack((self.schedule.alpha(t), self.schedule.sigma(t))).float()
        alpha, sigma = levels.view(2, 1, 1, 1, 1).to(x.device, non_blocking=True)
        return denoised(self.options.target, self.predict(x, alpha, sigma, labels), x, alpha, sigma)

    def guided(self, how: Sampling, labels: Labels | None) -> Denoise:
        """Return `denoise` with the guidance that makes it draw what these labels ask for; here, none."""
        return self.denoise

    def gradient(self, how: Sampling, labels: Labels | None) -> Gradient | None:
        """Return what moves the means of ancestral sampling instead, if anything does."""
        return None

    def denoiser(self, how: Sampling, labels: Labels | None = None) -> Denoise:
        """Return what samplers call: guided first, then kept in range."""
        denoise = self.guided(how, labels)
        if how.threshold == "none":
            return denoise
        return samplers.thresholded(denoise, self.schedule, 0.995 if how.threshold == "dynamic" else None)

    def compiled_losses(self) -> Callable[..., Losses]:
        """Return `losses` with the network compiled; the noise levels are chosen outside it, on the CPU."""
        self.network.compile(dynamic=False)
        return self.losses

    def prior(self, seed: int, count: int = 1, first: int = 0) -> Images:
        """Draw the noise that samples `first` … `first + count - 1` under `seed` start from."""
        return self._noise(SampleNoise(seed, first, count, self.device))

    def _noise(self, noise: SampleNoise) -> Images:
        # Not every schedule ends in pure noise of variance 1.
        return self.schedule.sigma(len(self.schedule) - 1).item() * noise.normal(1, 28, 28)

    def timesteps(self, how: Sampling, visit: Sequence[float] = ()) -> list[float]:
        """Return the timesteps that a way of sampling passes through, and those to visit besides.

        Raises:
            UsageError: there is no such timestep, or there are not so many.
        """
        top = len(self.schedule) - 1
        for t in visit:
            if not 0 <= t <= top:
                raise UsageError(f"there is no timestep {t:g}: those of this model are 0 to {top}")
        # A step between neighbours would be so short that a solver sees nothing but rounding in it.
        chosen = [
            t
            for t in spaced(self.schedule, how.steps, how.spacing)
            if t == CLEAN or all(abs(t - other) >= 1 for other in visit)
        ]
        return sorted({*chosen, *visit}, reverse=True)

    def _steps(
        self, x: Images, how: Sampling, timesteps: list[float], noise: SampleNoise, labels: Labels | None
    ) -> Iterator[Step]:
        denoise = self.denoiser(how, labels)

        def fresh() -> Tensor:
            return how.temperature * noise.normal(1, 28, 28)

        if how.sampler == "ancestral":
            gradient = self.gradient(how, labels)
            return samplers.ancestral(denoise, x, self.schedule, timesteps, fresh, how.variance, gradient)
        if how.sampler == "ddim":
            return samplers.ddim(denoise, x, self.schedule, timesteps, fresh, how.eta)
        solver = samplers.heun if how.sampler == "heun" else samplers.dpm_solver
        return solver(denoise, x, self.schedule, timesteps)

    @torch.no_grad()
    def walk(
        self,
        seed: int,
        first: int,
        count: int,
        visit: Sequence[float] = (),
        labels: Sequence[int] = (),
        **options: Any,
    ) -> Iterator[Step]:
        """Yield every step of samples `first` … `first + count - 1` under `seed`.

        Args:
            seed: fixes the samples.
            first: the first sample.
            count: how many.
            visit: timesteps to pass through besides those of the sampler.
            labels: see `told`.
            options: see `genmnist.presets.Sampling`.

        Raises:
            UsageError: an option makes no sense.
        """
        how = self.how.choose(**options)
        noise = SampleNoise(seed, first, count, self.device)
        x = how.temperature * self._noise(noise)
        yield from self._steps(x, how, self.timesteps(how, visit), noise, self.told(labels, first, count))

    def draw(
        self,
        seed: int,
        first: int,
        count: int,
        watch: Callable[[float], None] | None = None,
        labels: Sequence[int] = (),
        **options: Any,
    ) -> Float[Tensor, "count 1 28 28"]:
        """Draw samples in one batch, as pixels in [0, 1].

        Args:
            seed, first, count: which ones.
            watch: called after every step with the share of the steps that are done.
            labels: see `told`.
            options: see `genmnist.presets.Sampling`.
        """
        total = len(self.timesteps(self.how.choose(**options))) - 1  # CLEAN is where the last step ends
        for number, step in enumerate(self.walk(seed, first, count, labels=labels, **options), 1):
            x = step.x
            if watch:
                watch(number / total)
        return (x + 1) / 2

    @torch.inference_mode()
    def emerge(
        self,
        num: int,
        seed: int = 0,
        watch: Callable[[float], None] | None = None,
        labels: Sequence[int] = (),
        **options: Any,
    ) -> Iterator[UInt8[Tensor, "num 28 28"]]:
        """Yield the reverse process in some frames: less noise, more image. For `watch` see `draw`."""
        last = len(self.timesteps(self.how.choose(**options))) - 1
        stride = -(-last // _FRAMES)
        for number, step in enumerate(self.trace((), num, seed, labels, **options)):
            if number % stride == 0 or number == last:
                yield quantise((step.x + 1) / 2).cpu()
            if watch:
                watch(number / last)

    @torch.inference_mode()
    def trace(
        self, visit: Sequence[float], num: int, seed: int = 0, labels: Sequence[int] = (), **options: Any
    ) -> Iterator[Step]:
        """Yield x_t and what is predicted from it, at every timestep of the sampler and at those in `visit`.

        The first is the noise, the last, at `CLEAN`, the sample itself.
        """
        how = self.how.choose(**options)
        t, x = self.timesteps(how, visit)[0], how.temperature * self.prior(seed, num)
        for step in self.walk(seed, 0, num, visit, labels, **options):
            yield Step(t, x, step.x0)
            t, x = step.t, step.x
        yield Step(t, x, x)

    @torch.inference_mode()
    def embed(
        self, images: UInt8[Tensor, "b 28 28"], labels: Labels | None = None, steps: int = 64
    ) -> Images:
        """Return the noise from which the probability-flow ODE comes to these images (Song et al. 2021, 4.3).

        The same ODE that sampling without guidance follows, solved backwards. It starts from images with a
        little noise, the same each time: the background of a digit is exactly black, and from a place without
        any width no ODE comes to noise of width 1.
        """
        first = self.schedule.timestep(_EMBEDDED).item()
        clean, noise = 2 * scale(images.to(self.device)) - 1, SampleNoise(0, 0, len(images), self.device)
        x = self.schedule.alpha(first).item() * clean
        x = x + self.schedule.sigma(first).item() * noise.normal(1, 28, 28)
        timesteps = [t for t in reversed(spaced(self.schedule, steps, "trailing")) if t > first + 1]
        denoise = functools.partial(self.denoise, labels=labels)
        *_, last = samplers.heun(denoise, x, self.schedule, [first, *timesteps])
        return last.x

    @torch.inference_mode()
    def decode(self, noise: Images, labels: Labels | None = None, **options: Any) -> Images:
        """Follow the probability-flow ODE from noise to images in [0, 1], of these labels if any.

        By default the sampler is `dpm-solver`, whichever else suits the model.

        Raises:
            UsageError: the sampler draws noise on its way, so that its end is no function of its start.
        """
        how = self.how.choose(**{"sampler": "dpm-solver", **options})
        if how.random:
            raise UsageError(f"{how.sampler} draws noise on its way, and so comes to no certain end")
        none, timesteps = SampleNoise(0, 0, 1, self.device), self.timesteps(how)
        images = []
        for first in range(0, len(noise), _DECODED):
            batch = slice(first, first + _DECODED)
            told = None if labels is None else labels[batch].to(self.device)
            *_, last = self._steps(noise[batch].to(self.device), how, timesteps, none, told)
            images.append(((last.x + 1) / 2).clamp(0, 1))
        return torch.cat(images)

    @torch.inference_mode()
    def interpolate(
        self,
        start: Images,
        end: Images,
        alphas: Float[Tensor, " steps"],
        space: str = "latent",
        path: str = "slerp",
        labels: tuple[Labels, Labels] | None = None,
        **options: Any,
    ) -> Float[Tensor, "b steps 28 28"]:
        """Walk from `end` to `start`, denoising the noises between them, or fading between the two images.

        On the great circle noise keeps its variance (Song, Meng & Ermon 2021, section 5.3). Labels, one for
        each start and one for each end, are mixed on the way; in the space `label` nothing else moves: every
        image comes from the noise at the end.
        """
        start, end, alphas = start.to(self.device), end.to(self.device), alphas.to(self.device)
        if space == "pixel":
            told = labels or (None, None)
            first, second = (
                self.decode(noise, label, **options).squeeze(1)
                for noise, label in zip((start, end), told, strict=True)
            )
            return lerp(first, second, alphas)
        between = PATHS[path](end if space == "label" else start, end, alphas)
        mixed = None
        if labels is not None:
            first, second = (F.one_hot(label.to(self.device), self.classes + 1).float() for label in labels)
            mixed = lerp(first, second, alphas).flatten(0, 1)
        return self.decode(between.flatten(0, 1), mixed, **options).view(*between.shape[:2], 28, 28)
