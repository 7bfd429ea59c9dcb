"""Where the arithmetic happens, and in which precision."""

from __future__ import annotations

import contextlib
import math
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genmnist.errors import GenmnistError, UsageError

if TYPE_CHECKING:
    import torch

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
    return f"{processor}, {torch.get_num_threads()} threads{gpu}"


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; `auto` is the first CUDA device, else MPS, else the CPU.

    Raises:
        UsageError: no device has such a name.
        GenmnistError: this machine does not have it.
    """
    import torch

    # A denormal costs the CPU a hundred cycles, and Adam's averages of the gradients of pixels that are
    # almost never lit decay into millions of them. The flag is per thread and inherited, so it must be set
    # before the first parallel operation starts the workers.
    torch.set_flush_denormal(True)
    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise GenmnistError(f"there is no CUDA device here for --device {name}; use --device cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise GenmnistError(f"there is no device {name} here: the last of {count} is cuda:{count - 1}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise GenmnistError("there is no MPS device here; use --device cpu or auto")
    return device


def gigaflops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the billions of operations a second of large matrix products, the best of four tries."""
    import torch

    size, rounds, best = 1024, 8, math.inf
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    for _ in range(4):
        started = time.perf_counter()
        for _ in range(rounds):
            product = matrix @ matrix
        product[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 * rounds / best / 1e9


@dataclass(frozen=True)
class Precision:
    """The precision of a network's arithmetic on one device; everything else stays in float32."""

    name: str
    device: torch.device

    @classmethod
    def choose(cls, name: str, device: torch.device) -> Precision:
        """Return the precision called `name`; `auto` is bfloat16 where the hardware has it, else float32.

        Raises:
            UsageError: there is no such precision.
        """
        import torch

        check_precision(name)
        if name == "auto":
            if device.type == "cpu":
                native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
            else:
                native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            name = "bfloat16" if native else "float32"
        return cls(name, device)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Run a network in this precision: activations are kept in it, and products taken in it."""
        import torch

        with torch.autocast(self.device.type, getattr(torch, self.name), enabled=self.name != "float32"):
            yield

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Keep float32, but multiply its matrices in lower precision: bfloat16, or TF32 on a GPU.

        In a small MLP on a CPU the conversions that autocast puts around each product cost more than they
        save. Backward passes run under this too, for the float32 products that autocast leaves.
        """
        import torch

        if self.name == "float32":
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium" if self.device.type == "cpu" else "high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
