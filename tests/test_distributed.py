"""Several processes as one: the same run whatever their number, and no waiting for who does not come."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import forked
from conftest import Command, environment, one_sentence, slow
from genmnist import distributed, shares
from genmnist.data import Splits
from genmnist.errors import UsageError
from genmnist.families.classifier import ClassifierOptions
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.recipe import Recipe
from genmnist.families.vae import VAEOptions
from genmnist.files import TEMPORARY
from genmnist.models import VAE, Classifier, Diffusion, Model
from genmnist.randomness import reseed
from genmnist.runs.folder import Run
from genmnist.shares import for_batch, normal_like, sharing, split
from genmnist.training import Trainer, posthoc
from small_runs import same, saved_step, tensors, timeless

CPU = torch.device("cpu")


class Job:
    """Jobs of several processes, which share one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *words: Sequence[object], **variables: str) -> list[BaseProcess]:
        """Start a process for each list of words."""
        texts = [[*map(str, own)] for own in words]
        return forked.start_job(texts, self.folder, environment(self.folder), **variables)

    def end(self, processes: Sequence[BaseProcess], seconds: float = 120) -> list[int | None]:
        """Wait for the end of a job, and return the status of each process."""
        return forked.end(processes, seconds, lambda: [self.said(number) for number in range(len(processes))])

    def run(self, *words: object, size: int = 2, seconds: float = 120) -> None:
        """Run the same command in so many processes, all of which must succeed."""
        assert self.end(self.start(*[words] * size), seconds) == [0] * size, self.sentences(size)

    def said(self, number: int, stream: str = "err") -> str:
        return Path(f"{self.folder}.{number}.{stream}").read_text("utf-8")

    def sentences(self, size: int = 2) -> list[str]:
        """Return what all processes wrote on standard error, without the warnings of torch."""
        lines = [line for number in range(size) for line in self.said(number).splitlines()]
        assert not any("Traceback" in line for line in lines)
        return [line for line in lines if line.startswith("genmnist")]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def options(data: Path, *more: object) -> tuple[object, ...]:
    return (
        "--data-dir",
        data,
        "--device",
        "cpu",
        "--precision",
        "float32",
        "--sample-every",
        0,
        "--quiet",
        *more,
    )


SMALL_VAE = (
    "train",
    "vae",
    "--hidden",
    16,
    "--latent",
    4,
    "--batch-size",
    50,
    "--free-bits",
    0.05,
    "--ema",
    0.9,
)
SMALL_CFG = ("train", "cfg", "--size", "tiny", "--batch-size", 21, "--steps", 8, "--times", "adaptive")


# Shares of a batch


@pytest.mark.parametrize(
    ("whole", "processes", "parts"), [(10, 2, 1), (10, 3, 2), (7, 3, 1), (2, 3, 1), (1, 4, 2), (64, 1, 5)]
)
def test_shares_are_the_whole_batch(whole: int, processes: int, parts: int) -> None:
    found = [split(whole, processes, parts, process) for process in range(processes)]
    assert len({len(own) for own in found}) == 1  # or one would wait for another
    seen = [k for own in found for share in own for k in range(share.first, share.first + share.counted)]
    assert seen == [*range(whole)]
    assert sum(share.weight for own in found for share in own) == pytest.approx(1)
    assert all(share.count and share.first + share.count <= whole for own in found for share in own)


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_that_of_the_whole_batch(channels: int) -> None:
    images = torch.zeros(10, 4, 4, channels).permute(0, 3, 1, 2)
    reseed(CPU, 0)
    whole = normal_like(images)
    reseed(CPU, 0)
    assert torch.equal(whole, torch.randn_like(images))
    for share in (own for process in range(3) for own in split(10, 3, 2, process)):
        reseed(CPU, 0)
        with sharing(share):
            part = normal_like(images[share.first : share.first + share.count])
        assert torch.equal(part, whole[share.first : share.first + share.count])
    with sharing(split(10, 2)[0]), pytest.raises(ValueError, match="there are 5 images in this share"):
        for_batch(4, torch.rand)
    assert not shares.is_shared()


