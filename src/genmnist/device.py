"""Where the arithmetic happens, and in which precision."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from genmnist.distributed import local_rank, size
from genmnist.errors import GenmnistError, UsageError
from genmnist.threads import keep_balance, taking

if TYPE_CHECKING:
    import torch

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_ENOUGH = 1.0  # seconds to time products of matrices for
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def check_device(name: str) -> str:
    """Return `name` if it is the name of a device. Raises UsageError; needs no torch."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", name):
        raise UsageError(f"there is no device {name!r}; choose auto, cpu, cuda, cuda:N or mps")
    return name


def check_precision(name: str) -> str:
    """Return `name` if it is the name of a precision. Raises UsageError; needs no torch."""
    if name not in PRECISIONS:
        raise UsageError(f"there is no precision {name!r}; choose one of {', '.join(PRECISIONS)}")
    return name


def describe_machine() -> str:
    """Return what to write beside a time: the processor, the threads in use, and the GPU if there is one."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = f"{len(names)} cores of {names[0]}"
    except (OSError, IndexError):
        processor = platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = torch.get_num_threads()
    return f"{processor}, {threads} thread{'s' if threads > 1 else ''}{gpu}"


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; `auto` is the first CUDA device, else MPS, else the CPU.

    In a job of several processes each has a CUDA device of its own, the one of its number on its machine.

    Raises:
        UsageError: no device has such a name, or all processes of a job would have the same one.
        GenmnistError: this machine does not have it.
    """
    import torch

    check_device(name)
    if name == "auto":
        mps = torch.backends.mps.is_available() and size() == 1
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if size() > 1:
        if name not in ("cpu", "cuda"):
            raise UsageError(f"processes cannot share {name}: take `device` auto, cuda or cpu")
        name = name if name == "cpu" else f"cuda:{local_rank()}"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise GenmnistError(f"there is no CUDA device here for `device` {name}; take cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise GenmnistError(f"there is no device {name} here: the last of {count} is cuda:{count - 1}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise GenmnistError("there is no MPS device here; take `device` cpu or auto")
    return device


def gigaflops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the billions of operations a second of large matrix products, the best of some tries."""
    import torch

    size, rounds, best, passed = 1024, 8, math.inf, 0.0
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    # A CPU without the instructions for a type takes seconds a product: of that one is enough.
    for tries in (1, *(rounds,) * 4):
        started = time.perf_counter()
        for _ in range(tries):
            product = matrix @ matrix
        product[0, 0].item()  # waits for a GPU
        seconds = time.perf_counter() - started
        best, passed = min(best, seconds / tries), passed + seconds
        if passed > _ENOUGH:
            break
    return 2 * size**3 / best / 1e9


def choose_precision(name: str, device: torch.device) -> str:
    """Return the precision called `name`; `auto` is bfloat16 where the hardware has it, else float32.

    Raises:
        UsageError: there is no such precision.
    """
    import torch

    check_precision(name)
    if name != "auto":
        return name
    if device.type == "cpu":
        native = torch.backends.cpu.get_cpu_capability().startswith("AVX512")  # what oneDNN's kernels need
    else:
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"


@contextlib.contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Run a network in a precision: activations are kept in it, and products taken in it."""
    import torch

    if not torch.compiler.is_compiling():
        keep_balance()
    with torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32"):
        yield


@contextlib.contextmanager
def products(device: torch.device, precision: str) -> Iterator[None]:
    """Keep float32, but multiply its matrices in lower precision: bfloat16, or TF32 on a GPU.

    In a small MLP on a CPU the conversions that autocast puts around each product cost more than they
    save. Backward passes run under this too, for the float32 products that autocast leaves.
    """
    import torch

    if not torch.compiler.is_compiling():
        keep_balance()
    if precision == "float32":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if device.type == "cpu" else "high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def computing(
    threads: int | None = None, deterministic: bool = False, balanced: bool = False
) -> Iterator[None]:
    """Compute with so many threads, denormals flushed to zero, and leave the process as it was found.

    That includes the global random numbers of the CPU; those of other devices go on from where they are.

    A denormal costs the CPU a hundred cycles, and Adam's averages of the gradients of pixels that are almost
    never lit decay into millions of them. The flag is per thread and inherited: workers that torch has
    started before keep the one they have.

    Args:
        threads: of a CPU; None leaves them as they are.
        deterministic: use only kernels that give the same bits each time; slower, on a GPU.
        balanced: start with the fastest number of threads instead, and look for it again now and then.
    """
    import torch

    workspace_before = os.environ.get(_WORKSPACE)
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    warn_before = torch.is_deterministic_algorithms_warn_only_enabled()
    flushed = (torch.full((1,), 1e-40) * 1.0).item() == 0
    torch.set_flush_denormal(True)
    if deterministic:
        os.environ.setdefault(_WORKSPACE, ":4096:8")  # without which torch refuses to multiply on a GPU
        torch.use_deterministic_algorithms(True)
    try:
        number = None if balanced else threads or torch.get_num_threads()
        with torch.random.fork_rng(devices=()), taking(number):
            yield
    finally:
        torch.set_flush_denormal(flushed)
        if deterministic:  # or leave it alone: the call imports a compiler, which takes seconds
            torch.use_deterministic_algorithms(deterministic_before, warn_only=warn_before)
            if workspace_before is None:
                os.environ.pop(_WORKSPACE, None)
