"""The training loop of every model: a generator of events, to which bars, files and pictures listen.

Every random number of a run is a function of the seed and of what it is for: the order of epoch e, the
noise of step s. So a listener can do as it likes without changing what is learned, and a run resumes
exactly from its weights, its optimisers' memory and the number of its step.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from genmnist.data import Dataset, Splits
from genmnist.device import products
from genmnist.distributed import ALONE, Ranks
from genmnist.errors import DivergedError, GenmnistError, UsageError
from genmnist.families.length import Plan
from genmnist.families.recipe import Recipe
from genmnist.models import Model
from genmnist.randomness import reseed
from genmnist.runs.documents import EpochMetrics, Progress
from genmnist.shares import sharing
from genmnist.training import optimizers
from genmnist.training.averages import PowerAverage, WarmAverage

_CHECK_EVERY = 50  # steps between looks at the loss; each look makes a GPU wait
_VALIDATION_BATCH = 1000
_SHORT, _PARTS, _PART = 2, 8, 100  # a run of less than two epochs has metrics eight times, or each 100 steps
_LEAST_SCALE = 2.0**-14  # of a float16 loss; below it, no scale will do


@dataclass(frozen=True)
class StepEnd:
    """One step was taken; `loss`, of the images that this process saw, is still on the device."""

    step: int
    loss: Tensor


@dataclass(frozen=True)
class EpochEnd:
    """One epoch is over (or the run is, or a part of a run that is short); these are its metrics."""

    metrics: EpochMetrics


@dataclass(frozen=True)
class Remark:
    """Something was out of the ordinary; whoever shows a run should say this sentence."""

    sentence: str


Event = StepEnd | EpochEnd | Remark


class _Loss(nn.Module):
    """A model as the loss that it is trained by, in the form in which gradients are shared."""

    def __init__(self, model: Model, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self.forward = loss


def _check_shared(model: Model, recipe: Recipe, ranks: Ranks) -> None:
    """Raise UsageError unless batches can be shared so, and gone through in parts."""
    if ranks.size > recipe.batch_size:
        raise UsageError(
            f"{ranks.size} processes cannot share batches of {recipe.batch_size} images: raise `batch_size`, "
            "or start fewer"
        )
    if recipe.accumulate * ranks.size > recipe.batch_size:
        raise UsageError(
            f"a batch of {recipe.batch_size} images has no {recipe.accumulate} parts"
            f"{f' for each of {ranks.size} processes' if ranks.size > 1 else ''}: lower `accumulate`"
        )
    if recipe.accumulate > 1 and model.needs_whole_batch:
        raise UsageError(
            "`accumulate` cannot part a batch whose loss is of all of it, as `free_bits` make it"
        )


class Trainer:
    """A model, its data and its recipe, and all that changes while the one learns from the other.

    It learns from `data.train` and is judged on `data.validation`; test images it never sees. Where several
    `ranks` train, each has such a trainer and goes through its loop: batches are shared between them, and
    whatever else they hold is the same.

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
        ranks: Ranks = ALONE,
    ) -> None:
        _check_shared(model, recipe, ranks)
        self.model, self.recipe, self.seed, self.ranks = model.train(), recipe, seed, ranks
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
        # Of these snapshots are kept, for an average whose length is chosen after the training.
        self.powers = [PowerAverage(model, length) for length in recipe.averages]
        # Without a factor on the loss float16 gradients underflow (Micikevicius et al. 2018, section 3.2).
        self.scaler = torch.amp.GradScaler(
            self.device.type, growth_interval=1000, enabled=model.precision == "float16"
        )
        self.step, self.seconds = 0, 0.0
        self.history: list[EpochMetrics] = []
        # The sum of the losses since the epoch began, over so many steps and seconds; of several ranks each
        # has what its images contribute.
        self._running = torch.zeros((), device=self.device)
        self._count, self._epoch_seconds = 0, 0.0
        self._losses = model.compiled_losses() if compiled else model.losses
        self._shared: Callable[..., Tensor] | None = None  # the same, its gradients averaged over all ranks

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

    @property
    def snapshot_is_due(self) -> bool:
        """Tell whether the step just taken is one after which a snapshot of the averages is kept."""
        return self.plan.ends_part(self.step, self.recipe.snapshots)

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
        place, steps = self.plan.place(self.step)
        if self.ranks.size == self.recipe.accumulate == 1:
            loss = self._differentiate(self._loss, index, place / steps)
            self._running += loss
        else:
            loss = self._share(index, place / steps)
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
        for average in (*([self.average] if self.average is not None else []), *self.powers):
            average.update_parameters(self.model)
        if (threads := torch.get_num_threads()) != (self.threads[-1][1] if self.threads else 0):
            self.threads.append((self.step, threads))
        self.step += 1
        self._count += 1
        if self.step % _CHECK_EVERY == 0:
            self.check()
        return loss

    def _loss(self, *batch: Any) -> Tensor:
        return self._losses(*batch)["loss"]

    def _differentiate(
        self, losses: Callable[..., Tensor], index: Tensor, progress: float, weight: float | None = None
    ) -> Tensor:
        """Add the gradients of the loss on the images at `index`, times a weight, and return the loss."""
        reseed(self.device, self.seed, "step", self.step)
        with products(self.device, self.model.precision):
            loss = losses(*self.train_set.batch(index), progress)
            self.scaler.scale(loss if weight is None else loss * weight).backward()
        return loss.detach()

    def _share(self, index: Tensor, progress: float) -> Tensor:
        """Add the gradients of this process's share of a batch, part by part, and return its mean loss.

        Parts may differ in size, and processes average their gradients whatever their shares are: so each
        part is weighed by what it is of the whole.
        """
        losses = self._shared = self._shared or self._begin_sharing()
        shares = self.ranks.shares(len(index), self.recipe.accumulate)
        alone = getattr(losses, "no_sync", contextlib.nullcontext)
        contributed = torch.zeros_like(self._running)
        for part in shares:
            own = index[part.first : part.first + part.count]
            with (
                contextlib.nullcontext() if part is shares[-1] else alone(),
                sharing(part),
                self.ranks.answering(),
            ):
                weight = part.weight * self.ranks.size
                contributed += self._differentiate(losses, own, progress, weight) * part.weight
        self.model.settle(lambda rows: self.ranks.join(rows, shares))
        self._running += contributed
        return contributed / max(sum(part.weight for part in shares), 1 / len(index))

    def _begin_sharing(self) -> Callable[..., Tensor]:
        """Return the loss whose gradients are averaged over all processes.

        It is tried out first, and leaves nothing behind: the order in which gradients come, which is the one
        that they travel in from the second time on, must not depend on where a run was resumed; and nobody is
        to wait for the gradient of a weight that has none.
        """
        if self.ranks.size == 1:
            return self._loss
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        index = torch.arange(min(self.ranks.size, len(self.train_set)), device=self.device)

        def try_out(losses: Callable[..., Tensor]) -> bool:
            (share,) = shares = self.ranks.shares(len(index))
            with sharing(share), self.ranks.answering():
                self._differentiate(losses, index[share.first : share.first + share.count], 0.0)
            self.model.settle(lambda rows: self.ranks.join(rows, shares))
            unused = any(weight.grad is None for weight in self.weights)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            return unused

        shared = self.ranks.wrap(_Loss(self.model, self._loss), try_out(self._loss))
        try_out(shared)
        for name, buffer in self.model.named_buffers():
            buffer.copy_(before[name])
        return shared

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
            train_loss=self.ranks.total(self._running).item() / self._count,
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

    def validate(self) -> dict[str, float]:
        """Return the losses of the weights worth keeping on validation images; see `validate` below."""
        return validate(self.result, self.validation_set, self.ranks)

    def check(self) -> None:
        """Raise GenmnistError if a loss since the epoch began was not finite, or no gradient can be used."""
        if not math.isfinite(self.ranks.total(self._running).item()):
            raise DivergedError(
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
        tensors = self.tensors()
        if self.ranks.size > 1:
            tensors["running"] = torch.tensor(self.ranks.gather(self._running.item(), float))
        return tensors, Progress(
            step=self.step,
            steps=self.steps,
            seconds=self.seconds,
            count=self._count,
            epoch_seconds=self._epoch_seconds,
            history=[*self.history],
            threads=[*self.threads],
            scale=(scale["scale"], scale["_growth_tracker"]) if scale else None,
            ranks=self.ranks.size,
        )

    def load_state(self, tensors: dict[str, Tensor], progress: Progress) -> None:
        """Go on from where `state` was taken, to the bit.

        Raises:
            ValueError: it is not the state of such a run; nothing has changed then.
        """
        own = self.tensors()
        # Each process has a sum of losses of its own; where there are as many as there were, it goes on.
        if "running" in tensors:
            running = tensors["running"].flatten()
            if len(running) != progress.ranks:
                raise ValueError("its losses are of another number of processes")
            alike = len(running) == self.ranks.size
            contributed = running if alike else running.sum() * (torch.arange(self.ranks.size) == 0)
            tensors = tensors | {"running": contributed[self.ranks.rank]}
        forms, theirs = ({k: (v.shape, v.dtype) for k, v in held.items()} for held in (own, tensors))
        if forms != theirs:
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

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor that training changes."""
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            **{f"power{number}": average.state_dict() for number, average in enumerate(self.powers)},
            "optimizer": optimizers.memory(self.optimizers),
        }
        named = {f"{part}.{name}": tensor for part, held in parts.items() for name, tensor in held.items()}
        return {**named, "running": self._running}


@torch.no_grad()
def validate(model: Model, images: Dataset, ranks: Ranks = ALONE) -> dict[str, float]:
    """Return the losses of a model on images, with noise that never changes.

    They are spread evenly over the set where the model asks for no more than some of it.
    """
    training = model.training
    model.eval()
    reseed(model.device, 0, "validation")
    stride = math.ceil(len(images) / (model.validation_images or len(images)))
    chosen = torch.arange(0, len(images), stride, device=model.device)
    sums: dict[str, float] = {}
    for index in chosen.split(_VALIDATION_BATCH):
        (share,) = ranks.shares(len(index))
        own = index[share.first : share.first + share.count]
        with sharing(share), ranks.answering():
            for name, value in model.losses(*images.batch(own)).items():
                sums[name] = sums.get(name, 0.0) + value.item() * share.counted
    model.train(training)
    totals = ranks.total(torch.tensor([*sums.values()], dtype=torch.float64)).tolist()
    return {name: total / len(chosen) for name, total in zip(sums, totals, strict=True)}
