"""The processes of one job, which torchrun starts: who they are, and what they agree on.

Ranks come from the environment alone (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), as torchrun
and others set them. Everything that processes tell each other goes through `Ranks`; a job of one process is
`ALONE`, for which nothing here costs anything. A process that ends or hangs makes what the others wait for
fail, at once or within the time-out, as a `GenmnistError` in one sentence.

What answers before torch is imported (`rank`, `size`, `leads`) needs the environment only.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from genmnist.errors import GenmnistError, UsageError
from genmnist.text import first_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from genmnist.shares import Share

_T = TypeVar("_T")
_Item = TypeVar("_Item")
_TIMEOUT = "GENMNIST_RANK_TIMEOUT"  # seconds that a process waits for another
_DEFAULT_TIMEOUT = 600.0
_SAID = "genmnist/said"  # by how many a sentence was to be said, in the job's store
_PATIENCE = 2.0  # seconds in which the first process can say what all have met, and the job ends


def size() -> int:
    """Return how many processes the job has. Raises UsageError if the environment makes no sense."""
    return _number("WORLD_SIZE", 1, 1)


def rank() -> int:
    """Return the number of this process among them, from 0. Raises UsageError as `size` does."""
    number = _number("RANK", 0, 0)
    if number >= size():
        raise UsageError(f"RANK is {number}, but WORLD_SIZE is {size()}: start the command by torchrun")
    return number


def local_rank() -> int:
    """Return the number of this process among those of its machine, from 0."""
    return _number("LOCAL_RANK", rank(), 0)


def leads() -> bool:
    """Tell whether this process is the one that speaks and writes."""
    return rank() == 0


def _number(name: str, default: int, least: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= 10**6:
        raise UsageError(f"{name} is {text!r:.40}, which is no number of a process: start it by torchrun")
    return int(text)


class Ranks:
    """The processes of a job, as one of them sees them; this class is the job of one.

    Attributes:
        rank, size: the number of this process, and how many there are.
    """

    rank, size = 0, 1

    @property
    def leads(self) -> bool:
        """Tell whether this process is the one that writes."""
        return self.rank == 0

    def same(self, value: _T, kind: Any) -> _T:
        """Return what the first process gives, on all of them; `kind` is its type."""
        return value

    def first(self, work: Callable[[], _T], kind: Any) -> _T:
        """Let the first process do something; return what it returns, or raise what it raises, on all.

        `kind` is the type of what it returns.
        """
        return work()

    def lead(self, work: Callable[[], object]) -> None:
        """Let the first process do something that returns nothing of use; raise what it raises, on all."""

        def done() -> None:
            work()

        self.first(done, Any)

    def gather(self, value: _T, kind: Any) -> list[_T]:
        """Return what every process gives, by rank; `kind` is its type."""
        return [value]

    def each(self, work: Callable[[_Item], Tensor], items: Iterable[_Item]) -> Iterator[Tensor]:
        """Do something for each of some items; yield what it returns, in order, on all processes.

        Where there are several each does one at a time, and holds what all have done meanwhile.

        Args:
            work: returns a tensor on the CPU.
            items: what it is given.
        """
        return map(work, items)

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        return tensor

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the contents of the first one's tensors."""

    def vote(self, *numbers: int) -> tuple[int, ...]:
        """Return the sums over all processes of whole numbers, as every process has them at the same time.

        Where there are several, these are the sums of the call before, so that nobody waits: what is said
        travels while the next step is computed. The first call returns zeros.
        """
        return numbers

    def end_votes(self) -> None:
        """Hear the last vote out, so that the next one is the first of its kind."""

    def wrap(self, module: nn.Module, unused: bool = False) -> Callable[..., Any]:
        """Return a module whose gradients are averaged over all processes.

        Args:
            module: what is called, and differentiated.
            unused: whether some of its weights may have no gradient.
        """
        return module

    def shares(self, whole: int, parts: int = 1) -> list[Share]:
        """Return this process's shares of a batch, one after another; one that is all of it where it is."""
        from genmnist.shares import split

        total = self.total if parts == 1 else None
        return [replace(share, total=total) for share in split(whole, self.size, parts, self.rank)]

    def join(self, rows: Sequence[Tensor], shares: Sequence[Share]) -> Tensor:
        """Return the rows of the whole batch from those of the shares, as all processes hold them."""
        import torch

        if self.size == 1 and len(rows) == 1:
            return rows[0]
        whole = torch.zeros((shares[0].whole, *rows[0].shape[1:]), dtype=rows[0].dtype, device=rows[0].device)
        for part, share in zip(rows, shares, strict=True):
            whole[share.first : share.first + share.counted] = part[: share.counted]
        return self.total(whole)

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Raise UsageError, on all processes alike, if one of them has other facts than the first."""
        everyone = self.gather(dict(facts), dict[str, Any])
        for number, others in enumerate(everyone):
            for name in sorted({*facts, *others}):
                if others.get(name) != everyone[0].get(name):
                    raise UsageError(
                        f"process {number} of the job has another `{name}` than process 0 "
                        f"({others.get(name)!r:.60}, not {everyone[0].get(name)!r:.60}): start all alike"
                    )

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Say in one sentence if another process does not answer in what is done here."""
        yield