MODELS: dict[str, Callable[[], Model]] = {
    "vae": lambda: VAE(VAEOptions(hidden=16, latent=4)),
    "ddpm": lambda: Diffusion(DiffusionOptions(size="tiny", times="adaptive")),
    "classifier": lambda: Classifier(ClassifierOptions(width=8)),
}


@pytest.mark.parametrize("name", ["vae", *slow("classifier", "ddpm")])
def test_a_batch_in_parts_is_the_same_batch(name: str, few: Splits) -> None:
    """Losses and weights agree to rounding, though the last batch of an epoch does not divide evenly."""
    found = []
    for parts in (1, 3):
        reseed(CPU, 0)
        model = MODELS[name]()
        recipe = Recipe(batch_size=300, accumulate=parts, lr=1e-3)
        trainer = Trainer(model, few, recipe, steps=5)  # the fourth batch has 100 images
        list(trainer.train())
        found.append((trainer.history, model.state_dict()))
    (whole, weights), (parted, others) = found
    for one, other in zip(whole, parted, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert other.val_loss == pytest.approx(one.val_loss, rel=1e-4)
    for key, tensor in weights.items():
        torch.testing.assert_close(others[key], tensor, rtol=1e-2, atol=2e-3, msg=key)


def test_what_cannot_be_shared_is_refused(few: Splits) -> None:
    for recipe, sentence in (
        (Recipe(batch_size=4, accumulate=5), "a batch of 4 images has no 5 parts: lower `accumulate`"),
        (Recipe(batch_size=4, accumulate=2), "`accumulate` cannot part a batch"),
    ):
        with pytest.raises(UsageError, match=sentence):
            Trainer(VAE(VAEOptions(hidden=16, latent=4, free_bits=0.1)), few, recipe, steps=1)


# Two processes


def test_two_processes_train_as_one_does(
    genmnist: Command, job: Job, idx_folder: Path, tmp_path: Path
) -> None:
    """Free bits are a function of the whole batch, and the adaptive noise levels learn from it."""
    for words, name in ((SMALL_VAE, "vae"), (SMALL_CFG, "cfg")):
        more = ("--snapshots", 3, *(("--epochs", 1) if name == "vae" else ()))
        command = (*words, *options(idx_folder), *more)
        assert genmnist(*command, "--out", f"{name}-1").status == 0
        job.run(*command, "--out", f"{name}-2")
        one, two = Run(tmp_path / f"{name}-1"), Run(tmp_path / f"{name}-2")
        assert (one.config.ranks, two.config.ranks, two.summary.ranks) == (1, 2, 2)
        for line, other in zip(one.metrics, two.metrics, strict=True):
            assert other.train_loss == pytest.approx(line.train_loss, rel=1e-5)
            assert other.val_loss == pytest.approx(line.val_loss, rel=1e-5)
        for key, tensor in tensors(one).items():
            torch.testing.assert_close(tensors(two)[key], tensor, rtol=1e-3, atol=1e-4, msg=key)
        ours, theirs = (posthoc.average(run, 0.07).state_dict() for run in (one, two))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        assert job.sentences() == []


@pytest.mark.slow
def test_a_job_is_resumed_to_the_bit_and_by_another_number_of_processes(
    job: Job, genmnist: Command, idx_folder: Path, tmp_path: Path
) -> None:
    command = (*SMALL_VAE, *options(idx_folder, "--epochs", 5, "--save-every", "0.1s"))
    job.run(*command, "--out", "whole")
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "run")
    words = (*command, "--out", "run", "--resume", "auto")
    processes = job.start(words, words)
    _wait_for(run.state_file.exists)
    processes[1].kill()
    assert job.end(processes) == [1, -signal.SIGKILL]
    assert len(job.sentences()) == 1
    assert "another process of the job has ended or no longer answers" in job.sentences()[0]
    assert saved_step(run) < 100
    processes = job.start(words, words)
    time.sleep(0.4)
    for process in processes:
        assert process.pid
        os.kill(process.pid, signal.SIGTERM)  # as torchrun ends a job
    assert set(job.end(processes)) <= {130, 0, 128 + signal.SIGTERM, -signal.SIGTERM}
    if not run.finished:
        job.run(*words)
    assert same(tensors(whole), tensors(run))
    assert timeless(whole.metrics) == timeless(run.metrics)
    # On one process what is left is done, too, and it is said that this is not the same to the bit.
    run.summary_file.unlink()
    done = genmnist("train", "vae", "--resume", "run")
    assert done.status == 0, done.err
    assert "saved by 2 processes and goes on with 1: its results are the same to rounding" in done.out


