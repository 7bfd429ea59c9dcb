"""The digit that a command begins with: from a file, or from the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.runs.find import find_data

if TYPE_CHECKING:
    from torch import Tensor

    from genmnist.models import Generator


@dataclass(frozen=True)
class Start(opt.Data):
    """The digit to begin with, and the data that it may come from."""

    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A picture of a digit, dark on light or light on dark; it is cut out and centred as MNIST's "
            "were.",
            show_default=False,
        ),
    ] = None
    digit: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="A real test digit of this label, by number or name; the seed says which.",
            show_default="any",
        ),
    ] = None

    def check(self) -> None:
        """Raise UsageError, GenmnistError if this is no way to say it, or the file is no picture."""
        if self.image is not None and self.digit is not None:
            raise UsageError("`image` and `digit` are two digits to begin with: give one of them")
        if self.digit is not None:
            values.label(self.digit, "digit")
        self.given()
        if self.image is not None:
            from genmnist.data import centred

            centred.read(self.image)

    def take(self, model: Generator, seed: int, output: Output) -> Tensor:
        """Return the digit, as the model's images are, and say where it is from.

        Raises:
            UsageError, GenmnistError: there is no such digit.
        """
        import torch

        from genmnist.data import centred

        if self.image is not None:
            output.note(image=str(self.image))
            return torch.from_numpy(centred.digit(self.image, model.shape))
        test = find_data(model.trained, **self.given()).test
        if self.digit is None:
            number = seed % len(test)
            output.note(digit=int(test.labels[number]))
            return test.images[number]
        label = test.number(values.label(self.digit, "digit"))
        output.note(digit=label)
        return test.first(label, seed)
