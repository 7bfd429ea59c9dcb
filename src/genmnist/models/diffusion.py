"""Denoising diffusion: its loss, its samplers, and the ways into and through its noise."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from genmnist.data import quantise, scale
from genmnist.diffusion import categorical, inpainting, samplers
from genmnist.diffusion.guidance import Conditional, autoguided, within
from genmnist.diffusion.likelihood import noisy
from genmnist.diffusion.samplers import Denoise, Step
from genmnist.diffusion.schedules import CLEAN, Schedule
from genmnist.diffusion.spacings import spaced
from genmnist.diffusion.targets import Denoised, denoised, target
from genmnist.diffusion.times import Spread, stratified
from genmnist.errors import UsageError
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.sampling import RESAMPLE, STRENGTH, Sampling
from genmnist.models.base import Frame, Images, Join, Latent, Losses
from genmnist.models.clusters import Clusters
from genmnist.models.graphs import Graph, Graphs, Port
from genmnist.models.guidance import ClassifierFree, Guidance
from genmnist.models.request import Request, check_whole
from genmnist.nn.categorical import Categorical, Judged
from genmnist.nn.unet import Labels, answer
from genmnist.options import Options
from genmnist.randomness import SampleNoise
from genmnist.registry import NETWORKS, SAMPLERS, SCHEDULES, TIMES, WEIGHTS
from genmnist.shares import for_batch, normal_like

_EMBEDDED = 7.8  # the log-SNR from which images are embedded: sigma / alpha = 0.02
_FRAMES = 60  # of an animation, at most
_DECODED = 256  # images at a time
_ASKED = ("labels", "guide", "watch", "how")  # of a request, besides options of sampling


class Diffusion(Latent):
    """A network that tells image from noise (Ho, Jain & Abbeel 2020), for any schedule and target."""

    family: ClassVar[str] = "ddpm"
    unit: ClassVar[str] = "squared error a pixel"
    optional: ClassVar[tuple[str, ...]] = ("clusters.", "network.label.")
    validation_images: ClassVar[int | None] = 2000  # all of them would take a tenth of the training's time
    options: DiffusionOptions

    def __init__(self, options: DiffusionOptions | None = None, network: nn.Module | None = None) -> None:
        super().__init__(options, network)
        built = self.build(NETWORKS, self.options.network, network)
        self.network = Categorical(built, self.options) if self.knows_values else built
        adapts = TIMES.facts(self.options.times).get("adapts")
        self.spread = Spread() if adapts else None
        self.clusters = Clusters(self.options.clusters, self.shape) if self.options.clusters else None

    @property
    def classes(self) -> int:
        """Return how many labels it may be asked for; clusters are no labels."""
        return 0 if self.options.clusters else super().classes

    @property
    def knows_values(self) -> bool:
        """Return whether the model says how likely each value of a pixel is, and so how likely an image."""
        return self.options.knows_values

    def begin(self, images: UInt8[Tensor, "n h w *rgb"]) -> None:
        """Let a model that knows values start from their histogram; find the clusters of one with some."""
        if self.knows_values:
            self.network.begin(images)
        if self.clusters is not None:
            self.clusters.begin(images)

    def place(self, device: torch.device, precision: str = "auto") -> Self:
        """Move the model to `device`, its convolutions in the channels-last order that they run in."""
        self.network.to(memory_format=torch.channels_last)
        return super().place(device, precision)

    @functools.cached_property
    def schedule(self) -> Schedule:
        """Return the noise schedule; made when first needed, on the CPU wherever the model was built."""
        name = self.options.noise_schedule
        with torch.device("cpu"):
            schedule = SCHEDULES[name](self.options.timesteps)
        if not isinstance(schedule, Schedule):
            raise UsageError(
                f"the noise schedule {name} must return a Schedule, not {type(schedule).__name__}"
            )
        return schedule

    def predict(self, x: Images, alpha: Tensor, sigma: Tensor, labels: Labels | None = None) -> Images:
        """Return what the network makes of noisy images; its own precision ends here."""
        with self.computing():
            return answer(self.network, *_seen(x, alpha, sigma), labels, x.shape, "in their shape").float()

    def graphs(self) -> Graphs:
        """Return the network: what it is shown, and what it answers."""
        seen = Port("x", "noisy images, x_t / hypot(alpha, sigma), of images in [-1, 1]", self.shape)
        kind = "class" if self.clusters is None else "cluster"
        level = Port("log_snr", "2 log(alpha / sigma), the noise level of each image")
        label = Port("label", f"the {kind} of each image, or {self.options.classes} for any", (), "int64")
        answer = Port("prediction", f"the target {self.options.target} of each pixel", self.shape)
        inputs = (seen, level, label) if self.options.classes else (seen, level)
        return {"network": Graph(self.network, inputs, (answer,))}

    def losses(self, images: Images, labels: Int64[Tensor, " b"], progress: float = 1.0) -> Losses:
        """Return the weighted squared error of the target, a pixel, and that of the noise it implies.

        Timesteps are stratified: one from each of as many equal parts of their distribution as there are
        images.
        """
        return self._losses(images, self.shown(images, labels))

    def shown(self, images: Images, labels: Int64[Tensor, " b"]) -> Int64[Tensor, " b"] | None:
        """Return what the network is told of images, their labels or clusters; training hides some (alg. 1).

        Ho & Salimans 2022, "Classifier-free diffusion guidance". A network that knows neither hears nothing.
        """
        if not self.options.classes:
            return None
        own = labels if self.clusters is None else self.clusters.nearest(images)
        if not self.training:
            return own
        drawn = for_batch(len(own), lambda whole: torch.rand(whole, device=own.device))
        return own.masked_fill(drawn < self.options.drop_label, self.options.classes)

    def _losses(self, images: Images, labels: Labels | None) -> Losses:
        name, last = self.options.target, len(self.schedule) - 1
        known = () if self.spread is None else (self.spread,)
        t = TIMES[self.options.times](self.schedule, stratified(len(images)), *known)
        density = torch.ones_like(t) if self.spread is None else self.spread.density(t / last)
        levels = self.schedule.alpha(t), self.schedule.sigma(t)
        weight = WEIGHTS[self.options.weight](name, *levels, last * self.schedule.slope(t))
        # In float64 on the CPU up to here: not every device has float64.
        alpha, sigma, weight, density = (
            torch.stack((*levels, weight, density))
            .float()[..., None, None, None]
            .to(images.device, non_blocking=True)
        )
        clean = 2 * images - 1
        noise = self.noise_for(clean)
        x = alpha * clean + sigma * noise
        judged = self._judge(x, alpha, sigma, clean, weight / density, labels) if self.knows_values else None
        prediction = judged.mean if judged else self.predict(x, alpha, sigma, labels)
        error = weight * self.squared_error(prediction, clean, noise, alpha, sigma)
        if self.spread is not None and self.training:
            self.spread.see(t / last, error.detach().flatten(1).mean(1))
        weighted = (error / density).mean()
        implied = denoised(name, prediction.detach(), x, alpha, sigma).epsilon
        losses = {
            "loss": judged.loss if judged else weighted,
            "epsilon": (implied - noise).square().mean(),
        }
        if judged:
            losses["cross_entropy"] = judged.nats.mean()
        if judged and self.options.weight == "likelihood":
            losses["bits"] = weighted / math.log(2)  # a dimension, all of the bound but its ends
        return losses

    def noise_for(self, clean: Images) -> Images:
        """Draw the noise that training mixes into clean images; a variant may choose it by them."""
        return normal_like(clean)

    def squared_error(
        self, prediction: Images, clean: Images, noise: Images, alpha: Tensor, sigma: Tensor
    ) -> Images:
        """Return how wrong a prediction is, a pixel; a variant may hold more against it."""
        return (prediction - target(self.options.target, clean, noise, alpha, sigma)).square()

    def _judge(
        self, x: Images, alpha: Tensor, sigma: Tensor, clean: Images, weight: Tensor, labels: Labels | None
    ) -> Judged:
        """Return the loss of a network that knows values: the weighted error, and the cross-entropy."""
        truth = categorical.nearest(clean, self.options.values)
        with self.computing():
            return self.network.judge(
                *_seen(x, alpha, sigma), truth, weight.flatten(), self.options.cross_entropy, labels
            )

    def surprise(
        self, x: Images, t: float, clean: Int64[Tensor, "b c h w"], labels: Labels | None = None
    ) -> Float[Tensor, " b"]:
        """Return -log p(x_0 | x_t) of images, in nats, whose pixels are numbers of values.

        At timestep 0 this is the reconstruction term of the bound, by the exact decoder.

        Raises:
            UsageError: this model does not know values.
        """
        self._check_knows_values()
        with self.computing():
            found: Tensor = self.network.log_probability(*_seen(x, *self._levels(x, t)), clean, labels)
        return -found.flatten(1).sum(1)

    def log_probabilities(
        self, x: Images, t: float, labels: Labels | None = None
    ) -> Float[Tensor, "b c h w values"]:
        """Return log p(x_0 | x_t) of every value that a pixel may have, in nats: at timestep 0, the decoder.

        Raises:
            UsageError: this model does not know values.
        """
        self._check_knows_values()
        with self.computing():
            return self.network.log_probabilities(*_seen(x, *self._levels(x, t)), labels)

    def _check_knows_values(self) -> None:
        if not self.knows_values:
            raise UsageError("only a model with the target categorical says how likely a value is")

    def _levels(self, x: Images, t: float) -> Float[Tensor, "2 1 1 1 1"]:
        """Return alpha and sigma of a timestep, where the images are."""
        levels = torch.stack((self.schedule.alpha(t), self.schedule.sigma(t))).float()
        return levels.view(2, 1, 1, 1, 1).to(x.device, non_blocking=True)

    def denoise(self, x: Images, t: float, labels: Labels | None = None) -> Denoised:
        """Return the clean images and the noise that the network sees in images at timestep `t`."""
        alpha, sigma = self._levels(x, t)
        return self.separate(x, alpha, sigma, labels)

    def separate(self, x: Images, alpha: Tensor, sigma: Tensor, labels: Labels | None = None) -> Denoised:
        """Return the clean images and the noise in images of these noise levels, of whatever schedule."""
        return denoised(self.options.target, self.predict(x, alpha, sigma, labels), x, alpha, sigma)

    def guidance(self, how: Sampling) -> Guidance | None:
        """Return classifier-free guidance of the strength asked for; none without labels or clusters."""
        if not (classes := self.options.classes):
            return None
        return ClassifierFree(classes, how.guidance, how.guide_above, how.guide_below)

    def denoiser(self, request: Request, labels: Labels | None = None) -> Denoise:
        """Return what samplers call: guided first, then kept in range."""
        how = request.how
        guide = request.guide if request.guide is not None else self.guidance(how)
        own = self._autoguided(request)
        ancestral = "gradient" in SAMPLERS.parameters(how.sampler)
        denoise: Denoise = (
            (lambda x, t: own(x, t, labels))
            if guide is None or labels is None
            else guide.denoiser(own, labels, self.schedule, ancestral)
        )
        if how.threshold == "none":
            return denoise
        return samplers.thresholded(denoise, self.schedule, 0.995 if how.threshold == "dynamic" else None)

    def _autoguided(self, request: Request) -> Conditional:
        """Return `denoise`, or what it becomes beyond a weaker model."""
        how, weaker = request.how, request.weaker
        if weaker is None:
            return self.denoise

        def less(x: Images, t: float, labels: Labels | None) -> Denoised:
            known = labels if weaker.options.classes else None
            found: Denoised = weaker.separate(x, *self._levels(x, t), known)
            return found

        strength = within(how.autoguidance, self.schedule, how.guide_above, how.guide_below)
        return autoguided(self.denoise, less, strength)

    def request(self, *args: Any, weaker: Diffusion | None = None, **asked: Any) -> Request:
        """Return what to draw, as `Generator.request` does; `weaker` is the model that autoguidance takes.

        Raises:
            UsageError: there is no weaker model to go beyond, or it is of other images or labels.
        """
        request = super().request(*args, **asked)
        if (weaker is None) == bool(request.how.autoguidance):
            raise UsageError("`autoguidance` and the `weaker` model that it goes beyond belong together")
        if weaker is not None and (weaker.shape, weaker.classes) != (self.shape, self.classes):
            raise UsageError("the `weaker` model must be of the same images and labels as the model itself")
        if weaker is not None and not (weaker.clusters is None or weaker.clusters.agree(self.clusters)):
            raise UsageError("the `weaker` model must have the same clusters as the model itself, or none")
        return replace(request, weaker=weaker)

    def settle(self, join: Join) -> None:
        """Learn from the errors of the whole batch where to look, if the noise levels adapt."""
        if self.spread is not None:
            self.spread.settle(join)

    def compiled_losses(self) -> Callable[..., Losses]:
        """Return `losses` with the network compiled; the noise levels are chosen outside it, on the CPU."""
        (self.network.network if self.knows_values else self.network).compile(dynamic=False)
        return self.losses

    def prior(self, seed: int, count: int = 1, first: int = 0) -> Images:
        """Draw the noise that samples `first` … `first + count - 1` under `seed` start from."""
        return self._noise(SampleNoise(seed, first, count, self.device))

    def _noise(self, noise: SampleNoise) -> Images:
        # Not every schedule ends in pure noise of variance 1.
        return self.schedule.sigma(len(self.schedule) - 1).item() * noise.normal(*self.shape)

    def how(self, how: Options | None = None, /, **options: Any) -> Any:
        """Return how to sample, as `Generator.how`; a model without labels or clusters is not guided by them.

        Raises:
            UsageError: as `Generator.how`, or for such guidance other than the default of the family.
        """
        chosen = super().how(how, **options)
        if self.options.classes or not chosen.guidance:
            return chosen
        if chosen.guidance != type(chosen)().guidance:
            raise UsageError(
                f"this {self.family} has no labels and no clusters to guide by: leave `guidance` out, or "
                "take a model that has"
            )
        return chosen.replace({"guidance": 0.0})

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
            for t in spaced(self.schedule, how.steps, how.spacing, how.last_timestep)
            if t == CLEAN or all(abs(t - other) >= 1 for other in visit)
        ]
        return sorted({*chosen, *visit}, reverse=True)

    def _steps(
        self,
        request: Request,
        x: Images,
        timesteps: list[float],
        noise: SampleNoise,
        labels: Labels | None,
    ) -> Iterator[Step]:
        """Run the sampler that is asked for, with those further settings that it takes."""
        how, guide = request.how, request.guide
        settings: dict[str, Any] = {"eta": how.eta, "variance": how.variance}
        settings["noise"] = lambda: how.temperature * noise.normal(*self.shape)
        if guide is not None and labels is not None:
            settings["gradient"] = guide.gradient(labels, self.schedule)
        taken = SAMPLERS.parameters(how.sampler)
        settings = {name: value for name, value in settings.items() if name in taken}
        denoise = self.denoiser(request, labels)
        steps = SAMPLERS[how.sampler](denoise, x, self.schedule, timesteps, **settings)
        step = None
        for step in steps if isinstance(steps, Iterator) else ():
            _check_step(step, x, how.sampler)
            yield step
        _check_step(step, x, how.sampler)  # there was one

    @torch.no_grad()
    def walk(self, request: Request, first: int, count: int, visit: Sequence[float] = ()) -> Iterator[Step]:
        """Yield every step of images `first` … `first + count - 1`; `visit` adds to the sampler's timesteps.

        Raises:
            UsageError: there is no such timestep.
        """
        noise = SampleNoise(request.seed, first, count, self.device)
        labels = self.condition(request, first, count)
        x, timesteps = request.how.temperature * self._noise(noise), self.timesteps(request.how, visit)
        last = len(timesteps) - 1  # CLEAN is where the last step ends
        steps = self._steps(request, x, timesteps, noise, labels)
        for number, step in enumerate(steps, 1):
            yield step
            request.watch(number / last)

    def condition(
        self, request: Request, first: int, count: int, images: UInt8[Tensor, "count h w *rgb"] | None = None
    ) -> Int64[Tensor, " count"] | None:
        """Return the labels asked for or, with clusters, those of `images`, or those that are dealt."""
        labels = super().condition(request, first, count)
        if labels is not None or self.clusters is None:
            return labels
        if images is not None:
            return self.clusters.nearest(scale(images.to(self.device)))
        return self.clusters.deal(request.seed, first, count)

    def draw(self, request: Request, first: int, count: int) -> Float[Tensor, "count c h w"]:
        """Draw images in one batch, as pixels in [0, 1]; who watches is called after every step."""
        for step in self.walk(request, first, count):
            x: Tensor = step.x
        return (x + 1) / 2

    @torch.inference_mode()
    def frames(self, request: Request, num: int) -> Iterator[Frame]:
        """Yield the reverse process in some frames: less noise, more image."""
        last = len(self.timesteps(request.how)) - 1
        stride = -(-last // _FRAMES)
        for number, step in enumerate(self.trace(request, num)):
            if number % stride == 0 or number == last:
                yield Frame(step.moment, quantise((step.x + 1) / 2).cpu())

    @torch.inference_mode()
    def trace(self, request: Request, num: int, visit: Sequence[float] = ()) -> Iterator[Step]:
        """Yield x_t and what is predicted from it, at every timestep of the sampler and at those in `visit`.

        The first is the noise, the last, at `CLEAN`, the image itself.
        """
        t = self.timesteps(request.how, visit)[0]
        x = request.how.temperature * self.prior(request.seed, num)
        for step in self.walk(request, 0, num, visit):
            yield Step(t, x, step.x0)
            t, x = step.t, step.x
        yield Step(t, x, x)

    def complete(
        self,
        image: UInt8[Tensor, "h w *rgb"],
        hidden: Bool[Tensor, "rows columns"],
        num: int = 8,
        seed: int = 0,
        *,
        resample: int = RESAMPLE,
        batch_size: int = 64,
        **asked: Any,
    ) -> UInt8[Tensor, "num h w *rgb"]:
        """Draw what is hidden of an image, `num` times; the rest stays as it is, to the grey level.

        Replacement with resampling (Lugmayr et al. 2022, "RePaint"). Completion k depends on `seed` and k.

        Args:
            image: bytes, of the model's shape.
            hidden: which pixels to draw.
            num: how many completions.
            seed: fixes them all.
            resample: how often each step is taken, so that what is drawn comes to agree with what is known.
            batch_size: how many to draw at a time; changes nothing else.
            asked: what else `request` takes; without `labels` a model with labels takes the null label, and
                without `how` it is sampled as `Sampling.completing` has it.

        Raises:
            UsageError: the image is not of the model's shape, or all or nothing of it is hidden, or an
                argument makes no sense.
        """
        check_whole("resample", resample, 1)
        if asked.get("how") is None:
            rest = {name: asked.pop(name) for name in _ASKED if name in asked}
            asked = {**rest, "how": type(self.how()).completing(**asked)}
        request = self.request(seed, **asked)
        clean = self._known(image)
        if hidden.shape != clean.shape[2:]:
            raise UsageError(
                f"`hidden` is {list(hidden.shape)}: it must say of each pixel, {list(clean.shape[2:])}, "
                "whether it is hidden"
            )
        if hidden.all() or not hidden.any():
            raise UsageError("`hidden` must leave some pixels to be seen, and hide others")
        place = hidden.to(self.device).expand(1, 1, *hidden.shape)
        timesteps = self.timesteps(request.how)

        def walk(noise: SampleNoise, labels: Labels | None) -> Iterator[Step]:
            x = request.how.temperature * self._noise(noise)
            return inpainting.repaint(
                lambda x, pair: self._steps(request, x, [*pair], noise, labels), x, self.schedule, timesteps,
                clean.expand_as(x), place, lambda: noise.normal(*self.shape), resample,
            )  # fmt: skip

        return self._changed(request, num, batch_size, len(timesteps) - 1, walk)

    def edit(
        self,
        image: UInt8[Tensor, "h w *rgb"],
        strength: float = STRENGTH,
        num: int = 8,
        seed: int = 0,
        *,
        batch_size: int = 64,
        **asked: Any,
    ) -> UInt8[Tensor, "num h w *rgb"]:
        """Draw images like one that is given: noise is added to it, and taken away again (Meng et al. 2022).

        Args:
            image: bytes, of the model's shape.
            strength: how far into the noise to go, as a share of the timesteps; of 1 nothing is left.
            num: how many.
            seed: fixes them all.
            batch_size: how many to draw at a time; changes nothing else.
            asked: what else `request` takes; without `labels` a model with labels takes the null label.

        Raises:
            UsageError: the image is not of the model's shape, or an argument makes no sense.
        """
        if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= 1:
            raise UsageError(f"`strength` must be above 0, and 1 at most, not {strength!r:.60}")
        request = self.request(seed, **asked)
        clean = self._known(image)
        timesteps = inpainting.sooner(self.timesteps(request.how), strength)

        def walk(noise: SampleNoise, labels: Labels | None) -> Iterator[Step]:
            drawn = request.how.temperature * noise.normal(*self.shape)
            x = noisy(clean.expand_as(drawn), self.schedule, timesteps[0], drawn)
            return self._steps(request, x, timesteps, noise, labels)

        return self._changed(request, num, batch_size, len(timesteps) - 1, walk)

    def _known(self, image: UInt8[Tensor, "h w *rgb"]) -> Float[Tensor, "1 c h w"]:
        """Return an image in [-1, 1]. Raises UsageError if it is not of the model's shape."""
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim not in (2, 3):
            raise UsageError(
                "`image` must be a tensor of bytes, [height, width] or in colour [height, width, 3]"
            )
        clean = 2 * scale(image[None].to(self.device)) - 1
        if clean.shape[1:] != self.shape:
            given, wanted = (" x ".join(map(str, form)) for form in (clean.shape[1:], self.shape))
            raise UsageError(f"the `image` is {given}, and the model's are {wanted}")
        return clean

    @torch.inference_mode()
    def _changed(
        self,
        request: Request,
        num: int,
        batch_size: int,
        count: int,
        walk: Callable[[SampleNoise, Labels | None], Iterator[Step]],
    ) -> UInt8[Tensor, "num h w *rgb"]:
        """Draw `num` images by walks of so many steps; who watches hears of each."""
        check_whole("num", num, 1)
        check_whole("batch_size", batch_size, 1)
        found = []
        for first in range(0, num, batch_size):
            size = min(batch_size, num - first)
            noise = SampleNoise(request.seed, first, size, self.device)
            labels = request.sequence(first, size, self.device) if request.labels else None
            for number, step in enumerate(walk(noise, labels), 1):
                x: Images = step.x
                request.watch((first + size * number / count) / num)
            found.append(quantise((x + 1) / 2).cpu())
        return torch.cat(found)

    @torch.inference_mode()
    def embed(
        self, images: UInt8[Tensor, "b h w *rgb"], labels: Labels | None = None, steps: int = 64
    ) -> Images:
        """Return the noise from which the probability-flow ODE comes to these images (Song et al. 2021, 4.3).

        The same ODE that sampling without guidance follows, solved backwards. It starts from images with a
        little noise, the same each time: the background of a digit is exactly black, and from a place without
        any width no ODE comes to noise of width 1.
        """
        first = self.schedule.timestep(_EMBEDDED).item()
        clean, noise = 2 * scale(images.to(self.device)) - 1, SampleNoise(0, 0, len(images), self.device)
        x = self.schedule.alpha(first).item() * clean
        x = x + self.schedule.sigma(first).item() * noise.normal(*self.shape)
        timesteps = [t for t in reversed(spaced(self.schedule, steps, "trailing")) if t > first + 1]
        denoise = functools.partial(self.denoise, labels=labels)
        *_, last = samplers.heun(denoise, x, self.schedule, [first, *timesteps])
        return last.x

    @torch.inference_mode()
    def decode(self, noise: Images, labels: Labels | None = None, request: Request | None = None) -> Images:
        """Follow the probability-flow ODE from noise to images in [0, 1], of these labels if any.

        By default the sampler is `dpm-solver`, whichever else suits the model.

        Raises:
            UsageError: the sampler draws noise on its way, so that its end is no function of its start.
        """
        request = request or self.request(how=self.deterministic())
        request.how.check_no_noise()
        none, timesteps = SampleNoise(0, 0, 1, self.device), self.timesteps(request.how)
        images = []
        for first in range(0, len(noise), _DECODED):
            batch = slice(first, first + _DECODED)
            own = None if labels is None else labels[batch].to(self.device)
            *_, last = self._steps(request, noise[batch].to(self.device), timesteps, none, own)
            images.append(((last.x + 1) / 2).clamp(0, 1))
        return torch.cat(images)


def _seen(x: Images, alpha: Tensor, sigma: Tensor) -> tuple[Images, Float[Tensor, " levels"]]:
    """Return noisy images as a network sees them, variance preserving, and their log-SNRs."""
    return x / torch.hypot(alpha, sigma), 2 * (alpha / sigma).log().flatten()


def _check_step(step: object, x: Images, sampler: str) -> None:
    if not isinstance(step, Step) or step.x.shape != x.shape:
        raise UsageError(
            f"the `sampler` {sampler} must be a generator that yields a Step, with images of "
            f"{list(x.shape)}, for every two neighbouring timesteps"
        )
