"""The training loop: its events, its schedules, its optimiser, and that resuming changes nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conftest import CPU, weight
from genmnist import api, checkpoint, data
from genmnist.data import Splits
from genmnist.errors import GenmnistError, InterruptedRunError, UsageError
from genmnist.models import FAMILIES, VAE, Diffusion
from genmnist.nn.unet import Size, UNet
from genmnist.presets import PRESETS, DiffusionOptions, Recipe, VAEOptions
from genmnist.randomness import reseed
from genmnist.runs import Run, find, latest
from genmnist.training import Epoch, Step, Trainer, optimizers, recording
from genmnist.training.budget import fit_steps
from genmnist.training.optimizers import LossScale

SMALL = {"hidden": 16, "latent": 4}
WITH_EVERYTHING = Recipe(
    epochs=2, optimizer="adamw", weight_decay=0.01, schedule="cosine", warmup=0.1, clip=1.0, ema=0.99
)


def make(
    few: Splits, recipe: Recipe = WITH_EVERYTHING, precision: str = "float32", **options: Any
) -> Trainer:
    reseed(CPU, 0)
    return Trainer(VAE(VAEOptions.of(SMALL)).place(CPU, precision), few, recipe, **options)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.result.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def timeless(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in history]


def test_the_loop_yields_steps_and_epochs(few: Splits) -> None:
    trainer = make(few)
    events = list(trainer.train())
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 17))
    epochs = [event.metrics for event in events if isinstance(event, Epoch)]
    assert [line["epoch"] for line in epochs] == [1, 2]
    assert {"epoch", "step", "train_loss", "val_loss", "lr", "seconds", "images_per_second"} <= epochs[
        0
    ].keys()
    assert epochs[1]["val_loss"] < epochs[0]["val_loss"] < 600
    assert isinstance(events[-1], Epoch)


def test_steps_may_end_within_an_epoch(few: Splits) -> None:
    trainer = make(few, steps=11)
    list(trainer.train())
    assert [line["step"] for line in trainer.history] == [8, 11]


def test_training_depends_on_the_seed_alone(few: Splits) -> None:
    first, second, other = make(few), make(few), make(few, seed=1)
    for event in first.train():
        torch.rand(7)  # what a listener draws changes nothing
        del event
    list(second.train())
    list(other.train())
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize("stop", [1, 7, 8, 9, 15])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_restored_trainer_ends_with_the_same_weights(few: Splits, stop: int, precision: str) -> None:
    whole = make(few, precision=precision)
    list(whole.train())
    first = make(few, precision=precision)
    for event in first.train():
        if event == Step(stop, event.loss) if isinstance(event, Step) else False:
            break
    tensors, values = first.state()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    values = json.loads(json.dumps(values))
    second = make(few, precision=precision, seed=0)
    second.load_state(tensors, values)
    list(second.train())
    assert same(weights(whole), weights(second))
    assert timeless(whole.history) == timeless(second.history)


def test_a_restored_diffusion_run_ends_with_the_same_weights(few: Splits) -> None:
    def build() -> Trainer:
        reseed(CPU, 0)
        model = Diffusion(DiffusionOptions(size="tiny")).place(CPU, "auto")
        return Trainer(model, few, PRESETS["ddpm"]["fast"].recipe, steps=20)

    whole, first, second = build(), build(), build()
    list(whole.train())
    for event in first.train():
        if isinstance(event, Step) and event.step == 13:
            break
    tensors, values = first.state()
    second.load_state({name: tensor.clone() for name, tensor in tensors.items()}, values)
    list(second.train())
    assert same(weights(whole), weights(second))
    assert timeless(whole.history) == timeless(second.history)


def test_float16_scales_its_loss_and_resumes(few: Splits) -> None:
    def conv() -> Trainer:
        reseed(CPU, 0)
        model = VAE(VAEOptions(network="conv", hidden=4, latent=4)).place(CPU, "float16")
        return Trainer(model, few, Recipe(lr=1e-3), steps=6)

    whole, first, second = conv(), conv(), conv()
    list(whole.train())
    for _, _ in zip(range(3), first.train(), strict=False):
        pass
    second.load_state(*first.state())
    list(second.train())
    assert same(weights(whole), weights(second))
    assert whole.scale.scale > 1
    with pytest.raises(UsageError, match="not for the MLP"):
        make(few, precision="float16")


def test_the_training_loss_falls_as_it_does_under_torch_optim(few: Splits) -> None:
    """The optimiser against torch.optim, step by step, on the model's own gradients."""
    recipe = Recipe(optimizer="adamw", weight_decay=0.1)
    reseed(CPU, 0)
    ours, theirs = (
        VAE(VAEOptions.of(SMALL)).place(CPU, "float32"),
        VAE(VAEOptions.of(SMALL)).place(CPU, "float32"),
    )
    theirs.load_state_dict(ours.state_dict())
    decayed = [weight for weight in theirs.parameters() if weight.ndim > 1]
    spared = [weight for weight in theirs.parameters() if weight.ndim <= 1]
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": spared, "weight_decay": 0.0}], lr=1e-3
    )
    adam = optimizers.build(ours, recipe)
    for step in range(10):
        for model in (ours, theirs):
            reseed(CPU, 0, step)
            model.losses(*few.train.batch(torch.arange(64)))["loss"].backward()
        adam.step(1e-3)
        ours.zero_grad()
        reference.step()
        reference.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_muon_moves_weights_as_that_of_torch_does() -> None:
    """Theirs takes matrices alone and iterates in bfloat16, hence the tolerance."""
    torch.manual_seed(0)
    shapes = (6, 4, 3, 3), (40, 4, 3, 3), (6, 4, 3, 3)
    ours = nn.ParameterList([torch.randn(shape) for shape in shapes])
    theirs = [nn.Parameter(weight.detach().flatten(1).clone()) for weight in ours]
    ours.append(torch.zeros(5))  # a bias, which is Adam's
    muon = optimizers.build(ours, Recipe(optimizer="muon", weight_decay=0.1))
    reference = torch.optim.Muon(theirs, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    before = [weight.detach().clone() for weight in theirs]
    for _ in range(5):
        ours[-1].grad = torch.ones(5)
        for mine, other in zip(ours, theirs, strict=False):
            other.grad = torch.randn_like(other)
            mine.grad = other.grad.view_as(mine).clone()
        muon.step(1e-3)
        reference.step()
    torch.testing.assert_close(ours[-1].detach(), torch.full((5,), -5e-3))
    for mine, other, start in zip(ours, theirs, before, strict=False):
        moved = other - start
        assert (mine.flatten(1) - other).norm() < 0.02 * moved.norm()


def test_muon_leaves_what_is_no_matrix_between_features_to_adam() -> None:
    network = UNet(Size((4, 8)))
    muon = optimizers.build(network, Recipe(optimizer="muon"))
    assert isinstance(muon, optimizers.Muon)
    held = sum(len(stack) for stack in muon.stacks.values())
    convolutions = [weight for weight in network.parameters() if weight.ndim == 4]
    assert held == len(convolutions) - 2  # all but the stem and the head, which face single pixels
    assert held + len(muon.adam.weights) == len(muon.weights)


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 4, 20), (2, 20, 4)])
def test_orthogonal_matrices_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(optimizers.orthogonal(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert torch.equal(optimizers.orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_the_loss_scale_skips_a_step_that_overflows() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    scale = LossScale(enabled=True, growth=2)
    scale.backward((weight * 3).sum())
    assert scale.unscale([weight])
    torch.testing.assert_close(weight.grad, torch.full((2,), 3.0))
    weight.grad = torch.tensor([math.inf, 0.0])
    before = scale.scale
    assert not scale.unscale([weight])
    assert scale.scale == before / 2
    for _ in range(2):
        weight.grad = torch.ones(2)
        assert scale.unscale([weight])
    assert scale.scale == before


def test_learning_rates_warm_up_and_fall() -> None:
    recipe = Recipe(lr=1.0, schedule="cosine", warmup=0.1)
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert [Recipe(lr=0.5).rate(step, 9) for step in range(9)] == [0.5] * 9
    halved = Recipe(lr=1.0, schedule="steps", drop=0.5, drop_every=5 / 16)  # every 5 of 16 epochs
    assert [halved.rate(epoch, 16) for epoch in (0, 4, 5, 9, 10, 15)] == [1, 1, 0.5, 0.5, 0.25, 0.125]


def test_the_average_follows_the_weights(few: Splits) -> None:
    trainer = make(few, Recipe(epochs=1, ema=0.9))
    expected = weights(trainer)
    for event in trainer.train():
        if isinstance(event, Step):
            decay = min(0.9, event.step / (9 + event.step))
            for name, tensor in trainer.model.state_dict().items():
                expected[name].lerp_(tensor, 1 - decay)
    for name, tensor in trainer.result.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert not same(weights(trainer), dict(trainer.model.state_dict()))


def test_a_loss_that_is_not_finite_stops_the_run(few: Splits) -> None:
    trainer = make(few, Recipe(epochs=50, lr=10.0, optimizer="adam"))
    weight(trainer.model, "decoder.0.weight").fill_(math.nan)
    with pytest.raises(GenmnistError, match="no longer finite at step"):
        list(trainer.train())


def test_a_budget_counts_steps_and_validations(few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock by which a step takes 0.01 s and a validation 0.2 s, an epoch of 8 steps takes 0.28 s."""
    now = 100.0

    def taking(seconds: float, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*words: Any) -> Any:
            nonlocal now
            now += seconds
            return method(*words)

        return timed

    monkeypatch.setattr("time.perf_counter", lambda: now)
    monkeypatch.setattr(Trainer, "_advance", taking(0.01, Trainer._advance))
    monkeypatch.setattr(Trainer, "validate", taking(0.2, Trainer.validate))
    steps = fit_steps(make(few, steps=1000), 60.0, now + 60.0)
    measured = now - 100
    assert 2.0 < measured < 5.0  # a thirtieth of the budget, and a validation
    left = (60 - measured) * 0.97
    assert steps / 8 * 0.28 + 0.2 == pytest.approx(left, abs=0.1)


def train(folder: Path, data_dir: Path, **options: Any) -> Run:
    settings: dict[str, Any] = {
        "recipe": {"epochs": 2},
        "options": SMALL,
        "precision": "float32",
        "device": "cpu",
    }
    return api.train("vae", data_dir=data_dir, out=folder, **(settings | options))


def test_a_run_folder_has_what_it_should(tmp_path: Path, idx_folder: Path) -> None:
    run = train(tmp_path / "run", idx_folder)
    assert {path.name for path in run.folder.iterdir()} == {
        "config.json", "metrics.jsonl", "model.safetensors", "state.safetensors", "samples", "losses.png",
        "samples-by-epoch.png", "summary.json",
    }  # fmt: skip
    assert sorted(path.name for path in run.samples.iterdir()) == [f"epoch_00{n}.png" for n in range(3)]
    assert [line["epoch"] for line in run.metrics] == [1, 2]
    assert run.finished
    assert run.summary["metrics"]["val_loss"] == run.metrics[-1]["val_loss"]
    assert run.config["steps"] == 16
    model, document = checkpoint.load(run.model_file)
    assert document.training["data_checksum"] == run.config["data_checksum"]
    assert api.load("vae", run.folder, device="cpu").sample(1).shape == (1, 28, 28)
    assert same(dict(model.state_dict()), dict(checkpoint.load(find(None, run.folder).path)[0].state_dict()))


def test_a_preset_may_be_a_time_instead_of_a_length(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = dataclasses.replace(PRESETS["ddpm"]["fast"], budget=2.0)
    monkeypatch.setitem(PRESETS["ddpm"], "fast", entry)
    options: dict[str, Any] = {"data_dir": idx_folder, "device": "cpu", "options": {"size": "tiny"}}
    # As the command line has it: what was not given is None.
    nothing = dict.fromkeys(entry.recipe.asdict())
    timed = api.train("ddpm", recipe=nothing, out=tmp_path / "timed", **options)
    assert timed.config["budget"] == 2.0
    counted = api.train("ddpm", recipe=nothing | {"epochs": 1.0}, out=tmp_path / "counted", **options)
    assert (counted.config["budget"], counted.config["steps"]) == (None, 16)
    stepped = api.train("ddpm", recipe=nothing, steps=2, out=tmp_path / "stepped", **options)
    assert (stepped.config["budget"], stepped.config["steps"]) == (None, 2)


def test_muon_wants_convolutions() -> None:
    with pytest.raises(UsageError, match="this network has none"):
        optimizers.build(VAE(VAEOptions.of(SMALL)), Recipe(optimizer="muon"))


def test_steps_repeat_what_a_budget_found(tmp_path: Path, idx_folder: Path) -> None:
    first = train(tmp_path / "a", idx_folder, budget=2.0)
    second = train(tmp_path / "b", idx_folder, steps=first.config["steps"])
    assert first.config["steps"] > 16
    assert same(checkpoint.read(first.model_file)[1], checkpoint.read(second.model_file)[1])


def test_an_interrupted_run_is_saved_and_resumes(tmp_path: Path, idx_folder: Path) -> None:
    import os
    import signal

    whole = train(tmp_path / "whole", idx_folder)

    def interrupt(event: object, trainer: Trainer) -> None:
        if trainer.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError, match=r"step 5 of 16.*--resume"):
        train(tmp_path / "run", idx_folder, listen=interrupt)
    assert not Run.open(tmp_path / "run").finished
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = api.resume(tmp_path / "run")
    assert same(checkpoint.read(whole.model_file)[1], checkpoint.read(resumed.model_file)[1])
    assert timeless(whole.metrics) == timeless(resumed.metrics)
    with pytest.raises(UsageError, match="has finished"):
        api.resume(tmp_path / "run")


def test_a_run_may_be_trained_outside_the_main_thread(tmp_path: Path, idx_folder: Path) -> None:
    done: list[Run] = []
    thread = threading.Thread(target=lambda: done.append(train(tmp_path / "run", idx_folder)))
    thread.start()
    thread.join()
    assert done[0].finished


def _interrupted(folder: Path, data_dir: Path) -> Run:
    class StopError(Exception):
        pass

    def stop(event: object, trainer: Trainer) -> None:
        if trainer.step == 10:
            raise StopError

    with pytest.raises(StopError):
        train(folder, data_dir, save_every=0.0, listen=stop)
    return Run.open(folder)


def test_a_run_that_died_resumes_from_its_last_save(tmp_path: Path, idx_folder: Path) -> None:
    whole = train(tmp_path / "whole", idx_folder)
    run = _interrupted(tmp_path / "run", idx_folder)
    api.resume(run.folder)
    assert same(checkpoint.read(whole.model_file)[1], checkpoint.read(run.model_file)[1])


def test_a_run_that_died_before_its_first_save_starts_again(tmp_path: Path, idx_folder: Path) -> None:
    whole = train(tmp_path / "whole", idx_folder)
    run = _interrupted(tmp_path / "run", idx_folder)
    run.state_file.unlink()
    api.resume(run.folder)
    assert same(checkpoint.read(whole.model_file)[1], checkpoint.read(run.model_file)[1])


def test_damaged_runs_are_refused(tmp_path: Path, idx_folder: Path) -> None:
    run = _interrupted(tmp_path / "run", idx_folder)
    state, config = run.state_file.read_bytes(), run.config_file.read_text()
    run.state_file.write_bytes(state[:-7])
    with pytest.raises(GenmnistError, match="damaged"):
        api.resume(run.folder)
    run.state_file.write_bytes(run.model_file.read_bytes())
    with pytest.raises(GenmnistError, match="not a state of this run"):
        api.resume(run.folder)
    run.state_file.write_bytes(state)
    swaps = (
        ('"latent": 4', '"latent": 0'),
        ('"seed": 0', '"seed": "x"'),
        ('"steps": 16', '"steps": 1' + "0" * 400),
        ('"preset": "report"', '"preset": "$foo$"'),
        ('"family": "vae"', '"family": "gan"'),
    )
    assert all(old in config for old, _ in swaps)
    changed = [config.replace(*swap) for swap in swaps]
    for text in ("{", "[]", "[" * 100_000, "{}", *changed):
        run.config_file.write_text(text)
        with pytest.raises(GenmnistError, match="damaged") as caught:
            api.resume(run.folder)
        assert "\n" not in str(caught.value)
    run.config_file.write_text(config.replace('"latent": 4', '"latent": 5'))
    with pytest.raises(GenmnistError, match="not a state of this run"):
        api.resume(run.folder)
    run.config_file.write_text(config)
    labels = idx_folder / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x03")
    with pytest.raises(GenmnistError, match="have changed"):
        api.resume(run.folder)


def test_hostile_states_are_refused(tmp_path: Path, idx_folder: Path) -> None:
    run = _interrupted(tmp_path / "run", idx_folder)
    document, tensors = checkpoint.read(run.state_file)
    lies: list[dict[str, Any]] = [
        {"history": [{}]},
        {"history": "x"},
        {"count": -1},
        {"count": 10**6},
        {"step": -1},
        {"step": 16, "count": 0, "history": []},
        {"steps": 17},
        {"scale": 3},
        {"seconds": "x"},
    ]
    for lie in lies:
        state = checkpoint.Document(**{**vars(document), "training": document.training | lie})
        checkpoint.write(run.state_file, state, tensors)
        with pytest.raises(GenmnistError, match="not a state of this run"):
            api.resume(run.folder)


def test_a_finished_training_outlives_what_fails_after_it(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("genmnist.figures.curves.losses", fail)
    with pytest.raises(RuntimeError):
        train(tmp_path / "run", idx_folder)
    monkeypatch.undo()
    run = api.resume(tmp_path / "run")
    assert run.finished
    assert run.summary["metrics"]["step"] == 16


def test_compiling_needs_a_compiler(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GenmnistError, match="needs a C\\+\\+ compiler"):
        train(tmp_path / "run", idx_folder, compiled=True)


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path, idx_folder: Path) -> None:
    run = _interrupted(tmp_path / "run", idx_folder)
    with run.locked(), pytest.raises(GenmnistError, match="another process"):
        api.resume(run.folder)
    (run.folder / ".notes-of-mine").mkdir()
    (run.samples / ".genmnist-writing-x").mkdir()
    api.resume(run.folder)
    assert (run.folder / ".notes-of-mine").exists()
    assert not (run.samples / ".genmnist-writing-x").exists()


def test_the_last_good_model_stays_when_the_weights_go_bad(tmp_path: Path, idx_folder: Path) -> None:
    run = _interrupted(tmp_path / "run", idx_folder)
    good = run.model_file.read_bytes()
    trainer = make(data.load(data_dir=idx_folder))
    weight(trainer.model, "decoder.0.weight").fill_(math.inf)
    with pytest.raises(GenmnistError, match="no longer finite"):
        recording.save(run, trainer)
    assert run.model_file.read_bytes() == good


def test_which_model_a_request_means(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("vae").origin == "the bundled vae"
    with pytest.raises(GenmnistError, match="no finished run"):
        find("vae", "latest")
    first, second = (
        api.train("vae", data_dir=idx_folder, options=SMALL, steps=1, device="cpu") for _ in range(2)
    )
    assert first.folder != second.folder
    assert find("vae").path == second.model_file
    second.summary_file.unlink()  # as if it had not finished
    assert find("vae").path == first.model_file
    assert latest("ddpm") is None
    assert find("vae", "bundled").origin == "the bundled vae"
    with pytest.raises(UsageError, match="no family 'gan'"):
        find("gan")
    with pytest.raises(UsageError, match="there is no"):
        find("vae", "absent.safetensors")
    with pytest.raises(UsageError, match="not a run folder"):
        find("vae", tmp_path)


def test_a_taken_folder_is_not_trained_into(tmp_path: Path, idx_folder: Path) -> None:
    train(tmp_path / "run", idx_folder, steps=1)
    with pytest.raises(UsageError, match="holds a run already"):
        train(tmp_path / "run", idx_folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises(UsageError, match="not an empty folder"):
        train(tmp_path / "other", idx_folder)


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, presets in PRESETS.items() for name in presets]
)
def test_every_preset_learns(family: str, name: str, few: Splits) -> None:
    entry = PRESETS[family][name]
    options = entry.options if family != "ddpm" else entry.options.replace({"size": "tiny"})
    reseed(CPU, 0)
    model = FAMILIES[family].from_options(options.asdict()).place(CPU, "auto")
    trainer = Trainer(model, few, entry.recipe.replace({"batch_size": 64}), steps=30)
    before = trainer.validate()["loss"]
    list(trainer.train())
    assert trainer.history[-1]["val_loss"] < before
