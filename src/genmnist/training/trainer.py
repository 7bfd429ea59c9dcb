"""The training loop of every model: a generator of events, to which bars, files and pictures listen.

Every random number of a run is a function of the seed and of what it is for: the order of epoch e, the
noise of step s. So a listener can do as it likes without changing what is learned, and a run resumes
exactly from its weights, its optimiser and the number of its step.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genmnist.data import Splits
from genmnist.errors import GenmnistError, UsageError
from genmnist.models import Model
from genmnist.presets import Recipe
from genmnist.randomness import reseed
from genmnist.training import optimizers
from genmnist.training.optimizers import LossScale

_CHECK_EVERY = 50  # steps between looks at the loss; each look makes a GPU wait
_VALIDATION_BATCH = 1000


@dataclass(frozen=True)
class Step:
    """One step was taken; `loss` is still on the device."""

    step: int
    loss: Tensor


@dataclass(frozen=True)
class Epoch:
    """One epoch is over (or the run is, part of the way through one); these are its metrics."""

    metrics: dict[str, float]


Event = Step | Epoch


class Trainer:
    """A model, its data and its recipe, and all that changes while the one learns from the other."""

    def __init__(
        self,
        model: Model,
        data: Splits,
        recipe: Recipe,
        *,
        steps: int | None = None,
        seed: int = 0,
        compiled: bool = False,
    ) -> None:
        self.model, self.recipe, self.seed = model.train(), recipe, seed
        self.data = data.to(model.device)
        self.steps_per_epoch = -(-len(data.train) // recipe.batch_size)
        self.steps = steps if steps is not None else round(recipe.epochs * self.steps_per_epoch)
        if self.steps < 1:
            raise UsageError("a run must have a step or more: raise --epochs, --steps or --budget")
        self.optimizer = optimizers.build(model, recipe)
        self.average = copy.deepcopy(model).requires_grad_(False).eval() if recipe.ema else None
        self._averages: list[Tensor] = list(self.average.parameters()) if self.average is not None else []
        self.scale = LossScale(enabled=model.precision.name == "float16")
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        # The sum of the losses since the epoch began, over so many steps and seconds.
        self._running = torch.zeros((), device=model.device)
        self._count, self._epoch_seconds = 0, 0.0
        self._losses = model.compiled_losses() if compiled else model.losses

    @property
    def result(self) -> Model:
        """Return the model worth keeping: the averaged weights where the recipe averages them."""
        return self.average if self.average is not None else self.model

    def train(self) -> Iterator[Event]:
        """Train to the last step, from wherever this trainer is. Yields an event after each thing done.

        Raises:
            GenmnistError: the loss is no longer finite.
        """
        while True:
            if self._count and (self.step % self.steps_per_epoch == 0 or self.step >= self.steps):
                yield Epoch(self._close_epoch())
            if self.step >= self.steps:
                return
            epoch, position = divmod(self.step, self.steps_per_epoch)
            batches = self.data.train.order(self.seed, epoch).split(self.recipe.batch_size)
            for index in batches[position : position + self.steps - self.step]:
                started = time.perf_counter()
                loss = self._advance(index)
                self._tick(time.perf_counter() - started)
                yield Step(self.step, loss)

    def _advance(self, index: Tensor) -> Tensor:
        """Take one step of the optimiser, on the images at `index`."""
        reseed(self.model.device, self.seed, "step", self.step)
        with self.model.precision.products():
            loss = self._losses(*self.data.train.batch(index), self.step / self.steps)["loss"]
            self.scale.backward(loss)
        if self.scale.unscale(self.optimizer.weights):
            if self.recipe.clip:
                torch.nn.utils.clip_grad_norm_(self.optimizer.weights, self.recipe.clip)
            self.optimizer.step(self.recipe.rate(self.step, self.steps))
        for weight in self.optimizer.weights:
            weight.grad = None
        if self._averages:
            # Early on the average is short, or it would remember the random weights it started from.
            decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(
                self._averages, [weight.detach() for weight in self.optimizer.weights], 1 - decay
            )
        self.step += 1
        loss = loss.detach()
        self._running += loss
        self._count += 1
        if self.step % _CHECK_EVERY == 0:
            self.check()
        return loss

    def _tick(self, seconds: float) -> None:
        self.seconds += seconds
        self._epoch_seconds += seconds

    def _close_epoch(self) -> dict[str, float]:
        started = time.perf_counter()
        self.check()  # waits for a GPU, whose work counts as training
        self._tick(time.perf_counter() - started)
        started = time.perf_counter()
        validation = self.validate()
        self.seconds += time.perf_counter() - started
        seen = min(self._count * self.recipe.batch_size, len(self.data.train))
        metrics: dict[str, float] = {
            "epoch": len(self.history) + 1,
            "step": self.step,
            "train_loss": self._running.item() / self._count,
            **{f"val_{name}": value for name, value in validation.items()},
            "lr": self.recipe.rate(self.step - 1, self.steps),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(seen / self._epoch_seconds, 1),
        }
        self.history.append(metrics)
        self._running.zero_()
        self._count, self._epoch_seconds = 0, 0.0
        return metrics

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the losses of the weights worth keeping on test images, with noise that never changes."""
        model, test = self.result, self.data.test
        training = model.training
        model.eval()
        reseed(model.device, 0, "validation")
        sums: dict[str, float] = {}
        chosen = torch.arange(0, len(test), model.validation_stride, device=model.device)
        for index in chosen.split(_VALIDATION_BATCH):
            for name, value in model.losses(*test.batch(index)).items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(index)
        model.train(training)
        return {name: total / len(chosen) for name, total in sums.items()}

    def check(self) -> None:
        """Raise GenmnistError if a loss since the epoch began was not finite."""
        if not math.isfinite(self._running.item()):
            raise GenmnistError(
                f"the loss is no longer finite at step {self.step}: lower --lr or take --precision float32 "
                "(the last good state is kept)"
            )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that resuming needs: tensors by name, and JSON values."""
        self.check()
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state()}
        tensors["running"] = self._running
        values = {
            "step": self.step,
            "steps": self.steps,
            "seconds": self.seconds,
            "count": self._count,
            "epoch_seconds": self._epoch_seconds,
            "history": self.history,
            "scale": [self.scale.scale, self.scale.good],
        }
        return tensors, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on from where `state` was taken.

        Raises:
            ValueError, KeyError, RuntimeError: it is not the state of such a run.
        """

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        if self.average is not None:
            self.average.load_state_dict(part("average."))
        self.optimizer.load_state(part("optimizer."))
        self._running.copy_(tensors["running"])
        history, count = values["history"], values["count"]
        expected = {"epoch", "step", "train_loss", "val_loss", "lr", "seconds", "images_per_second"}
        if not all(
            expected <= line.keys() and all(type(v) in (int, float) for v in line.values())
            for line in history
        ):
            raise ValueError("its history is not one of epochs")
        if values["steps"] != self.steps or not 0 <= values["step"] <= self.steps:
            raise ValueError("it is of a run of another length")
        if not 0 <= count <= self.steps_per_epoch or (
            values["step"] == self.steps and not count and not history
        ):
            raise ValueError("its epochs do not fit its steps")
        self.step = int(values["step"])
        self.seconds, self._epoch_seconds = float(values["seconds"]), float(values["epoch_seconds"])
        self._count, self.history = int(count), list(history)
        self.scale.scale, self.scale.good = values["scale"]