ALONE = Ranks()


class _Several(Ranks):
    """The processes of a job of several.

    Gradients travel by NCCL between GPUs and by gloo between CPUs; what is agreed on always by gloo, in a
    group of its own, so that no GPU is waited for. It travels as MessagePack and is read as the type that
    both ends know: torch's own way to tell objects would unpickle whatever came.
    """

    def __init__(self, device: torch.device) -> None:
        import torch
        import torch.distributed as dist

        self.rank, self.size = rank(), size()
        wait = _timeout()
        _check_reachable()
        try:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            if not dist.is_initialized():
                dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=wait)
            self._words: Any = dist.new_group(backend="gloo", timeout=wait)
        except (RuntimeError, ValueError, OSError) as error:
            raise GenmnistError(
                f"the processes of the job do not find each other ({_reason(error)})"
            ) from error
        self._said: tuple[Tensor, Any] | None = None

    def same(self, value: _T, kind: Any) -> _T:
        told, *_ = self.gather(value if self.leads else None, kind | None)
        return value if self.leads else cast("_T", told)

    def first(self, work: Callable[[], _T], kind: Any) -> _T:
        result, failed = None, ("", 0)
        either = tuple[kind | None, tuple[str, int]]
        if self.leads:
            try:
                result = work()
            except Exception as error:
                self.same((None, (str(error), getattr(error, "exit_status", 1))), either)
                raise
        result, (sentence, status) = self.same((result, failed), either)
        if status:
            raise UsageError(sentence) if status == UsageError.exit_status else GenmnistError(sentence)
        return cast("_T", result)

    def gather(self, value: _T, kind: Any) -> list[_T]:
        import torch
        import torch.distributed as dist

        packed = _packed(value)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with self.answering():
            dist.all_gather(lengths, torch.tensor([len(packed)]), self._words)
            longest = max(map(int, lengths))
            told = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
            padding = torch.zeros(longest - len(packed), dtype=torch.uint8)
            dist.all_gather(told, torch.cat((packed, padding)), self._words)
        return [_unpacked(part[: int(length)], kind) for part, length in zip(told, lengths, strict=True)]

    def each(self, work: Callable[[_Item], Tensor], items: Iterable[_Item]) -> Iterator[Tensor]:
        waiting = iter(items)
        while turn := [*itertools.islice(waiting, self.size)]:
            own = _Rows.of(work(turn[self.rank])) if self.rank < len(turn) else None
            yield from (rows.tensor() for rows in self.gather(own, _Rows | None) if rows)

    def total(self, tensor: Tensor) -> Tensor:
        import torch.distributed as dist

        found = tensor.detach().cpu().clone()
        with self.answering():
            dist.all_reduce(found, group=self._words)
        return found.to(tensor.device)

    def spread(self, tensors: Sequence[Tensor]) -> None:
        import torch.distributed as dist

        for tensor in tensors:
            held = tensor.detach().cpu().contiguous()
            with self.answering():
                dist.broadcast(held, 0, self._words)
            tensor.copy_(held)

    def vote(self, *numbers: int) -> tuple[int, ...]:
        import torch
        import torch.distributed as dist

        with self.answering():
            before = (0,) * len(numbers)
            if self._said is not None:
                heard, work = self._said
                work.wait()
                before = tuple(map(int, heard.tolist()))
            said = torch.tensor(numbers, dtype=torch.int64)
            self._said = said, dist.all_reduce(said, group=self._words, async_op=True)
        return before

    def end_votes(self) -> None:
        if self._said is not None:
            with self.answering():
                self._said[1].wait()
            self._said = None

    def wrap(self, module: nn.Module, unused: bool = False) -> Callable[..., Any]:
        from torch.nn.parallel import DistributedDataParallel

        with self.answering():
            return DistributedDataParallel(module, find_unused_parameters=unused)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        import torch.distributed as dist

        try:
            yield
        except (dist.DistError, RuntimeError) as error:
            if isinstance(error, dist.DistError) or any(word in str(error) for word in _OF_OTHERS):
                raise GenmnistError(
                    f"another process of the job has ended or no longer answers ({_reason(error)}): "
                    "what was last saved is kept; start the job again"
                ) from error
            raise


