"""The binary version of CIFAR-10 (Krizhevsky 2009), read from within its archive."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from genmnist.data.holdout import Arrays

_CIFAR10_FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
_RECORD = 1 + 3 * 32 * 32  # a label, then the rows of red, of green and of blue
_RECORDS = 10_000  # of each file, at most


def read_cifar10(archive: Path) -> dict[str, Arrays]:
    """Read the binary version of CIFAR-10 without unpacking it to disk.

    Raises:
        ValueError: a file is absent or is not of whole records; OSError and others if it is no archive.
    """
    files = {f"cifar-10-batches-bin/{name}.bin": b"" for name in _CIFAR10_FILES}
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            if member.name in files and member.isfile():
                if member.size > _RECORDS * _RECORD or member.size % _RECORD:
                    raise ValueError(f"{member.name} does not hold whole records")
                content = tar.extractfile(member)
                files[member.name] = content.read() if content else b""
    if absent := [name for name, content in files.items() if not content]:
        raise ValueError(f"{archive.name} has no {absent[0]}")
    *train, test = files.values()
    return {"train": _records(b"".join(train)), "test": _records(test)}


def _records(content: bytes) -> Arrays:
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype(np.int64)