def _wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_job_in_time(job: Job, idx_folder: Path, tmp_path: Path) -> None:
    words = (*SMALL_VAE, *options(idx_folder, "--epochs", 200, "--out", "run", "--save-every", "0.05s"))
    processes = job.start(words, words, GENMNIST_RANK_TIMEOUT="3")
    _wait_for(Run(tmp_path / "run").state_file.exists)
    assert processes[0].pid
    os.kill(processes[0].pid, signal.SIGSTOP)
    started = time.monotonic()
    processes[1].join(30)
    assert time.monotonic() - started < 20
    assert processes[1].exitcode == 1
    processes[0].kill()
    processes[0].join()
    assert "has ended or no longer answers" in "".join(job.sentences())
    assert saved_step(Run(tmp_path / "run")) > 0


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--lr", 0.01), "process 1 of the job has another --lr than process 0 (0.01, not 0.001)"),
        (("--seed", 1), "process 1 of the job has another --seed than process 0 (1, not 0)"),
        (("--data-dir", "others"), "process 1 of the job has another `data` than process 0"),
    ],
)
def test_processes_must_be_started_alike(
    more: Sequence[object], sentence: str, job: Job, idx_folder: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    for path in idx_folder.iterdir():
        content = bytearray(path.read_bytes())
        if "labels" in path.name:
            content[-1] ^= 1
        (others / path.name).write_bytes(content)
    words = (*SMALL_VAE, *options(idx_folder, "--out", "run", "--epochs", 1))
    assert job.end(job.start(words, (*words, *more))) == [2, 2]
    assert len(job.sentences()) == 1, job.sentences()
    assert sentence in job.sentences()[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "variables", "sentence"),
    [
        ((), {"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK is not set: start the command by torchrun"),
        ((), {"WORLD_SIZE": "2", "RANK": "0"}, "but MASTER_ADDR is not set: start the command by torchrun"),
        ((), {"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2, but WORLD_SIZE is 2"),
        ((), {"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', which is no number"),
        (("--device", "cuda:1"), {"WORLD_SIZE": "2", "RANK": "0"}, "processes cannot share cuda:1"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(
    words: Sequence[object],
    variables: dict[str, str],
    sentence: str,
    genmnist: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    status = forked.run(
        ["train", "vae", "--epochs", "1", *map(str, words)], tmp_path, environment(tmp_path) | variables, 60
    )
    assert status == 2
    assert sentence in Path(f"{tmp_path}.err").read_text("utf-8")


def test_more_processes_than_images_are_refused(job: Job, idx_folder: Path) -> None:
    words = (*SMALL_VAE, *options(idx_folder, "--epochs", 1, "--batch-size", 1))
    assert job.end(job.start(words, words)) == [2, 2]
    assert len(job.sentences()) == 1
    assert "2 processes cannot share batches of 1 images: raise --batch-size" in job.sentences()[0]


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    ranks = distributed.join(CPU)
    assert (ranks.rank, ranks.size, ranks.leads) == (0, 1, True)
    assert ranks.vote(1, 0, 7) == (1, 0, 7)
    assert ranks.same("x", str) == "x"
    assert ranks.gather(3, int) == [3]


@pytest.mark.parametrize("out", ["out.npz", *slow("out", "out.png", "out.gif")])
def test_two_processes_draw_as_one_does(out: str, genmnist: Command, job: Job, tmp_path: Path) -> None:
    """Five batches of four, the last one smaller: of the last turn the second process has none."""
    command = ("sample", "cfg", "--model", "bundled", "--label", "3,7", "--steps", 2, "--num", 18,
               "--batch-size", 4, "--threads", 1, "--device", "cpu", "--precision", "float32",
               "--out")  # fmt: skip
    assert genmnist(*command, f"one/{out}").status == 0
    job.run(*command, f"two/{out}")
    assert (job.said(1, "out"), job.sentences()) == ("", [])
    one, two = tmp_path / "one" / out, tmp_path / "two" / out
    if out == "out.npz":
        ours, theirs = ({**np.load(path)} for path in (one, two))
        assert [*ours] == [*theirs] == ["images", "labels"]
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
        return
    pictures = [one] if one.is_file() else sorted(one.iterdir())
    assert len(pictures) == (1 if one.is_file() else 18)
    for path in pictures:
        with (
            Image.open(path) as picture,
            Image.open(two / path.name if one.is_dir() else two) as other,
        ):
            assert picture.tobytes() == other.tobytes(), path
    assert one.is_file() or len([*two.iterdir()]) == 18


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--target", "categorical")])
def test_two_processes_measure_as_one_does(
    options: tuple[str, ...],
    trained: Callable[..., Path],
    genmnist: Command,
    job: Job,
    idx_folder: Path,
    tmp_path: Path,
) -> None:
    """All numbers are the same to the bit: nothing depends on who computed which batch."""
    run = trained("ddpm", "--size", "tiny", "--device", "cpu", "--precision", "float32", *options)
    command = ("evaluate", "ddpm", "--model", run, "--num", 70, "--quick", "--data-dir", idx_folder,
               "--threads", 1, "--device", "cpu", "--precision", "float32", "--out")  # fmt: skip
    assert genmnist(*command, "one").status == 0
    job.run(*command, "two", seconds=500)
    assert (job.said(1, "out"), job.sentences()) == ("", [])
    one, two = (
        json.loads((tmp_path / name / "evaluation.json").read_text("utf-8")) for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    for picture in (tmp_path / "one").glob("*.png"):
        with Image.open(picture) as ours, Image.open(tmp_path / "two" / picture.name) as theirs:
            assert ours.tobytes() == theirs.tobytes(), picture


def test_processes_must_be_asked_alike(job: Job) -> None:
    words = ("sample", "vae", "--model", "bundled", "--device", "cpu")
    assert job.end(job.start(words, (*words, "--seed", 1))) == [2, 2]
    (sentence,) = job.sentences()
    assert "process 1 of the job has another `command` than process 0" in sentence


@pytest.mark.slow
def test_a_process_that_dies_while_it_draws_leaves_no_half_file(job: Job, tmp_path: Path) -> None:
    words = ("sample", "ddpm", "--model", "bundled", "--num", 5000, "--batch-size", 16, "--out", "many.npz")
    processes = job.start(words, words)
    _wait_for(lambda: any(tmp_path.glob(f"{TEMPORARY}*/many.npz")))
    processes[1].kill()
    assert job.end(processes) == [1, -signal.SIGKILL]
    (sentence,) = job.sentences()
    assert "another process of the job has ended or no longer answers" in sentence
    assert [path.name for path in tmp_path.iterdir() if "many" in path.name or TEMPORARY in path.name] == []


def test_only_one_of_a_job_makes_what_is_not_shared(job: Job, tmp_path: Path) -> None:
    words = ("data", "--json")
    assert job.end(job.start(words, words)) == [0, 0]
    assert job.said(0, "out").startswith("{")
    assert job.said(1, "out") == ""


def test_one_sentence_is_enough(genmnist: Command) -> None:
    assert one_sentence(genmnist("train", "vae", "--resume", "auto"), 2)
