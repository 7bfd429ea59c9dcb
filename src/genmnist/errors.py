"""What genmnist says when it cannot do what it was asked: one sentence, and an exit status."""


class GenmnistError(Exception):
    """Something failed that the user can understand and mend; the message is the one sentence they see."""

    exit_status = 1


class UsageError(GenmnistError):
    """The request itself is wrong (an unknown preset, a label of 12): nothing was started."""

    exit_status = 2


class InterruptedRunError(GenmnistError):
    """A training run was interrupted after its state was saved; the message says how to resume."""

    exit_status = 130
