"""Training through the API: presets and budgets, interruption, resuming, a process left as it was found."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import genmnist
from damage import tamper
from genmnist.data import Dataset, Splits
from genmnist.device import choose_device, computing, products
from genmnist.errors import GenmnistError, InterruptedRunError, UsageError
from genmnist.models import Diffusion
from genmnist.registry import FAMILIES
from genmnist.runs import checkpoint
from genmnist.runs.documents import ModelHeader, StateHeader
from genmnist.runs.folder import Run
from genmnist.training import EpochEnd, Event, Remark, StepEnd, Trainer
from small_runs import SMALL, broken_off, same, tensors, timeless, train

# Presets


PRESETS = [(family, name) for family in FAMILIES.names() for name in FAMILIES[family].presets]


class EnoughError(Exception):
    """Thrown by a listener that has seen what it wanted to see."""


@pytest.mark.parametrize(("family", "name"), PRESETS)
def test_only_the_presets_of_the_report_look_at_test_images(
    family: str, name: str, mnist: Splits, tmp_path: Path
) -> None:
    seen: list[Trainer] = []

    def look(event: Event, trainer: Trainer) -> None:
        seen.append(trainer)
        raise EnoughError

    small = {"vae": SMALL, "classifier": {"width": 8}, "few": {"halvings": 4}}.get(family, {"size": "tiny"})
    with pytest.raises(EnoughError):
        genmnist.train(
            family, name, data=mnist, options=small, recipe={"batch_size": 16}, steps=1, device="cpu",
            sample_every=0, out=tmp_path / "run", listen=look,
        )  # fmt: skip
    trainer, config = seen[0], Run.open(tmp_path / "run").config
    if name == "report":
        assert (len(trainer.train_set), len(trainer.validation_set)) == (60_000, 10_000)
        assert torch.equal(trainer.validation_set.images, mnist.test.images)
        assert torch.equal(trainer.train_set.images[55_000:], mnist.validation.images)
        assert config.validation == "test"
    else:
        assert (len(trainer.train_set), len(trainer.validation_set)) == (55_000, 5_000)
        assert torch.equal(trainer.train_set.images, mnist.train.images)
        assert torch.equal(trainer.validation_set.images, mnist.validation.images)
        assert config.validation == "held-out"
    assert config.data_checksum == mnist.checksum()  # whichever images are held out


@pytest.mark.slow
def test_a_preset_may_be_a_time_instead_of_a_length(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = dataclasses.replace(FAMILIES["ddpm"].presets["fast"], budget=2.0)
    monkeypatch.setitem(FAMILIES["ddpm"].presets, "fast", entry)
    options: dict[str, Any] = {
        "data_dir": idx_folder, "device": "cpu", "options": {"size": "tiny"}, "sample_every": 0,
    }  # fmt: skip
    # As the command line has it: what was not given is None.
    nothing = dict.fromkeys(entry.recipe.asdict())
    timed = genmnist.train("ddpm", recipe=nothing, out=tmp_path / "timed", **options).config
    assert timed.budget == 2.0
    assert timed.steps is not None
    counted = genmnist.train("ddpm", recipe=nothing | {"epochs": 1.0}, out=tmp_path / "counted", **options)
    assert (counted.config.budget, counted.config.steps) == (None, 15)  # of 64 of 900 images
    stepped = genmnist.train("ddpm", recipe=nothing, steps=2, out=tmp_path / "stepped", **options)
    assert (stepped.config.budget, stepped.config.steps) == (None, 2)


def test_steps_repeat_what_a_budget_found(tmp_path: Path, idx_folder: Path) -> None:
    recipe = {"lr_schedule": "cosine"}
    first = train(tmp_path / "a", idx_folder, budget="1s", recipe=recipe, sample_every=0)
    assert first.config.steps is not None
    plan = first.config.plan or first.config.steps
    second = train(tmp_path / "b", idx_folder, steps=plan, recipe=recipe, sample_every=0)
    assert first.config.steps == second.config.steps == first.summary.steps == first.summary.metrics["step"]
    assert first.config.plan == second.config.plan == first.summary.plan
    assert same(tensors(first), tensors(second))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"preset": "best"}, "there is no preset 'best' of vae; choose one of report, conv"),
        ({"options": {"colour": 1}}, "there is no option 'colour' here"),
        ({"options": {"latent": 0}}, "`latent` must be a whole number between 1 and 512, not 0"),
        ({"recipe": {"lr": -1.0}}, "`lr` must be a number between 1e-09 and 10"),
        ({"recipe": {"lr": 0.0}}, "`lr` must be a number between 1e-09 and 10, not 0.0"),
        ({"steps": 0}, "`steps` must be a whole number of 1 or more"),
        (
            {"steps": "80,70@90"},
            "`steps` must be a whole number of 1 or more, or what a run wrote as its plan",
        ),
        ({"budget": "soon"}, "'soon' is not a time: write 90s, 10m or 1h30m"),
        ({"start": "bundled", "options": {"latent": 5}}, "the weights of `start` do not fit: it has"),
        ({"start": "absent"}, "there is no absent"),
        ({"seed": -1}, "`seed` is not what it must be"),
        ({"sample_every": -1}, "`sample_every` is not what it must be"),
        ({"steps": 3, "budget": 60.0}, "three ways to say one thing"),
        ({"options": {"shape": (1, 2, 3)}}, "the `shape` comes from the data"),
        ({"image_size": 28}, "`data` stands for itself"),
        ({"network": torch.nn.Linear(1, 1)}, "must have an `encoder` and a `decoder`"),
        ({"device": "tpu"}, "there is no device 'tpu'"),
        ({"precision": "float64"}, "there is no precision 'float64'"),
    ],
)
def test_what_makes_no_sense_starts_no_run(
    options: dict[str, Any], sentence: str, tmp_path: Path, few: Splits
) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        train(tmp_path / "run", None, data=few, **options)
    assert "--" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_there_are_as_many_classes_as_the_data_have(tmp_path: Path, few: Splits) -> None:
    letters = Splits(*(Dataset(part.name, part.images, part.labels + 16) for part in few))
    settings: dict[str, Any] = {"data": letters, "steps": 1, "device": "cpu", "sample_every": 0}
    run = genmnist.train("classifier", options={"width": 8}, out=tmp_path / "run", **settings)
    assert run.config.options["classes"] == 26
    with pytest.raises(UsageError, match="labels up to 25: `classes` must be 26 or more"):
        genmnist.train("classifier", options={"classes": 10}, out=tmp_path / "other", **settings)


def test_compiling_needs_a_compiler(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GenmnistError, match=r"`compiled` needs a C\+\+ compiler"):
        train(tmp_path / "run", idx_folder, compiled=True)


# A warm start


def test_a_run_goes_on_from_finished_weights(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no run of any family
    first = train(tmp_path / "first", idx_folder)
    begun: list[dict[str, torch.Tensor]] = []

    def look(event: Event, trainer: Trainer) -> None:
        if not begun:
            begun.append(tensors(Run.open(tmp_path / "second")))

    # The options of the model are its own, but for those given.
    second = train(tmp_path / "second", idx_folder, start=first, options={"beta": 2.0}, listen=look)
    assert same(begun[0], tensors(first))
    assert not same(tensors(second), tensors(first))
    assert second.config.options == first.config.options | {"beta": 2.0}
    assert second.config.start == f"run {first.folder}"
    header, _ = genmnist.info(second.folder)
    assert isinstance(header, ModelHeader)
    assert header.training.start == second.config.start
    for number, start in enumerate(("bundled", "vae")):
        third = tmp_path / f"third-{number}"
        bundled = genmnist.train("vae", data_dir=idx_folder, start=start, steps=1, out=third)
        assert (bundled.config.options["hidden"], bundled.config.start) == (400, "the bundled vae")
    with pytest.raises(GenmnistError, match="holds a vae, not a ddpm"):
        genmnist.train("ddpm", start=first.folder, steps=1, out=tmp_path / "fourth")
    assert not (tmp_path / "fourth").exists()


def test_a_warm_start_resumes_without_the_weights_it_started_from(tmp_path: Path, idx_folder: Path) -> None:
    first = train(tmp_path / "first", idx_folder)
    whole = train(tmp_path / "whole", idx_folder, start=first)
    run = broken_off(tmp_path / "run", idx_folder, start=first)
    shutil.rmtree(first.folder)
    unsaved = Run(shutil.copytree(run.folder, tmp_path / "unsaved"))
    unsaved.state_file.unlink()
    unsaved.former_state_file.unlink()
    genmnist.resume(run.folder)
    assert same(tensors(whole), tensors(run))
    with pytest.raises(GenmnistError, match="before it had saved the weights it starts from: train anew"):
        genmnist.resume(unsaved.folder)


# Interruption and resuming


def test_an_interrupted_run_is_saved_and_resumes(tmp_path: Path, idx_folder: Path) -> None:
    whole = train(tmp_path / "whole", idx_folder)

    before = signal.getsignal(signal.SIGINT)

    def interrupt(event: Event, trainer: Trainer) -> None:
        if trainer.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError, match="interrupted at step 5 of 16, which is saved") as caught:
        train(tmp_path / "run", idx_folder, listen=interrupt)
    assert caught.value.folder == tmp_path / "run"
    assert not Run.open(tmp_path / "run").finished
    assert signal.getsignal(signal.SIGINT) is before
    resumed = genmnist.resume(tmp_path / "run")
    assert same(tensors(whole), tensors(resumed))
    assert timeless(whole.metrics) == timeless(resumed.metrics)
    with pytest.raises(UsageError, match="has finished: there is nothing left to resume"):
        genmnist.resume(tmp_path / "run")


def test_a_run_may_be_trained_outside_the_main_thread(tmp_path: Path, idx_folder: Path) -> None:
    done: list[Run] = []
    thread = threading.Thread(target=lambda: done.append(train(tmp_path / "run", idx_folder)))
    thread.start()
    thread.join()
    assert done[0].finished


def test_a_run_that_died_resumes_from_its_last_save(tmp_path: Path, idx_folder: Path) -> None:
    whole = train(tmp_path / "whole", idx_folder)
    run = broken_off(tmp_path / "run", idx_folder)
    header, _ = checkpoint.read(run.state_file)
    steps: list[int] = []

    def count(event: Event, trainer: Trainer) -> None:
        if isinstance(event, StepEnd):
            steps.append(event.step)

    genmnist.resume(run.folder, listen=count)
    assert isinstance(header, StateHeader)
    assert steps == list(range(header.progress.step + 1, 17))
    assert header.progress.step in (9, 10)
    assert same(tensors(whole), tensors(run))


def test_a_run_that_died_before_its_first_save_starts_again(tmp_path: Path, idx_folder: Path) -> None:
    whole = train(tmp_path / "whole", idx_folder)
    run = broken_off(tmp_path / "run", idx_folder)
    run.state_file.unlink()
    genmnist.resume(run.folder)
    assert same(tensors(whole), tensors(run))


def test_a_finished_training_outlives_what_fails_after_it(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("genmnist.figures.curves.losses", fail)
    with pytest.raises(RuntimeError):
        train(tmp_path / "run", idx_folder)
    monkeypatch.undo()
    run = genmnist.resume(tmp_path / "run")
    assert run.finished
    assert run.summary.metrics["step"] == 16


def test_a_run_on_arrays_is_resumed_with_them(tmp_path: Path, few: Splits) -> None:
    arrays = tuple((part.images.numpy(), part.labels.numpy()) for part in few)
    whole = train(tmp_path / "whole", None, data=arrays)
    assert (whole.config.dataset, whole.config.data_dir) == ("own", None)
    run = _interrupted(tmp_path / "run", data=arrays)
    with pytest.raises(UsageError, match="was trained on `data` given from Python: resume it there"):
        genmnist.resume(run.folder)
    with pytest.raises(GenmnistError, match=r"the data of .* have changed"):
        genmnist.resume(run.folder, data=arrays[::-1])
    genmnist.resume(run.folder, data=arrays)
    assert same(tensors(whole), tensors(run))


class Mine(nn.Module):
    """A network of a user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(1, 1, 3, padding=1)
        self.level = nn.Linear(1, 1)

    def forward(
        self, x: torch.Tensor, log_snr: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        told: torch.Tensor = self.level(log_snr.sigmoid()[:, None])
        answer: torch.Tensor = self.see(x) + told[..., None, None]
        return answer


def test_a_run_of_a_network_from_python_is_resumed_and_loaded_with_it(tmp_path: Path, few: Splits) -> None:
    torch.manual_seed(0)
    network = Mine()
    untouched = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settings: dict[str, Any] = {"data": few, "recipe": {"batch_size": 128, "optimizer": "adam"}, "steps": 16}
    runs = []
    for name, listen in (("whole", None), ("run", _interrupt)):
        settings |= {"network": network, "device": "cpu", "sample_every": 0, "listen": listen}
        if listen is None:
            runs.append(genmnist.train("ddpm", out=tmp_path / name, **settings))
        else:
            with pytest.raises(InterruptedRunError):
                genmnist.train("ddpm", out=tmp_path / name, **settings)
            runs.append(Run.open(tmp_path / name))
    assert same(dict(network.state_dict()), untouched)  # a copy was trained
    whole, run = runs
    with pytest.raises(UsageError, match="was given from Python: give it there again"):
        genmnist.resume(run.folder, data=few)
    genmnist.resume(run.folder, data=few, network=network)
    assert same(tensors(whole), tensors(run))
    with pytest.raises(UsageError, match=r"has a network of its owner's, .*Mine"):
        genmnist.load("ddpm", run, device="cpu")
    model = genmnist.load("ddpm", run, device="cpu", network=Mine())
    assert isinstance(model, Diffusion)
    assert model.sample(2, steps=2).shape == (2, 28, 28)


def test_a_family_may_take_no_network(tmp_path: Path, few: Splits) -> None:
    with pytest.raises(UsageError, match="a classifier takes no `network` of your own"):
        genmnist.train("classifier", data=few, network=Mine(), device="cpu", out=tmp_path / "run")


def _interrupt(event: Event, trainer: Trainer) -> None:
    if trainer.step == 5:
        os.kill(os.getpid(), signal.SIGINT)


def _interrupted(folder: Path, **options: Any) -> Run:
    with pytest.raises(InterruptedRunError):
        train(folder, None, listen=_interrupt, **options)
    return Run.open(folder)


# Damage


def test_damaged_states_are_refused(tmp_path: Path, idx_folder: Path) -> None:
    run = broken_off(tmp_path / "run", idx_folder)
    run.former_state_file.unlink()
    state = run.state_file.read_bytes()
    run.state_file.write_bytes(state[:-7])
    with pytest.raises(GenmnistError, match="damaged"):
        genmnist.resume(run.folder)
    run.state_file.write_bytes(run.model_file.read_bytes())
    with pytest.raises(GenmnistError, match=r"not a state of this run \(it is a model\): start afresh"):
        genmnist.resume(run.folder)
    run.state_file.write_bytes(state)
    config = run.config_file.read_text("utf-8")
    for old, new, why in (
        ('"latent": 4', '"latent": 5', "it is of another model"),
        ('"lr": 0.001', '"lr": 0.002', "config.json no longer says what it was trained by"),
        ('"seed": 0', '"seed": 1', "config.json no longer says what it was trained by"),
    ):
        assert old in config
        run.config_file.write_text(config.replace(old, new), "utf-8")
        with pytest.raises(GenmnistError, match=rf"not a state of this run \({why}\)"):
            genmnist.resume(run.folder)
    run.config_file.write_text(config, "utf-8")
    labels = idx_folder / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x03")
    with pytest.raises(GenmnistError, match="have changed since it began"):
        genmnist.resume(run.folder)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "empty"])
