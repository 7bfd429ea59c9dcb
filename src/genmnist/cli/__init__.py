"""The command line: each command reads its options, calls the library and shows what came of it."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, NoReturn

from genmnist.distributed import has_joined, leads, leave, size, speaks
from genmnist.errors import GenmnistError
from genmnist.registry import plugin
from genmnist.text import printable
from genmnist.threads import wait_briefly

_ARGUMENT = re.compile(r"`(\w+)`")
_OUT_OF_MEMORY = "out of memory: take a smaller `batch_size` or a smaller model"


def main() -> None:
    """Run the command that the arguments name, and exit with its status.

    0 done, 1 failed, 2 used wrongly, 130 interrupted; every failure is one sentence on standard error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    words = sys.argv[1:]
    wait_briefly()
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)  # what is half written is removed
    try:
        if size() > 1:
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what torch says of the end of a process
            if not leads() and not _is_shared(words):
                return
        for target in _plugins(words):
            plugin(target)

        from genmnist.cli.app import build, check

        check(words)
        status = build(words or None)(standalone_mode=False, prog_name="genmnist")
        if sys.stdout is not None:
            sys.stdout.flush()
        leave()
        if status == 130:  # Typer has caught the Ctrl-C
            raise KeyboardInterrupt
    except SystemExit:
        raise
    except BaseException as error:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # what has to be said is said, however often one presses
        _fail(*_answer(error, words))
    sys.exit(status if isinstance(status, int) else 0)


def _answer(error: BaseException, words: Sequence[str]) -> tuple[str, int]:
    """Return what is to be said of an error, and the exit status. Raises it again if nobody foresaw it."""
    match error:
        case GenmnistError():
            return _with_dashes(str(error), words), error.exit_status
        case _TerminatedError():
            sys.exit(128 + signal.SIGTERM)
        case BrokenPipeError():
            _discard_output()  # whoever read our output has left; there is no one to tell
            sys.exit(1)
        case OSError():
            _discard_output()
            place = f"{error.filename}: " if error.filename else ""
            return f"{place}{(error.strerror or str(error)).lower()}", 1
    # Typer's errors, whose class has moved between its versions, know how to say themselves.
    if hasattr(error, "format_message"):
        status = getattr(error, "exit_code", 2)
        if not error.format_message():
            sys.exit(status)  # a command without its arguments, which has shown its help
        return _mended(error, words), status
    if type(error).__name__ in ("MemoryError", "OutOfMemoryError") or "can't allocate memory" in str(error):
        return _with_dashes(_OUT_OF_MEMORY, words), 1
    if _is_interrupt(error):
        return "interrupted", 130
    raise error


def _is_shared(words: Sequence[str]) -> bool:
    """Tell whether the processes of a job do together what is asked; else the first one does it alone."""
    return words[:1] in (["train"], ["sample"]) or (words[:1] == ["evaluate"] and words[1:2] != ["samples"])


class _TerminatedError(BaseException):
    """Somebody asked this process to end; like a Ctrl-C, but nobody sits there to be told."""


def _terminate(number: int, frame: object) -> NoReturn:
    raise _TerminatedError


def _is_interrupt(error: BaseException | None) -> bool:
    """Tell whether a Ctrl-C lies behind an error, as where it hits an import and becomes an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _plugins(words: Sequence[str]) -> Iterator[str]:
    """Yield what the option --plugin names: plugins add choices and commands, so they come before these."""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        if word == "--":
            return
        if word == "--plugin" and following:
            yield following
        elif word.startswith("--plugin="):
            yield word.removeprefix("--plugin=")


def _with_dashes(sentence: str, words: Sequence[str]) -> str:
    """Return a sentence in which the arguments of the command that was run stand as its options.

    The library names an argument in backticks, as `batch_size`; the user of the command knows --batch-size.
    """
    arguments = _ARGUMENT.findall(sentence)
    if not arguments:
        return sentence
    import typer

    from genmnist.cli.app import build

    options = {"plugin": "--plugin"}  # which every command has
    command: Any = typer.main.get_command(build(words))
    for word in words:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        options |= _names(command)
    if not options.keys() >= set(arguments):
        # Any command may say how a model is to be trained: "take one trained with `noisy`".
        trainings: Any = typer.main.get_command(build(["train"]))
        for training in trainings.commands["train"].commands.values():
            options = _names(training) | options
    return _ARGUMENT.sub(lambda match: options.get(match[1], match[0]), sentence)


def _mended(error: Any, words: Sequence[str]) -> str:
    """Return what is wrong with the words typed, as Typer has it, and where what was asked for is known."""
    said: str = error.format_message()
    here = " ".join(itertools.takewhile(lambda word: word[:1] != "-", words[:2]))
    if (option := getattr(error, "option_name", "")) and said.startswith("No such option"):
        from genmnist.cli.app import who_knows

        close = ", ".join(error.possibilities or ())
        mend = who_knows(option, words) or (
            f"did you mean {close}?" if close else f"see `genmnist {here} --help`"
        )
        return f"{here} has no option {option}: {mend}".lstrip()
    if match := re.fullmatch(r"Got unexpected extra argument\S* \((.*)\)", said):
        return f"{here} takes no {match[1]!r} without an option before it: see `genmnist {here} --help`"
    if match := re.fullmatch(r"Option '(.*)' requires an argument\.", said):
        return f"{match[1]} needs a value after it: see `genmnist {here} --help`"
    return said


def _names(command: Any) -> dict[str, str]:
    """Return the options of a command by the names of their arguments."""
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    off = {word.strip("-").replace("-", "_"): word for option in options for word in option.secondary_opts}
    return off | {option.name: option.opts[0] for option in options}


def _fail(sentence: str, status: int) -> NoReturn:
    if speaks():
        with contextlib.suppress(OSError):
            print("genmnist: " + printable(" ".join(sentence.splitlines())), file=sys.stderr)
    if has_joined():  # what waits in the background for a process that is no more must not keep this one
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def _discard_output() -> None:
    """Keep Python from failing once more as it flushes what could not be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
