"""A batch of which a computation sees only a share: what is drawn or averaged belongs to the whole batch.

Several processes may share a batch between them, and one process may go through a batch in parts. The loss of
a model need not know: it draws by `for_batch` and `normal_like`, which draw for the whole batch and return
the rows of the share at work, so that a run is the same function of seed and batch however it is shared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Images `first` … `first + count - 1` of a batch of `whole`.

    Args:
        counted: how many of them count. A share that has no image of its own works on one that does not, so
            that whoever shares a batch takes the same way through the computation.
        total: sums a tensor over all shares; None where they are not worked on at the same time.
    """

    first: int
    count: int
    whole: int
    counted: int
    total: Callable[[Tensor], Tensor] | None = None

    @property
    def weight(self) -> float:
        """Return how much a mean over this share counts in the mean over the batch."""
        return self.counted / self.whole


_at_work: Share | None = None  # None: the batch is seen whole


@contextlib.contextmanager
def sharing(share: Share | None) -> Iterator[None]:
    """Let what is computed know that it sees a share of a batch; None: all of it."""
    global _at_work
    before, _at_work = _at_work, share
    try:
        yield
    finally:
        _at_work = before


def is_shared() -> bool:
    """Tell whether what is computed sees a share of a batch."""
    return _at_work is not None


def split(whole: int, processes: int, parts: int = 1, process: int = 0) -> list[Share]:
    """Return the shares of a batch that one of several processes works on, in this order.

    All processes have equally many, which differ in size by one image at most.
    """
    edges = [number * whole // processes for number in range(processes + 1)]
    largest = -(-whole // processes)
    parts = min(parts, largest)
    begin, size = edges[process], edges[process + 1] - edges[process]
    shares = []
    for part in range(parts):
        first, end = begin + part * size // parts, begin + (part + 1) * size // parts
        counted = end - first
        shares.append(Share(first if counted else min(first, whole - 1), counted or 1, whole, counted))
    return shares


def for_batch(count: int, draw: Callable[[int], Tensor]) -> Tensor:
    """Return `draw(count)`; of a share, its rows of what is drawn for the whole batch.

    Args:
        count: how many images the computation sees.
        draw: returns random numbers for so many images, a row each.

    Raises:
        ValueError: the share has another number of images.
    """
    share = _at_work
    if share is None:
        return draw(count)
    if share.count != count:
        raise ValueError(f"there are {share.count} images in this share of the batch, not {count}")
    return draw(share.whole)[share.first : share.first + count]


def normal_like(x: Tensor) -> Tensor:
    """Return standard normal noise of the shape, type and layout of `x`, a row an image."""

    def draw(whole: int) -> Tensor:
        if whole == len(x):
            return torch.randn_like(x)
        last = x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        empty = torch.empty((whole, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=layout)
        return empty.normal_()

    return for_batch(len(x), draw)


def batch_mean(x: Tensor) -> Tensor:
    """Return the mean over the images of the batch, for a loss that is no mean over them.

    Of a share it has the value for the whole batch and the gradient of the share's own mean, whose weighted
    mean over all shares is the whole's.

    Raises:
        ValueError: the shares of the batch are not worked on at the same time.
    """
    share, own = _at_work, x.mean(0)
    if share is None:
        return own
    if share.total is None:
        raise ValueError("a mean over the batch cannot be had from one part of it after another")
    whole = share.total(own.detach() * share.weight)
    return own + (whole - own.detach())
