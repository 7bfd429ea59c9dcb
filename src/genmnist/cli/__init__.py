"""The command line: each command reads its options, calls the library and shows what came of it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import NoReturn

from genmnist.errors import GenmnistError


def main() -> None:
    """Run the command that the arguments name, and exit with its status.

    0 done, 1 failed, 2 used wrongly, 130 interrupted; every failure is one sentence on standard error.
    """
    from genmnist.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        status = app(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except GenmnistError as error:
        _fail(str(error), error.exit_status)
    except BrokenPipeError:
        _discard_output()  # whoever read our output has left; there is no one to tell
        sys.exit(1)
    except OSError as error:
        _discard_output()
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{(error.strerror or str(error)).lower()}", 1)
    except MemoryError:
        _fail("out of memory: take a smaller --batch-size or a smaller model", 1)
    except Exception as error:
        # Typer's errors, whose class has moved between its versions, know how to say themselves.
        if hasattr(error, "format_message"):
            status = getattr(error, "exit_code", 2)
            if not error.format_message():
                sys.exit(status)  # a command without its arguments, which has shown its help
            _fail(error.format_message(), status)
        if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
            _fail("out of memory: take a smaller --batch-size or a smaller model", 1)
        raise
    if status == 130:  # Typer has caught the Ctrl-C
        _fail("interrupted", 130)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(sentence: str, status: int) -> NoReturn:
    with contextlib.suppress(OSError):
        print("genmnist: " + " ".join(sentence.splitlines()), file=sys.stderr)
    sys.exit(status)


def _discard_output() -> None:
    """Keep Python from failing once more as it flushes what could not be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
