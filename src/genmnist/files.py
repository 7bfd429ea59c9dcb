"""Writing files whole or not at all, and reading documents that may be anything."""

from __future__ import annotations

import contextlib
import math
import os
import stat
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from genmnist.errors import GenmnistError

_Document = TypeVar("_Document")
_MOST_BYTES = 1 << 22  # of a document; the largest that genmnist writes is a hundredth of it
_DEEPEST = 32  # levels of lists and objects in a document; genmnist writes seven at most
_WIDEST = 1 << 64  # what a whole number lies below; the largest that genmnist writes is a seed

# A file may be so many times larger once it is unpacked; images reach twenty, zeros a thousand.
_MOST_UNPACKED = 200
_UNPACKED_ANYWAY = 1 << 26  # bytes that are never too many, however small they were packed
_AT_ONCE = 1 << 20  # bytes that are read at a time

_ABANDONED = 60.0  # seconds that a temporary folder has been left alone when it may be removed

# How the names of the folders begin in which files are written before they take their place.
TEMPORARY = ".genmnist-writing-"


# A file without which nothing is written beside it or below.
_MARK: ContextVar[Path | None] = ContextVar("_MARK", default=None)


@contextlib.contextmanager
def only_while(mark: Path) -> Iterator[None]:
    """Let `replacing` refuse to write into the folder of a file once that is gone, or to make it again."""
    token = _MARK.set(mark)
    try:
        yield
    finally:
        _MARK.reset(token)


def _make_folder(folder: Path) -> None:
    """Make a folder, and those that it lies in. Raises GenmnistError as `_check_mark` does."""
    mark = _check_mark(folder)
    if mark is None:
        folder.mkdir(parents=True, exist_ok=True)
    elif folder != mark.parent:
        folder.mkdir(exist_ok=True)


def _check_mark(folder: Path) -> Path | None:
    """Return the mark that a folder stands or falls with, if any. Raises GenmnistError if it is gone."""
    mark = _MARK.get()
    if mark is None or mark.parent not in (folder, *folder.parents):
        return None
    if not mark.exists():
        raise GenmnistError(f"{mark} was removed or moved: nothing more is written to {mark.parent}")
    return mark


