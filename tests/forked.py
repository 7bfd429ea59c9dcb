"""Commands in processes of their own that need not import torch again: each is forked from one that has."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# The server reads no other environment than that of its start; it never runs anything itself, because a
# process that has taken gradients cannot be forked into one that takes some.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["genmnist.api", "genmnist.cli.app", "matplotlib.figure", "rich.console"])


def run(words: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float) -> int:
    """Run `genmnist` with these words, its output in `out` and `err` beside `folder`; return its status."""
    process = _CONTEXT.Process(target=_main, args=(list(words), str(folder), dict(environment)))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"genmnist {' '.join(words)} took more than {seconds} s")
    assert process.exitcode is not None
    return process.exitcode


def _main(words: list[str], folder: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        stream.flush()
        file = os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream.fileno())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.argv = ["genmnist", *words]

    from genmnist.cli import main

    main()
