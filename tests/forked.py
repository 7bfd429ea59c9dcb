"""Commands in processes of their own that need not import torch again: each is forked from one that has."""

from __future__ import annotations

import multiprocessing
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

# The server reads no other environment than that of its start; it never runs anything itself, because a
# process that has taken gradients cannot be forked into one that takes some. The first optimiser of a process
# imports torch._dynamo, which takes as long as torch; Typer, with the first command, a quarter of its time.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("genmnist.api", "genmnist.cli.app", "genmnist.nn.vae", "filelock", "matplotlib.figure"),
        *("PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PpmImagePlugin"),
        *("pydantic.functional_validators", "pydantic.type_adapter", "rich.console", "torch._dynamo"),
    ]
)


def start(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    largest_file: int | None = None,
    label: str = "",
) -> BaseProcess:
    """Start `genmnist` with these words, its output in `out` and `err` beside `folder`, behind a label.

    It can write files of `largest_file` bytes only, as if the disk were full then.
    """
    words, environment = list(words), dict(environment)
    process = _CONTEXT.Process(target=_main, args=(words, str(folder), environment, largest_file, label))
    process.start()
    return process


def start_job(
    words: Sequence[Sequence[str]], folder: Path, environment: Mapping[str, str], **variables: str
) -> list[BaseProcess]:
    """Start a job of several processes as torchrun does, each with words and output files of its own.

    The output of process n is in `n.out` and `n.err` beside `folder`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(len(words)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        start(own, folder, {**environment, **shared, **_ranks(rank), **variables}, label=f".{rank}")
        for rank, own in enumerate(words)
    ]


def _ranks(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def end(processes: Sequence[BaseProcess], seconds: float, said: Callable[[], object]) -> list[int | None]:
    """Wait for the end of a job, and return the status of each process; none may hang, or `said` is shown."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0.1))
    hanging = [process for process in processes if process.is_alive()]
    for process in hanging:
        process.kill()
    assert not hanging, said()
    return [process.exitcode for process in processes]


def run(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    seconds: float,
    largest_file: int | None = None,
) -> int:
    """Run what `start` starts to its end, and return its status."""
    process = start(words, folder, environment, largest_file)
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"genmnist {' '.join(words)} took more than {seconds} s")
    assert process.exitcode is not None
    return process.exitcode


def _main(
    words: list[str], folder: str, environment: dict[str, str], largest_file: int | None, label: str
) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        stream.flush()
        file = os.open(f"{folder}{label}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream.fileno())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.argv = ["genmnist", *words]

    from genmnist.cli import main

    main()