def test_a_damaged_state_costs_one_save(damage: str, tmp_path: Path, idx_folder: Path) -> None:
    """The state before the last one is kept, and leads to the same weights."""
    whole = train(tmp_path / "whole", idx_folder)
    run = broken_off(tmp_path / "run", idx_folder)
    state = bytearray(run.state_file.read_bytes())
    cut = bytes(state[:1000])
    state[len(state) // 2] ^= 4
    run.state_file.unlink()
    if damage != "gone":
        run.state_file.write_bytes({"cut": cut, "flipped": bytes(state), "empty": b""}[damage])
    said: list[str] = []

    def listen(event: Event, trainer: Trainer) -> None:
        if isinstance(event, Remark):
            said.append(event.sentence)

    genmnist.resume(run.folder, listen=listen)
    assert len(said) == 1
    assert "the run goes on from the state before it, of step 9" in said[0] or "of step 8" in said[0]
    assert same(tensors(whole), tensors(run))
    assert timeless(whole.metrics) == timeless(run.metrics)


def test_a_picture_that_was_lost_is_drawn_on_resuming(tmp_path: Path, idx_folder: Path) -> None:
    whole = train(tmp_path / "whole", idx_folder)

    def stop(event: Event, trainer: Trainer) -> None:
        if trainer.step == 8 and isinstance(event, EpochEnd):  # an epoch is over
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(tmp_path / "run", idx_folder, listen=stop)
    run = Run.open(tmp_path / "run")
    run.picture(1).unlink()
    genmnist.resume(run.folder)
    assert [number for number, _ in run.pictures] == [0, 1, 2] == [number for number, _ in whole.pictures]


def test_a_run_may_be_started_again_by_the_same_command(tmp_path: Path, idx_folder: Path) -> None:
    whole = train(tmp_path / "whole", idx_folder)
    settings: dict[str, Any] = {"resume": "auto"}
    with pytest.raises(InterruptedRunError):
        train(tmp_path / "run", idx_folder, listen=_interrupt, **settings)
    for change, sentence in (
        ({"recipe": {"epochs": 2, "lr": 0.002}}, r"was begun otherwise \(`lr` is 0.002, not 0.001\)"),
        ({"seed": 1}, r"was begun otherwise \(`seed` is 1, not 0\)"),
    ):
        with pytest.raises(UsageError, match=sentence):
            train(tmp_path / "run", idx_folder, **settings | change)
    run = train(tmp_path / "run", idx_folder, **settings)
    assert same(tensors(whole), tensors(run))
    steps: list[Event] = []
    again = train(tmp_path / "run", idx_folder, listen=lambda event, _: steps.append(event), **settings)
    assert again.finished
    assert not steps
    for words in ({"resume": "auto"}, {"resume": "x", "out": tmp_path / "run"}):
        with pytest.raises(UsageError, match="`resume` is `auto` here"):
            genmnist.train("vae", **words)


def test_damaged_configurations_are_refused(tmp_path: Path, idx_folder: Path) -> None:
    run = broken_off(tmp_path / "run", idx_folder)
    config = run.config_file.read_text("utf-8")
    swaps = (
        ('"latent": 4', '"latent": 0'),
        ('"lr": 0.001', '"lr": -1.0'),
        ('"seed": 0', '"seed": "x"'),
        ('"steps": 16', '"steps": 1' + "0" * 400),
        ('"steps": 16', '"steps": null'),
        ('"preset": "report"', '"preset": "$foo$"'),
        ('"precision": "float32"', '"precision": "float16"'),
    )
    changed = []
    for old, new in swaps:
        assert old in config
        changed.append(config.replace(old, new))
    for text in ("{", "[]", "[" * 100_000, "{}", *changed):
        run.config_file.write_text(text, "utf-8")
        with pytest.raises(GenmnistError, match="damaged") as caught:
            genmnist.resume(run.folder)
        assert "\n" not in str(caught.value)
    run.config_file.write_text(config.replace('"family": "vae"', '"family": "gan"'), "utf-8")
    with pytest.raises(UsageError, match="needs the family 'gan' that nothing here has: give its `plugin`"):
        genmnist.resume(run.folder)


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory, few: Splits) -> Run:
    folder = tmp_path_factory.mktemp("dead")
    run = broken_off(folder / "run", None, data=few, steps=16)
    run.former_state_file.unlink()
    return run