@contextlib.contextmanager
def replacing(path: str | Path, former: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    What is written there is flushed to the disk before the rename, so that after a crash `path` holds
    either its old content or all of the new. On any error the temporary file (or folder) is removed.

    Args:
        path: what is to be written.
        former: where its old content, if it has any, is to be kept.

    Raises:
        GenmnistError: the file cannot be written (permissions, a full disk, a folder in its place), or what
            `only_while` was told is gone.
    """
    import shutil  # here, because a usage error should not wait for them
    import tempfile

    path = Path(path)
    temporary: Path | None = None
    try:
        _make_folder(path.parent)
        _remove_abandoned(path.parent)
        # A private folder beside the target: same file system, and the name keeps its suffix.
        holder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
        temporary = holder / path.name
        try:
            with _claimed(holder):
                yield temporary
                _flush(temporary)
                _check_mark(path.parent)
                if former is not None:
                    _keep(path, former, holder)
                temporary.replace(path)
                _flush(path.parent)
        finally:
            shutil.rmtree(holder, ignore_errors=True)
    except OSError as error:
        _check_mark(path.parent)
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def _claimed(holder: Path) -> Iterator[bool]:
    """Hold the lock of a temporary folder, which a process that is killed gives back; tell whether we do."""
    if os.name == "nt":
        yield False  # no locks on folders there
        return
    import fcntl

    descriptor = os.open(holder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except OSError:  # another process has it, or this file system has no locks
            held = False
        yield held
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary folders that writers left which were killed, so that they do not fill a disk."""
    import shutil

    for holder in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            alone = time.time() - holder.stat().st_mtime > _ABANDONED  # a new one may not be locked yet
            if alone and holder.is_dir() and not holder.is_symlink():
                with _claimed(holder) as ours:
                    if ours:
                        shutil.rmtree(holder, ignore_errors=True)


def _keep(path: Path, former: Path, holder: Path) -> None:
    """Let a file have another name too, by which it stays when the first is given to another."""
    spare = holder / former.name
    try:
        spare.hardlink_to(path)
    except FileNotFoundError:
        return
    except OSError:  # not every file system knows two names for one file
        path.replace(former)
    else:
        spare.replace(former)


def write_bytes(path: str | Path, content: bytes, former: Path | None = None) -> None:
    """Write `content` to `path`, whole or not at all. Raises GenmnistError as `replacing` does."""
    with replacing(path, former) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write `content` to `path` in UTF-8, whole or not at all. Raises GenmnistError as `replacing` does."""
    write_bytes(path, content.encode())


def read_document(path: Path, form: type[_Document], mend: str) -> _Document:
    """Return the JSON document in a file, of a declared type.

    Args:
        path: the file.
        form: the type.
        mend: what to do about a damaged one.

    Raises:
        GenmnistError: it cannot be read, or is not of that type.
    """
    try:
        document: _Document = decode(read_bytes(path, _MOST_BYTES, mend), form)
        return document
    except ValueError as error:
        raise GenmnistError(f"{path} is damaged: {mend}") from error


def decode(content: bytes | str, form: Any) -> Any:
    """Return a JSON document of a declared type, any that msgspec knows; it is not nested deeply.

    Raises:
        ValueError: it is no such document.
    """
    try:
        _check_plain(msgspec.json.decode(content))
        return msgspec.json.decode(content, type=form)
    except (msgspec.MsgspecError, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from error


def _check_plain(document: Any) -> None:
    """Raise ValueError if a document is nested deeply or has a number that no other reader would take."""
    level = [document]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError("a number is not finite")
            elif isinstance(value, int) and not -_WIDEST < value < _WIDEST:
                raise ValueError("a number is too large")
        if not below:
            return
        level = below
    raise ValueError("it is nested too deeply")


@contextlib.contextmanager
def opened(path: Path, mend: str) -> Iterator[BinaryIO]:
    """Open a regular file to be read, without waiting for what is none, such as a named pipe.

    Raises:
        GenmnistError: it is none, or cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise GenmnistError(f"{path} is no regular file: {mend}")
        # It may have become something else since: opening that neither waits nor takes over a terminal.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
        flags |= getattr(os, "O_BINARY", 0)
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise GenmnistError(f"{path} is no regular file: {mend}")
            yield file
    except OSError as error:
        if error.errno is None:
            raise  # what a reader found wrong with the content, not the system with the file
        raise GenmnistError(f"cannot read {path}: {reason(error)}") from error


def read_bytes(path: Path, most: int, mend: str) -> bytes:
    """Return the content of a regular file of at most so many bytes. Raises GenmnistError if it is none."""
    with opened(path, mend) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise GenmnistError(f"{path} is larger than {most >> 20:,} MiB: {mend}")
        return file.read(most)  # it may be growing


def read_into(file: Any, target: memoryview, packed: int | None = None) -> bool:
    """Fill memory from a file, piece by piece; tell whether there was enough in it.

    Args:
        file: what to read from; it may unpack as it reads.
        target: the memory, which takes room only as it is filled if it comes from `numpy.empty`.
        packed: how many bytes there are in the file itself, if it unpacks them.

    Raises:
        ValueError: so few packed bytes cannot be so many of images: it is made to exhaust memory.
    """
    size = len(target)
    if packed is not None and size > max(_UNPACKED_ANYWAY, _MOST_UNPACKED * packed):
        raise ValueError(f"it would unpack to {size:,} bytes, more than {_MOST_UNPACKED} times its size")
    done = 0
    while done < size:
        piece = file.read(min(_AT_ONCE, size - done))
        if not piece:
            return False
        target[done : done + len(piece)] = piece
        done += len(piece)
    return True


def write_document(path: str | Path, document: Any) -> None:
    """Write a document as indented JSON, whole or not at all. Raises GenmnistError as `replacing` does."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def cannot_write(path: Path, error: OSError) -> GenmnistError:
    """Say in one sentence why `path` could not be written."""
    return GenmnistError(f"cannot write {path}: {reason(error)}; choose another place or make room")


def reason(error: OSError) -> str:
    """Say why the system refused."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def _flush(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows offers no handle on a folder's entries
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
