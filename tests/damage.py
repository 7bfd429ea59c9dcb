"""Ways in which a file comes to harm, for tests of those who must read it all the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

mutations = given(
    kind=st.sampled_from(["truncate", "flip", "extend", "swap"]),
    position=st.integers(0, 10**6),
    value=st.integers(0, 255),
)


def mutate(content: bytes, kind: str, position: int, value: int) -> bytes:
    """Return a file's content after one mishap, of the kinds that `mutations` gives."""
    position %= max(len(content), 1)
    if kind == "truncate":
        return content[:position]
    if kind == "extend":
        return content + bytes([value]) * (position + 1)
    if kind == "swap":
        return content[position:] + content[:position]
    return content[:position] + bytes([content[position] ^ (value or 1)]) + content[position + 1 :]


def tamper(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Let a checkpoint's header say something else, under the sum that is then right."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    document = json.loads(json.loads(content[8:end])["__metadata__"]["genmnist"])
    change(document)
    text, tensors = json.dumps(document), load_file(path)
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    save_file(tensors, path, {"genmnist": text, "sha256": digest.hexdigest()})
