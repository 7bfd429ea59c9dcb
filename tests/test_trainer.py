"""The training loop: its events, its schedules, its average, and that restoring its state changes nothing."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from conftest import CPU, slow, weight
from genmnist.data import Dataset, Splits
from genmnist.errors import GenmnistError, UsageError
from genmnist.families import Recipe
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE, Diffusion
from genmnist.randomness import reseed
from genmnist.registry import FAMILIES
from genmnist.runs.documents import EpochMetrics, Progress
from genmnist.training import EpochEnd, StepEnd, Trainer
from genmnist.training import budget as budgets
from genmnist.training.averages import WarmAverage
from genmnist.training.budget import Budget

SMALL = {"hidden": 16, "latent": 4}
WITH_EVERYTHING = Recipe(
    epochs=2, optimizer="adamw", weight_decay=0.01, lr_schedule="cosine", warmup=0.1, clip=1.0, ema=0.99
)
TIMES = ("seconds", "images_per_second")


def make(
    few: Splits, recipe: Recipe = WITH_EVERYTHING, precision: str = "float32", **options: Any
) -> Trainer:
    reseed(CPU, 0)
    model = VAE(VAEOptions.of(SMALL))
    model.precision = precision
    return Trainer(model, few, recipe, **options)


def diffusion(few: Splits) -> Trainer:
    """A run of the recipe with Muon and an average."""
    reseed(CPU, 0)
    model = Diffusion(DiffusionOptions(size="tiny"))
    return Trainer(model, few, FAMILIES["ddpm"].presets["fast"].recipe, steps=20)


def halved(few: Splits, steps: int = 20) -> Trainer:
    """A run in float16, whose gradients first overflow, until the scale has come down."""
    reseed(CPU, 0)
    model = VAE(VAEOptions(network="conv", hidden=4, latent=4))
    model.precision = "float16"
    return Trainer(model, few, Recipe(lr=1e-3, optimizer="muon", clip=1.0), steps=steps)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.result.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def timeless(history: list[EpochMetrics]) -> list[dict[str, float]]:
    return [{k: v for k, v in line.flat().items() if k not in TIMES} for line in history]


def stopped(trainer: Trainer, step: int) -> tuple[dict[str, Tensor], Progress]:
    """Train to a step, and return the state as it comes back from a disk."""
    for event in trainer.train():
        if isinstance(event, StepEnd) and event.step == step:
            break
    tensors, progress = trainer.state()
    document = msgspec.json.encode(progress)
    return {name: tensor.clone() for name, tensor in tensors.items()}, msgspec.json.decode(
        document, type=Progress
    )


def test_the_loop_yields_steps_and_epochs(few: Splits) -> None:
    events = list(make(few).train())
    assert [event.step for event in events if isinstance(event, StepEnd)] == list(range(1, 17))
    epochs = [event.metrics for event in events if isinstance(event, EpochEnd)]
    assert [metrics.epoch for metrics in epochs] == [1, 2]
    assert epochs[0].losses.keys() == {"reconstruction", "kl"}
    assert epochs[1].val_loss < epochs[0].val_loss < 600
    assert isinstance(events[-1], EpochEnd)


def test_steps_may_end_within_an_epoch(few: Splits) -> None:
    trainer = make(few, steps=11)
    list(trainer.train())
    assert [metrics.step for metrics in trainer.history] == [8, 11]


def test_a_run_has_a_step_or_more(few: Splits) -> None:
    with pytest.raises(UsageError, match="raise `epochs`, `steps` or `budget`"):
        make(few, steps=0)


def test_training_depends_on_the_seed_alone(few: Splits) -> None:
    first, second, other = make(few), make(few), make(few, seed=1)
    for event in first.train():
        torch.rand(7)  # what a listener draws changes nothing
        del event
    list(second.train())
    list(other.train())
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


def test_only_training_images_train_and_only_validation_images_validate(few: Splits) -> None:
    """Test images of mere noise change not a bit of a run; such validation images its figures alone."""
    noise = Dataset("noise", torch.randint_like(few.test.images, 256), few.test.labels)
    plain, tested, validated = make(few), make(few._replace(test=noise)), make(few._replace(validation=noise))
    for trainer in (plain, tested, validated):
        list(trainer.train())
    assert same(weights(plain), weights(tested))
    assert same(weights(plain), weights(validated))
    assert timeless(plain.history) == timeless(tested.history)
    assert plain.history[-1].val_loss < validated.history[-1].val_loss


@pytest.mark.parametrize(("limit", "stride"), [(None, 1), (500, 1), (499, 2), (100, 5), (7, 72), (1, 500)])
def test_validation_images_are_spread_over_the_set(
    few: Splits, monkeypatch: pytest.MonkeyPatch, limit: int | None, stride: int
) -> None:
    seen: list[int] = []
    batch = Dataset.batch

    def noted(self: Dataset, index: Tensor) -> tuple[Tensor, Tensor]:
        seen.extend(index.tolist())
        return batch(self, index)

    monkeypatch.setattr(VAE, "validation_images", limit)
    trainer = make(few)
    monkeypatch.setattr(Dataset, "batch", noted)
    trainer.validate()
    assert seen == list(range(0, 500, stride))
    assert limit is None or len(seen) <= limit


@pytest.mark.parametrize("stop", [1, 7, 8, 9, 15])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_restored_trainer_ends_with_the_same_weights(few: Splits, stop: int, precision: str) -> None:
    uninterrupted = make(few, precision=precision)
    list(uninterrupted.train())
    second = make(few, precision=precision)
    second.load_state(*stopped(make(few, precision=precision), stop))
    list(second.train())
    assert same(weights(uninterrupted), weights(second))
    assert timeless(uninterrupted.history) == timeless(second.history)


def test_a_state_from_before_the_first_step_is_one_too(few: Splits) -> None:
    uninterrupted, second = make(few), make(few)
    second.load_state(*make(few).state())
    list(uninterrupted.train())
    list(second.train())
    assert same(weights(uninterrupted), weights(second))


def test_a_restored_diffusion_run_ends_with_the_same_weights(few: Splits) -> None:
    uninterrupted, second = diffusion(few), diffusion(few)
    list(uninterrupted.train())
    second.load_state(*stopped(diffusion(few), 13))
    list(second.train())
    assert same(weights(uninterrupted), weights(second))
    assert timeless(uninterrupted.history) == timeless(second.history)


@pytest.mark.slow
def test_float16_scales_its_loss_and_resumes(few: Splits) -> None:
    uninterrupted, second = halved(few), halved(few)
    list(uninterrupted.train())
    tensors, progress = stopped(halved(few), 13)
    assert progress.scale is not None
    assert progress.scale[1] > 0  # some steps were taken
    second.load_state(tensors, progress)
    list(second.train())
    assert same(weights(uninterrupted), weights(second))
    assert second.state()[1].scale == uninterrupted.state()[1].scale


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_overflow_that_one_optimiser_sees_is_every_ones(few: Splits, value: float) -> None:
    """Clipping by a common norm that is no number must not reach the weights of the other optimiser."""
    trainer = halved(few)
    before, kernel = weights(trainer), trainer.optimizers[0].param_groups[0]["params"][0]
    handle = kernel.register_hook(lambda gradient: torch.full_like(gradient, value))
    next(trainer.train())
    handle.remove()
    assert same(before, weights(trainer))


@pytest.mark.slow
def test_a_step_whose_gradients_overflow_is_left_out(few: Splits) -> None:
    trainer = halved(few)
    before, losses = weights(trainer), trainer.model.losses

    def steep(*words: Any) -> dict[str, Tensor]:
        return {name: 1e35 * value for name, value in losses(*words).items()}

    trainer._losses = steep
    next(trainer.train())
    assert same(before, weights(trainer))
    assert trainer.state()[1].scale == (32768.0, 0)
    trainer._losses = losses
    list(trainer.train())
    assert not same(before, weights(trainer))


def test_gradients_that_overflow_at_any_scale_stop_the_run(few: Splits) -> None:
    trainer = halved(few)
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**-15})
    with pytest.raises(GenmnistError, match="overflow at any scale: lower `lr` or take `precision` float32"):
        trainer.check()


def test_states_of_other_runs_are_refused(few: Splits) -> None:
    tensors, progress = stopped(make(few), 10)
    trainer = make(few)
    before = weights(trainer)
    a_tensor = "model.decoder.0.weight"
    wrong: list[dict[str, Tensor]] = [
        {},
        {name: tensor for name, tensor in tensors.items() if name != a_tensor},
        {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")},
        {**tensors, "more": torch.zeros(1)},
        {**tensors, a_tensor: tensors[a_tensor].T.contiguous()},
        {**tensors, a_tensor: tensors[a_tensor].double()},
    ]
    for other in wrong:
        with pytest.raises(ValueError, match="of another model or another optimiser"):
            trainer.load_state(other, progress)
    lies: list[dict[str, Any]] = [
        {"steps": 17},
        {"step": 17},
        {"count": 10},
        {"step": 12},
        {"history": []},
        {"history": progress.history * 2, "count": 2, "step": 11},
        {"scale": (1.0, 0)},
    ]
    for lie in lies:
        with pytest.raises(ValueError, match=r"it is of a run|its epochs"):
            trainer.load_state(tensors, msgspec.structs.replace(progress, **lie))
    assert same(before, weights(trainer))
    trainer.load_state(tensors, progress)
    assert trainer.step == 10


@pytest.mark.parametrize(
    "lie",
    [
        {"history": [{}]}, {"history": "x"}, {"count": -1}, {"step": -1}, {"steps": 0}, {"steps": 10**13},
        {"scale": 3}, {"scale": [0.0, 1]}, {"seconds": "x"}, {"seconds": -1.0}, {"step": True}, {"more": 1},
    ],
)  # fmt: skip
def test_progress_that_cannot_be_is_refused(few: Splits, lie: dict[str, Any]) -> None:
    _, progress = stopped(make(few), 10)
    document = msgspec.to_builtins(progress)
    assert msgspec.convert(document, Progress) == progress
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(document | lie, Progress)


def test_metrics_lie_flat_on_disk(few: Splits) -> None:
    trainer = make(few)
    list(trainer.train())
    line = trainer.history[0].flat()
    assert [*line] == [
        "epoch", "step", "train_loss", "val_loss", "val_reconstruction", "val_kl", "lr", "seconds",
        "images_per_second",
    ]  # fmt: skip
    assert EpochMetrics.of(msgspec.json.decode(msgspec.json.encode(line))) == trainer.history[0]
    others: list[dict[str, Any]] = [
        line | {"kl": 1.0}, line | {"val_kl": "x"}, {"epoch": 1},
    ]  # fmt: skip
    for other in others:
        with pytest.raises(msgspec.ValidationError):
            EpochMetrics.of(other)


def test_learning_rates_warm_up_and_fall() -> None:
    recipe = Recipe(lr=1.0, lr_schedule="cosine", warmup=0.1)
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert [Recipe(lr=0.5).rate(step, 9) for step in range(9)] == [0.5] * 9
    dropping = Recipe(lr=1.0, lr_schedule="steps", lr_drop=0.5, lr_drop_every=5 / 16)  # every 5 of 16 epochs
    assert [dropping.rate(epoch, 16) for epoch in (0, 4, 5, 9, 10, 15)] == [1, 1, 0.5, 0.5, 0.25, 0.125]


def test_the_average_follows_the_weights(few: Splits) -> None:
    trainer = make(few, Recipe(epochs=1, ema=0.9))
    expected = weights(trainer)
    for event in trainer.train():
        if isinstance(event, StepEnd):
            decay = min(0.9, event.step / (9 + event.step))
            for name, tensor in trainer.model.state_dict().items():
                expected[name].lerp_(tensor, 1 - decay)
    assert same(weights(trainer), expected)
    assert not same(weights(trainer), dict(trainer.model.state_dict()))


def test_the_average_follows_the_buffers_of_a_batch_normalisation() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).train()
    average = WarmAverage(network, 0.9)
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step in range(1, 5):
        network(3 + 2 * torch.randn(8, 1, 6, 6))
        average.update_parameters(network)
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                expected[name].lerp_(tensor, 1 - step / (9 + step))
            else:
                expected[name].copy_(tensor)
    assert same(dict(average.module.state_dict()), expected)
    assert average.module.get_buffer("1.num_batches_tracked") == 4  # counts are copied
    assert average.module.get_buffer("1.running_mean").abs().min() > 0.1
    assert not average.module.training


def test_a_frozen_weight_is_no_trouble_to_the_average(few: Splits) -> None:
    reseed(CPU, 0)
    model = VAE(VAEOptions.of(SMALL))
    model.encoder.requires_grad_(False)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer = Trainer(model, few, Recipe(ema=0.9), steps=3)
    list(trainer.train())
    still = {name for name, tensor in trainer.result.state_dict().items() if torch.equal(tensor, start[name])}
    assert still == {name for name in start if name.startswith("encoder.")}


def test_a_loss_that_is_not_finite_stops_the_run(few: Splits) -> None:
    trainer = make(few, Recipe(epochs=50, lr=10.0, optimizer="adam"))
    weight(trainer.model, "decoder.0.weight").fill_(math.nan)
    with pytest.raises(GenmnistError, match=r"no longer finite at step .* lower `lr` or take `precision`"):
        list(trainer.train())


class Machine:
    """A clock by which a step takes 0.01 s and a validation 0.2 s, until that changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.step, self.validation = 100.0, 0.01, 0.2
        self.halts: list[tuple[float, float]] = []  # at what time the process does not run for how long
        monkeypatch.setattr("time.perf_counter", lambda: self.now)
        monkeypatch.setattr(Trainer, "_advance", self._taking("step", Trainer._advance))
        monkeypatch.setattr(Trainer, "validate", self._taking("validation", Trainer.validate))

    def _taking(self, what: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*words: Any) -> Any:
            self.now += getattr(self, what)
            while self.halts and self.now > self.halts[0][0]:
                self.now += self.halts.pop(0)[1]
            return method(*words)

        return timed


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_a_budget_counts_from_the_start_of_the_process() -> None:
    """What a process does before it asks (importing torch) is counted; not what a shell did long ago."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("only Linux tells when a process began")
    fork = multiprocessing.get_context("fork")
    ages = fork.SimpleQueue()

    def ask() -> None:
        time.sleep(0.3)
        ages.put(time.perf_counter() - budgets.process_began())
        budgets._LONGEST_START = 0.1
        ages.put(time.perf_counter() - budgets.process_began())

    process = fork.Process(target=ask)
    process.start()
    assert 0.28 < ages.get() < 30
    assert ages.get() < 0.1
    process.join()


def test_a_budget_counts_steps_and_validations(few: Splits, machine: Machine) -> None:
    """An epoch of 8 steps takes 0.28 s."""
    steps = Budget(60.0, machine.now).fit(make(few, steps=1000))
    measured = machine.now - 100
    assert 2.0 < measured < 5.0  # a thirtieth of the budget, and a validation
    left = 60 * 0.98 - measured
    assert steps / 8 * 0.28 + 0.2 == pytest.approx(left, abs=0.1)


@pytest.mark.parametrize(("slower", "after"), [(1.0, 0.0), (3.0, 0.5), *slow((0.4, 0.2), (2.0, 0.9))])
def test_a_budget_is_kept_on_a_machine_that_changes(
    slower: float, after: float, few: Splits, machine: Machine
) -> None:
    budget = Budget(20.0, machine.now)
    machine.step = 0.05
    trainer = make(few, steps=budget.fit(make(few, steps=1000)))
    planned = trainer.steps
    for _ in trainer.train():
        if machine.now > 100 + 20 * after:
            machine.step = 0.05 * slower
        if plan := budget.correct(trainer):
            assert trainer.step < plan.steps
            trainer.plan = plan
    assert 19.0 <= machine.now - 100 <= 20.4
    assert trainer.plan.corrected == (slower != 1)
    assert (trainer.steps - planned) * (1 - slower) >= 0
    if slower == 1:
        return
    # The plan as it is written takes the same way again.
    rates = [trainer.recipe.rate(*trainer.plan.place(step)) for step in range(trainer.steps)]
    again = make(few, steps=str(trainer.plan))
    assert [again.recipe.rate(*again.plan.place(step)) for step in range(again.steps)] == rates
    for _ in again.train():
        pass
    assert all(
        torch.equal(one, other)
        for one, other in zip(weights(again).values(), weights(trainer).values(), strict=True)
    )


@pytest.mark.parametrize(
    ("at", "seconds"), [(0.5, 8.0), (0.5, 60.0), (5.0, 9.0), (5.0, 60.0), (18.5, 60.0), (10.0, 9.3)]
)
def test_a_budget_outlives_a_halt(at: float, seconds: float, few: Splits, machine: Machine) -> None:
    """A process that is stopped loses the time, but not its pace, nor the fall of its learning rate.

    At 0.5 s the pace is still measured; the budget is 20 s.
    """
    budget = Budget(20.0, machine.now)
    machine.step, machine.halts = 0.05, [(100 + at, seconds)]
    trainer, halted = make(few, steps=budget.fit(make(few, steps=1000))), 0
    for _ in trainer.train():
        if plan := budget.correct(trainer):
            trainer.plan = plan
        halted = halted or (trainer.step if not machine.halts else 0)
    ended = 100 + at + seconds
    assert max(119.0, ended + 0.4) <= machine.now <= max(120.4, ended + 1.9)
    rates = [trainer.recipe.rate(*trainer.plan.place(step)) for step in range(trainer.steps)]
    assert rates[-1] < 0.1 * max(rates)
    falling = rates[halted:]
    assert len(falling) >= 5
    assert all(later <= rate for rate, later in pairwise(falling)) or at < 1


def test_a_short_run_has_metrics_on_its_way(few: Splits) -> None:
    trainer = make(few, Recipe(batch_size=4), steps=330)  # of 250 an epoch
    lines = [event.metrics for event in trainer.train() if isinstance(event, EpochEnd)]
    assert [(line.step, line.epoch) for line in lines] == [
        (100, 0.4), (200, 0.8), (250, 1), (330, 1.32),
    ]  # fmt: skip
    long = make(few, Recipe(batch_size=100), steps=25)
    assert [event.metrics.epoch for event in long.train() if isinstance(event, EpochEnd)] == [1, 2, 2.5]


def test_a_trainer_says_with_how_many_threads_it_computed(few: Splits) -> None:
    trainer = make(few, steps=6)
    threads = torch.get_num_threads()
    try:
        for _ in trainer.train():
            torch.set_num_threads(2 if 2 <= trainer.step < 4 else 1)
    finally:
        torch.set_num_threads(threads)
    assert trainer.threads == [(0, 1), (2, 2), (4, 1)]


PRESETS = {
    (family, name)
    for family in FAMILIES.names()
    if not FAMILIES[family].sources  # the others go on from learned weights: tests/test_few.py
    for name in FAMILIES[family].presets
}
SHORT = {("vae", "report")}


@pytest.mark.parametrize(("family", "name"), [*sorted(SHORT), *slow(*sorted(PRESETS - SHORT))])
def test_every_preset_learns(family: str, name: str, few: Splits) -> None:
    entry = FAMILIES[family].presets[name]
    options = entry.options.replace({"size": "tiny"}) if hasattr(entry.options, "size") else entry.options
    reseed(CPU, 0)
    model = FAMILIES[family].model_class(options)
    trainer = Trainer(model, few, entry.recipe.replace({"batch_size": 64}), steps=30)
    before = trainer.validate()["loss"]
    list(trainer.train())
    assert trainer.history[-1].val_loss < before
