"""The command line: each command reads its options, calls the library and shows what came of it."""

from __future__ import annotations

import sys

from genmnist.errors import GenmnistError


def main() -> None:
    """Run the command that the arguments name, and exit with its status.

    0 done, 1 failed, 2 used wrongly, 130 interrupted; every failure is one sentence on standard error.
    """
    from genmnist.cli.app import app

    try:
        status = app(standalone_mode=False)
    except GenmnistError as error:
        _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left; there is no one to tell
        sys.exit(1)
    except MemoryError:
        _fail("out of memory: take a smaller --batch-size or --num", 1)
    except Exception as error:
        # Typer's errors, whose class has moved between its versions, know how to say themselves.
        if hasattr(error, "format_message"):
            status = getattr(error, "exit_code", 2)
            if not error.format_message():
                sys.exit(status)  # a command without its arguments, which has shown its help
            _fail(error.format_message(), status)
        if type(error).__name__ == "OutOfMemoryError":
            _fail("out of memory on the device: take a smaller --batch-size", 1)
        raise
    sys.exit(status if isinstance(status, int) else 0)


def _fail(sentence: str, status: int) -> None:
    print("genmnist: " + " ".join(sentence.split()), file=sys.stderr)
    sys.exit(status)