@pytest.fixture
def dead_run(dead: Run, tmp_path: Path) -> Run:
    """A run that has not finished, to be damaged."""
    return Run(shutil.copytree(dead.folder, tmp_path / "run"))


def _claim(**claims: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["progress"].update(claims)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_claim(history=[{}]), "its header is not one that this genmnist writes"),
        (_claim(history="x"), "its header is not one that this genmnist writes"),
        (_claim(count=-1), "its header is not one that this genmnist writes"),
        (_claim(count=10**6), "its epochs do not fit its steps"),
        (_claim(step=-1), "its header is not one that this genmnist writes"),
        (_claim(step=16, count=0, history=[]), "its epochs do not fit its steps"),
        (_claim(step=17, count=9), "it is of a run of another length"),
        (_claim(steps=17), "it is of a run of another length"),
        (_claim(scale=3), "its header is not one that this genmnist writes"),
        (_claim(scale=[1.0, 0]), "it is of a run of another precision"),
        (_claim(seconds="x"), "its header is not one that this genmnist writes"),
        (lambda document: document.pop("progress"), "its header is not one that this genmnist writes"),
        (lambda document: document["options"].update(latent=0), "`latent` must be a whole number"),
        (lambda document: document.update(family="gan"), "there is no family 'gan'"),
    ],
)
def test_hostile_states_are_refused(
    change: Callable[[dict[str, Any]], object], sentence: str, dead_run: Run, few: Splits
) -> None:
    tamper(dead_run.state_file, change)
    with pytest.raises(GenmnistError, match=sentence) as caught:
        genmnist.resume(dead_run.folder, data=few)
    assert str(dead_run.state_file) in str(caught.value)
    assert "\n" not in str(caught.value)


