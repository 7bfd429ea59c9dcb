"""The training loop of every model: a generator of events, to which bars, files and pictures listen.

Every random number of a run is a function of the seed and of what it is for: the order of epoch e, the
noise of step s. So a listener can do as it likes without changing what is learned, and a run resumes
exactly from its weights, its optimisers' memory and the number of its step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from genmnist.data import Splits
from genmnist.device import products
from genmnist.errors import GenmnistError, UsageError
from genmnist.families.length import Plan
from genmnist.families.recipe import Recipe
from genmnist.models import Model
from genmnist.randomness import reseed
from genmnist.runs.documents import EpochMetrics, Progress
from genmnist.training import optimizers
from genmnist.training.averages import WarmAverage

_CHECK_EVERY = 50  # steps between looks at the loss; each look makes a GPU wait
_VALIDATION_BATCH = 1000
_SHORT, _PARTS, _PART = 2, 8, 100  # a run of less than two epochs has metrics eight times, or each 100 steps
_LEAST_SCALE = 2.0**-14  # of a float16 loss; below it, no scale will do


@dataclass(frozen=True)
class StepEnd:
    """One step was taken; `loss` is still on the device."""

    step: int
    loss: Tensor


@dataclass(frozen=True)
class EpochEnd:
    """One epoch is over (or the run is, or a part of a run that is short); these are its metrics."""

    metrics: EpochMetrics


Event = StepEnd | EpochEnd


class Trainer:
    """A model, its data and its recipe, and all that changes while the one learns from the other.

    It learns from `data.train` and is judged on `data.validation`; test images it never sees.

    Attributes:
        plan: how many steps there are; it may be replaced on the way, by one that `plan.correct` returns.
        threads: from which step on it has computed with how many threads.
    """

    def __init__(
        self,
        model: Model,
        data: Splits,
        recipe: Recipe,
        *,
        steps: int | str | Plan | None = None,
        seed: int = 0,
        compiled: bool = False,
    ) -> None:
        self.model, self.recipe, self.seed = model.train(), recipe, seed
        model.begin(data.train.images)
        self.device = model.device
        self.train_set, self.validation_set = data.train.to(self.device), data.validation.to(self.device)
        self.steps_per_epoch = math.ceil(len(self.train_set) / recipe.batch_size)
        planned = round(recipe.epochs * self.steps_per_epoch) if steps is None else steps
        if planned == 0:
            raise UsageError("a run must have a step or more: raise `epochs`, `steps` or `budget`")
        self.plan = Plan.of(planned)
        short = (at_first := self.plan.parts[0][1]) < _SHORT * self.steps_per_epoch
        # Steps from one line of metrics to the next.
        self._part = max(_PART, math.ceil(at_first / _PARTS)) if short else self.steps_per_epoch
        self.threads: list[tuple[int, int]] = []
        self.optimizers = optimizers.build(model, recipe, channels=model.shape[0])
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.average = WarmAverage(model, recipe.ema) if recipe.ema else None
        # Without a factor on the loss float16 gradients underflow (Micikevicius et al. 2018, section 3.2).
        self.scaler = torch.amp.GradScaler(
            self.device.type, growth_interval=1000, enabled=model.precision == "float16"
        )
        self.step, self.seconds = 0, 0.0
        self.history: list[EpochMetrics] = []
        # The sum of the losses since the epoch began, over so many steps and seconds.
        self._running = torch.zeros((), device=self.device)
        self._count, self._epoch_seconds = 0, 0.0
        self._losses = model.compiled_losses() if compiled else model.losses

    @property
    def steps(self) -> int:
        """Return how many steps the run has."""
        return self.plan.steps

    @property
    def result(self) -> Model:
        """Return the model worth keeping: the averaged weights where the recipe averages them."""
        if self.average is None:
            return self.model
        return cast("Model", self.average.module)

    def train(self) -> Iterator[Event]:
        """Train to the last step, from wherever this trainer is. Yields an event after each thing done.

        Raises:
            GenmnistError: the loss is no longer finite.
        """
        while True:
            if self._count and self._part_is_over():
                yield EpochEnd(self._close_epoch())
            if self.step >= self.steps:
                return
            epoch, position = divmod(self.step, self.steps_per_epoch)
            batches = self.train_set.order(self.seed, epoch).split(self.recipe.batch_size)
            for index in batches[position:]:
                started = time.perf_counter()
                loss = self._advance(index)
                self._tick(time.perf_counter() - started)
                yield StepEnd(self.step, loss)
                if self._part_is_over():
                    break

    def _part_is_over(self) -> bool:
        whole = self.step % self.steps_per_epoch == 0
        return whole or self._count >= self._part or self.step >= self.steps

    def _advance(self, index: Tensor) -> Tensor:
        """Take one step of the optimisers, on the images at `index`."""
        reseed(self.device, self.seed, "step", self.step)
        place, steps = self.plan.place(self.step)
        with products(self.device, self.model.precision):
            loss = self._losses(*self.train_set.batch(index), place / steps)["loss"]
            self.scaler.scale(loss).backward()
        if self.scaler.is_enabled():
            self._agree_on_overflow()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        if self.recipe.clip:
            torch.nn.utils.clip_grad_norm_(self.weights, self.recipe.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.rate(place, steps)
            self.scaler.step(optimizer)  # unless a gradient overflowed
            optimizer.zero_grad()
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if (threads := torch.get_num_threads()) != (self.threads[-1][1] if self.threads else 0):
            self.threads.append((self.step, threads))
        self.step += 1
        loss = loss.detach()
        self._running += loss
        self._count += 1
        if self.step % _CHECK_EVERY == 0:
            self.check()
        return loss

    def _agree_on_overflow(self) -> None:
        """Let every optimiser see an overflow that one of them would: the scaler asks each for itself.

        Else one would take a step that another leaves out, with gradients that clipping by their common norm
        has made NaN.
        """
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if not torch.stack([gradient.norm() for gradient in gradients]).isfinite().all():
            for gradient in gradients:
                gradient.fill_(math.inf)

    def _tick(self, seconds: float) -> None:
        self.seconds += seconds
        self._epoch_seconds += seconds

    def _close_epoch(self) -> EpochMetrics:
        started = time.perf_counter()
        self.check()  # waits for a GPU, whose work counts as training
        self._tick(time.perf_counter() - started)
        started = time.perf_counter()
        losses = self.validate()
        self.seconds += time.perf_counter() - started
        seen = min(self._count * self.recipe.batch_size, len(self.train_set))
        epochs, rest = divmod(self.step, self.steps_per_epoch)
        metrics = EpochMetrics(
            epoch=round(self.step / self.steps_per_epoch, 4) if rest else epochs,
            step=self.step,
            train_loss=self._running.item() / self._count,
            val_loss=losses.pop("loss"),
            losses=losses,
            lr=self.recipe.rate(*self.plan.place(self.step - 1)),
            seconds=round(self.seconds, 3),
            images_per_second=round(seen / self._epoch_seconds, 1),
        )
        self.history.append(metrics)
        self._running.zero_()
        self._count, self._epoch_seconds = 0, 0.0
        return metrics

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the losses of the weights worth keeping on validation images, with noise that never changes.

        They are spread evenly over the set where the model asks for no more than some of it.
        """
        model, images = self.result, self.validation_set
        training = model.training
        model.eval()
        reseed(self.device, 0, "validation")
        stride = math.ceil(len(images) / (model.validation_images or len(images)))
        chosen = torch.arange(0, len(images), stride, device=self.device)
        sums: dict[str, float] = {}
        for index in chosen.split(_VALIDATION_BATCH):
            for name, value in model.losses(*images.batch(index)).items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(index)
        model.train(training)
        return {name: total / len(chosen) for name, total in sums.items()}

    def check(self) -> None:
        """Raise GenmnistError if a loss since the epoch began was not finite, or no gradient can be used."""
        if not math.isfinite(self._running.item()):
            raise GenmnistError(
                f"the loss is no longer finite at step {self.step}: lower `lr` or take `precision` float32 "
                "(the last good state is kept)"
            )
        if self.scaler.get_scale() < _LEAST_SCALE:
            raise GenmnistError(
                "the gradients overflow at any scale: lower `lr` or take `precision` float32 "
                "(the last good state is kept)"
            )

    def state(self) -> tuple[dict[str, Tensor], Progress]:
        """Return all that resuming needs: tensors by name, which go on changing, and the rest.

        Raises:
            GenmnistError: as `check`.
        """
        self.check()
        scale = self.scaler.state_dict()
        return self._tensors(), Progress(
            step=self.step,
            steps=self.steps,
            seconds=self.seconds,
            count=self._count,
            epoch_seconds=self._epoch_seconds,
            history=[*self.history],
            threads=[*self.threads],
            scale=(scale["scale"], scale["_growth_tracker"]) if scale else None,
        )

    def load_state(self, tensors: dict[str, Tensor], progress: Progress) -> None:
        """Go on from where `state` was taken, to the bit.

        Raises:
            ValueError: it is not the state of such a run; nothing has changed then.
        """
        own = self._tensors()
        if {k: (v.shape, v.dtype) for k, v in own.items()} != {
            k: (v.shape, v.dtype) for k, v in tensors.items()
        }:
            raise ValueError("its tensors are of another model or another optimiser")
        if progress.steps not in {steps for _, steps in self.plan.parts} or progress.step > self.steps:
            raise ValueError("it is of a run of another length")
        closed = progress.history[-1].step if progress.history else 0
        if progress.count != progress.step - closed or not progress.count <= self._part:
            raise ValueError("its epochs do not fit its steps")
        if (progress.scale is not None) != self.scaler.is_enabled():
            raise ValueError("it is of a run of another precision")
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
        if progress.scale is not None:
            scale, growth = progress.scale
            state = {"scale": scale, "_growth_tracker": growth}
            self.scaler.load_state_dict(self.scaler.state_dict() | state)
        self.step, self.seconds = progress.step, progress.seconds
        self._count, self._epoch_seconds = progress.count, progress.epoch_seconds
        self.history, self.threads = [*progress.history], [*progress.threads]

    def _tensors(self) -> dict[str, Tensor]:
        """Name every tensor that training changes."""
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "optimizer": optimizers.memory(self.optimizers),
        }
        named = {f"{part}.{name}": tensor for part, held in parts.items() for name, tensor in held.items()}
        return {**named, "running": self._running}