class _Rows(msgspec.Struct, frozen=True):
    """A tensor that travels."""

    kind: str
    shape: tuple[int, ...]
    content: bytes

    @classmethod
    def of(cls, tensor: Tensor) -> _Rows:
        array = tensor.numpy()
        return cls(array.dtype.name, array.shape, array.tobytes())

    def tensor(self) -> Tensor:
        import numpy as np
        import torch

        return torch.from_numpy(np.frombuffer(bytearray(self.content), self.kind).reshape(self.shape))


def _packed(value: object) -> Tensor:
    """Return a plain value as bytes."""
    import torch

    return torch.frombuffer(bytearray(msgspec.msgpack.encode(value)), dtype=torch.uint8)


def _unpacked(told: Tensor, kind: Any) -> Any:
    """Return the value of that type which another process has packed."""
    return msgspec.msgpack.decode(told.numpy().tobytes(), type=kind)


# What stands in the messages of the errors that another process's end causes.
_OF_OTHERS = ("gloo", "NCCL", "onnection", "timed out", "Timed out", "Broken pipe", "Socket")


@functools.cache
def _joined(device: torch.device) -> Ranks:
    return _Several(device)


def join(device: torch.device) -> Ranks:
    """Return the processes of the job that this one belongs to, once all are there; alone, where it is.

    Args:
        device: where it computes.

    Raises:
        UsageError: the environment makes no sense.
        GenmnistError: the others do not come.
    """
    return ALONE if size() == 1 else _joined(device)


def leave() -> None:
    """Take leave of the other processes, at the end of a command that has succeeded."""
    if has_joined():
        import torch.distributed as dist

        _joined.cache_clear()
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def speaks() -> bool:
    """Tell whether this process is to say what went wrong: one of all does.

    Before they have met each other that is the first process; another waits until the job would have ended
    if all had met the same error.
    """
    if "WORLD_SIZE" not in os.environ:
        return True
    try:
        if size() == 1:
            return True
        if has_joined():
            return _first_to_speak()
        if not leads():
            time.sleep(_PATIENCE)
    except (UsageError, RuntimeError):
        pass
    return True


def has_joined() -> bool:
    """Tell whether this process has met the others of its job."""
    return _joined.cache_info().currsize > 0


def _first_to_speak() -> bool:
    """Ask the job's store; whoever gets no answer, because its process has ended or hangs, speaks.

    The first process, which may be the one that keeps the store, waits a little until others have asked.
    """
    import torch.distributed as dist

    numbers: list[int] = []
    deadline = time.monotonic() + _PATIENCE

    def ask() -> None:
        with contextlib.suppress(RuntimeError):
            store = dist.distributed_c10d._get_default_store()
            numbers.append(store.add(_SAID, 1))
            while leads() and store.add(_SAID, 0) < size() and time.monotonic() < deadline:
                time.sleep(0.02)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return numbers in ([], [1])


def _timeout() -> Any:
    """Return how long a process waits for another. Raises UsageError if the environment makes no sense."""
    import datetime

    text = os.environ.get(_TIMEOUT, "")
    try:
        seconds = float(text) if text else _DEFAULT_TIMEOUT
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e8:
        raise UsageError(f"{_TIMEOUT} is {text!r:.40}: it must be a number of seconds")
    return datetime.timedelta(seconds=seconds)


def _check_reachable() -> None:
    """Raise UsageError unless the environment says where the first process is."""
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise UsageError(
                f"WORLD_SIZE is {size()}, but {name} is not set: start the command by torchrun, "
                "or unset WORLD_SIZE"
            )


def _reason(error: BaseException) -> str:
    """Return the gist of an error of torch.distributed: its first line, without its place in the source."""
    return first_line(error).rpartition("] ")[2][:120].rstrip(". ")