# One process at a time


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path, idx_folder: Path) -> None:
    run = broken_off(tmp_path / "run", idx_folder)
    with run.locked(), pytest.raises(GenmnistError, match="another process is training"):
        genmnist.resume(run.folder)
    (run.folder / ".notes-of-mine").mkdir()
    (run.samples / ".genmnist-writing-x").mkdir()
    genmnist.resume(run.folder)
    assert (run.folder / ".notes-of-mine").exists()
    assert not (run.samples / ".genmnist-writing-x").exists()


def test_a_run_is_locked_while_it_trains(tmp_path: Path, idx_folder: Path) -> None:
    refusals: list[str] = []

    def intrude(event: Event, trainer: Trainer) -> None:
        with pytest.raises(GenmnistError) as caught:
            genmnist.resume(tmp_path / "run")
        refusals.append(str(caught.value))

    train(tmp_path / "run", idx_folder, steps=1, listen=intrude)
    assert len(refusals) == 2
    assert all("another process is training" in refusal for refusal in refusals)


def test_resuming_locks_before_it_looks(
    tmp_path: Path, idx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the lock may finish the run, or be in the midst of writing: nothing is read until then."""
    run = broken_off(tmp_path / "run", idx_folder)
    config = run.config_file.read_text("utf-8")
    run.config_file.write_text("{", "utf-8")
    with run.locked(), pytest.raises(GenmnistError, match="another process is training"):
        genmnist.resume(run.folder)  # and not that it is damaged
    run.config_file.write_text(config, "utf-8")
    run.summary_file.write_text("{}", "utf-8")
    with run.locked(), pytest.raises(GenmnistError, match="another process is training"):
        genmnist.resume(run.folder)  # and not that it has finished
    run.summary_file.unlink()

    locked = Run.locked

    def slow(self: Run) -> Any:
        self.summary_file.write_text("{}", "utf-8")  # the other process finishes just before the lock is free
        return locked(self)

    monkeypatch.setattr(Run, "locked", slow)
    with pytest.raises(UsageError, match="has finished"):
        genmnist.resume(run.folder)


def test_what_is_no_run_is_not_locked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run folder: it has no config\.json"):
        genmnist.resume(tmp_path)
    assert not any(tmp_path.iterdir())


# The process is left as it was found


def _flushes() -> bool:
    return (torch.full((1,), 1e-40) * 1.0).item() == 0


def _state() -> dict[str, Any]:
    """Return what of the process a training might change."""
    return {
        "threads": torch.get_num_threads(),
        "flush-denormal": _flushes(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "cuBLAS": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "matmul": torch.get_float32_matmul_precision(),
        "gradients": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "folder": Path.cwd(),
    }


@pytest.fixture(params=["as Python starts", "otherwise"])
def process(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The state of the process, as it is at first or as its owner has set it."""
    threads = torch.get_num_threads()
    if request.param == "otherwise":
        torch.set_num_threads(2)
        torch.set_flush_denormal(True)
        torch.set_deterministic_debug_mode("warn")
        torch.set_float32_matmul_precision("high")
    yield _state()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    torch.set_deterministic_debug_mode("default")
    torch.set_float32_matmul_precision("highest")


def test_choosing_a_device_changes_nothing_of_the_process(process: dict[str, Any]) -> None:
    for name in ("auto", "cpu"):
        choose_device(name)
    assert _state() == process


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_and_resuming_leave_the_process_as_it_was(
    process: dict[str, Any], precision: str, tmp_path: Path, few: Splits
) -> None:
    inside: list[dict[str, Any]] = []

    def look(event: Event, trainer: Trainer) -> None:
        inside.append(_state())
        _interrupt(event, trainer)

    settings: dict[str, Any] = {"threads": 3, "deterministic": True, "precision": precision}
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train(run, None, data=few, listen=look, **settings)
    assert _state() == process
    assert (Run.open(run).config.threads, Run.open(run).config.deterministic) == (3, True)
    resumed = genmnist.resume(run, data=few, listen=look)
    assert _state() == process
    assert resumed.finished
    assert len(inside) > 16
    for state in inside:  # so there was something to put back
        assert (state["threads"], state["flush-denormal"], state["deterministic"]) == (3, True, 2)
        assert state["cuBLAS"]


def test_a_training_that_fails_leaves_the_process_as_it_was(
    process: dict[str, Any], tmp_path: Path, few: Splits
) -> None:
    def fail(event: Event, trainer: Trainer) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        train(tmp_path / "run", None, data=few, threads=3, deterministic=True, listen=fail)
    assert _state() == process
    with pytest.raises(EnoughError), products(torch.device("cpu"), "bfloat16"):
        raise EnoughError
    assert _state() == process


def test_computing_leaves_alone_what_it_was_not_asked_for(process: dict[str, Any]) -> None:
    with computing():
        assert _state() == process | {"flush-denormal": True}
    assert _state() == process
