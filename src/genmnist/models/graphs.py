"""What of a model other runtimes can compute: functions of tensors, with names for what goes in and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn

Name = Annotated[str, Meta(max_length=100)]
About = Annotated[str, Meta(max_length=1000)]


class Port(Struct, frozen=True):
    """A tensor that goes into a graph or comes out of it, one for each image of a batch.

    Attributes:
        name: what it is called in the graph.
        about: what it means, with its range.
        shape: of each image's; the batch comes before it.
        type: of its numbers.
    """

    name: Name
    about: About
    shape: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    type: Literal["float32", "int64"] = "float32"

    def example(self, batch: int) -> Tensor:
        """Return zeros of this form."""
        return torch.zeros(batch, *self.shape, dtype=getattr(torch, self.type))


@dataclass(frozen=True)
class Graph:
    """A function of tensors.

    Args:
        module: what computes it; it takes the inputs in order, and returns the outputs so.
        inputs: what goes in.
        outputs: what comes out.
    """

    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


Graphs = Mapping[str, Graph]
