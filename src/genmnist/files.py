"""Writing files whole or not at all, and reading documents that may be anything."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from genmnist.errors import GenmnistError

_Document = TypeVar("_Document")
_MOST_BYTES = 1 << 24  # of a document; the largest that genmnist writes is a hundredth of it

# How the names of the folders begin in which files are written before they take their place.
TEMPORARY = ".genmnist-writing-"


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    What is written there is flushed to the disk before the rename, so that after a crash `path` holds
    either its old content or all of the new. On any error the temporary file (or folder) is removed.

    Raises:
        GenmnistError: the file cannot be written (permissions, a full disk, a folder in its place).
    """
    import shutil  # here, because a usage error should not wait for them
    import tempfile

    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A private folder beside the target: same file system, and the name keeps its suffix.
        holder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
        temporary = holder / path.name
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
        finally:
            shutil.rmtree(holder, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises GenmnistError as `replacing` does."""
    with replacing(path) as temporary:
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
        return msgspec.json.decode(read_bytes(path, _MOST_BYTES, mend), type=form)
    except (msgspec.MsgspecError, RecursionError, OverflowError) as error:
        raise GenmnistError(f"{path} is damaged: {mend}") from error


def read_bytes(path: Path, most: int, mend: str) -> bytes:
    """Return the content of a regular file of at most so many bytes. Raises GenmnistError if it is none."""
    try:
        if path.exists() and not path.is_file():
            raise GenmnistError(f"{path} is no regular file: {mend}")
        if path.stat().st_size > most:
            raise GenmnistError(f"{path} is larger than {most >> 20:,} MiB: {mend}")
        return path.read_bytes()
    except OSError as error:
        raise GenmnistError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def write_document(path: str | Path, document: Any) -> None:
    """Write a document as indented JSON, whole or not at all. Raises GenmnistError as `replacing` does."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def cannot_write(path: Path, error: OSError) -> GenmnistError:
    """Say in one sentence why `path` could not be written."""
    reason = (error.strerror or type(error).__name__).lower()
    return GenmnistError(f"cannot write {path}: {reason}; choose another place or make room")


def _flush(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows offers no handle on a folder's entries
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
