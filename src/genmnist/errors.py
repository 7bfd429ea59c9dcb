"""What genmnist says when it cannot do what it was asked: one sentence, and an exit status.

A sentence names an argument by its Python name, in backticks; the command line shows the option instead.
"""

from pathlib import Path


class GenmnistError(Exception):
    """Something failed that the user can understand and mend; the message is the one sentence they see."""

    exit_status = 1


class UsageError(GenmnistError):
    """The request itself is wrong (an unknown preset, a label of 12): nothing was started."""

    exit_status = 2


class DivergedError(GenmnistError):
    """The loss of a training is no longer finite."""


class InterruptedRunError(GenmnistError):
    """A training run was interrupted after its state was saved.

    Attributes:
        folder: the run folder, by which it is resumed.
    """

    exit_status = 130

    def __init__(self, sentence: str, folder: Path) -> None:
        super().__init__(sentence)
        self.folder = folder
