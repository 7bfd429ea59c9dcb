"""Read what was made to do harm: each reader of files, for minutes, by files that are damaged or made up.

    python bench/fuzz.py                        # every reader, ten minutes each
    python bench/fuzz.py npz pictures --minutes 1

A file may be refused by one sentence (a GenmnistError) and by nothing else. Of each reader it prints how many
files it read, how many ended otherwise (these are kept in fuzz-crashes/), and the longest time and the most
memory that reading one took.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from genmnist.data import arrays, centred
from genmnist.data.folders import load_folder
from genmnist.data.idx import read_idx
from genmnist.data.pictures import read_pictures
from genmnist.errors import GenmnistError
from genmnist.evaluation import document
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE
from genmnist.runs import checkpoint
from genmnist.runs.documents import Training
from genmnist.runs.folder import Run

KEPT = Path("fuzz-crashes")
_BUNDLED = Path(checkpoint.__file__).parents[1] / "weights"
Bytes = st.SearchStrategy[bytes]


@dataclass(frozen=True)
class Reader:
    """A reader of files, and the files it is given.

    Args:
        read: reads a path.
        seeds: good files, by name; what is damaged keeps the name.
        made: files from nothing, that know the format; they are called as the first seed.
        build: makes what is at the path from a file's content, where it is more than that content.
    """

    read: Callable[[Path], object]
    seeds: Callable[[], dict[str, bytes]]
    made: Callable[[Mapping[str, bytes]], Bytes]
    build: Callable[[Path, bytes], object] = Path.write_bytes


@dataclass
class Found:
    """What came of reading."""

    files: int = 0
    refused: int = 0
    slowest: float = 0.0
    crashes: dict[str, bytes] = field(default_factory=dict)
    memory: int = 0  # the most that reading one of them took, in MiB


# -- damage -------------------------------------------------------------------------------------------------

_WORDS = [
    b"\x00", b"\xff", b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x01",
    b"\x00" * 8, b"\x80" * 4, b"1e999", b"-1", b"null", b"NaN", b"true", b"[" * 40, b"{" * 40, b'"',
    b"9" * 400,
    b"4294967296", b"18446744073709551616", b"\\u0000", b"\x1b[31m", b"\x1f\x8b", b"PK\x05\x06",
    b"PK\x06\x06",
    b"False", b"()", b"'", b"#", b"\n", b"  ", b"-" * 30, b"e", b"\xed\xa0\x80",
]  # fmt: skip


def damage(seeds: Mapping[str, bytes], chance: random.Random) -> tuple[str, bytes]:
    """Return one of some files, by name, after a few mishaps."""
    name = chance.choice(sorted(seeds))
    content = bytearray(seeds[name])
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        # Mostly near the beginning or the end, where formats say what they hold.
        size = len(content) + 1
        place = chance.randrange(min(chance.choice((64, 512, size)), size))
        place = place if chance.random() < 0.7 else size - 1 - place
        match chance.randrange(8):
            case 0:
                del content[place:]
            case 1:
                content[place : place + 1] = bytes([chance.randrange(256)])
            case 2 if content:
                content[min(place, len(content) - 1)] ^= 1 << chance.randrange(8)
            case 3:
                word = chance.choice(_WORDS)
                content[place : place + len(word)] = word
            case 4:
                content[place:place] = chance.choice(_WORDS)
            case 5:
                del content[place : place + chance.randrange(1, 40)]
            case 6:
                other = seeds[chance.choice(sorted(seeds))]
                cut = chance.randrange(len(other) + 1)
                content[place:] = other[cut : cut + 100_000]
            case 7:
                content[place:place] = content[place : place + chance.randrange(1, 200)]
    return name, bytes(content)


def damaged(seeds: Mapping[str, bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    """Draw one of some files after a few mishaps."""
    # Of a number alone, because hypothesis looks at all that it draws itself, and files are long.
    return st.integers(0, 2**64).map(lambda number: damage(seeds, random.Random(number)))


_numbers = st.one_of(
    st.integers(-2, 70), st.sampled_from([255, 2**16, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**64, 10**30]),
    st.floats(allow_nan=False, width=64),
)  # fmt: skip
_texts = st.one_of(
    st.text(max_size=20), st.sampled_from(["", "vae", "mlp", "\x1b[2J", "../../x", "a" * 5000])
)
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, _texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_texts, inner, max_size=4)),
    max_leaves=8,
)


@st.composite
def altered(draw: Callable[..., Any], plain: Any) -> Any:
    """Draw a JSON document in which some values are others, or are gone."""
    whole = json.loads(json.dumps(plain))
    for _ in range(draw(st.integers(1, 3))):
        here: Any = whole
        while isinstance(here, dict | list) and here:
            key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(min(len(here), 8))))
            if not isinstance(here[key], dict | list) or not here[key] or draw(st.integers(0, 3)) == 0:
                if draw(st.integers(0, 4)) == 0:
                    del here[key]
                else:
                    here[key] = draw(_values)
                break
            here = here[key]
    return whole


# -- safetensors --------------------------------------------------------------------------------------------


def _model() -> dict[str, bytes]:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        checkpoint.save(path, VAE(VAEOptions(hidden=4, latent=2)), "report", Training(), {"val_loss": 100.0})
        return {path.name: path.read_bytes()}


_SHAPES = st.lists(st.sampled_from([0, 1, 2, 4, 784, 2**20, 2**31, 2**32, 2**62, -1]), max_size=4)


@st.composite
def _checkpoints(draw: Callable[..., Any], seeds: Mapping[str, bytes]) -> bytes:
    """Draw a checkpoint whose sum is right, and what it says is not; or one whose header is made up."""
    (content,) = seeds.values()
    end = 8 + int.from_bytes(content[:8], "little")
    tensors = safetensors.torch.load(content)
    said = json.loads(json.loads(content[8:end])["__metadata__"]["genmnist"])
    if draw(st.booleans()):
        text = json.dumps(draw(altered(said)))
        for name in sorted(tensors):
            match draw(st.integers(0, 12)):
                case 0:
                    del tensors[name]
                case 1:
                    tensors[name] = torch.full_like(
                        tensors[name], draw(st.sampled_from([torch.nan, torch.inf]))
                    )
                case 2:
                    tensors[name] = tensors[name].to(
                        draw(st.sampled_from([torch.float16, torch.int64, torch.bool]))
                    )
                case 3:
                    tensors[name] = tensors[name].reshape(-1)
        digest = hashlib.sha256(text.encode())
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{name} {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return safetensors.torch.save(tensors, {"genmnist": text, "sha256": digest.hexdigest()})
    entries = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F16", "BOOL", "I64", "F8_E4M3", "X", 3]),
            "shape": _SHAPES,
            "data_offsets": st.lists(
                st.sampled_from([0, 4, 8, 16, 2**31, 2**63, -1, 10**30]), min_size=1, max_size=3
            ),
        }
    )
    header: dict[str, Any] = draw(st.dictionaries(_texts, st.one_of(entries, _values), max_size=4))
    header["__metadata__"] = draw(
        st.one_of(_values, st.just({"genmnist": json.dumps(said), "sha256": "0" * 64}))
    )
    text = json.dumps(header)
    more: bytes = draw(st.binary(max_size=64))
    return len(text.encode()).to_bytes(8, "little") + text.encode() + more


def _read_checkpoint(path: Path) -> None:
    """Read it as `info` does and as `sample` does; one of them may take what the other refuses."""
    refused: GenmnistError | None = None
    for read in (checkpoint.read, checkpoint.load):
        try:
            read(path)
        except GenmnistError as error:
            refused = error
    if refused:
        raise refused


# -- IDX ----------------------------------------------------------------------------------------------------


def _idx_files() -> dict[str, bytes]:
    images, labels = np.arange(5 * 6 * 7, dtype=np.uint8), np.arange(5, dtype=np.uint8)
    header = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (5, 6, 7))
    return {
        "images": header + images.tobytes(),
        "labels": b"\x00\x00\x08\x01\x00\x00\x00\x05" + labels.tobytes(),
    }


@st.composite
def _idx_made(draw: Callable[..., Any], seeds: Mapping[str, bytes] | None = None) -> bytes:
    """Draw a header that may claim 2^32 images, and some bytes."""
    sides = draw(st.lists(st.sampled_from([0, 1, 2, 28, 2**16, 2**31, 2**32 - 1]), max_size=5))
    magic = draw(st.sampled_from([0x0801, 0x0803, 0x0802, 0x0D03, 0]))
    header: bytes = magic.to_bytes(4, "big") + b"".join(side.to_bytes(4, "big") for side in sides)
    more: bytes = draw(st.binary(max_size=40))
    return header + more


def _read_idx(path: Path) -> None:
    """Read it as labels and as images: what is neither is refused by both."""
    refused: list[GenmnistError] = []
    for dimensions in (1, 3):
        try:
            read_idx(path, dimensions)
        except GenmnistError as error:
            refused.append(error)
    if len(refused) == 2:
        raise refused[0]


def _gzip_made(seeds: Mapping[str, bytes]) -> Bytes:
    inner = st.one_of(_idx_made(), damaged(_idx_files()).map(lambda one: one[1]))
    # Also several members, and millions of zeros behind a header.
    zeros = st.sampled_from([0, 0, 0, 0, 784, 10**6, 10**7])

    def packed(parts: list[tuple[bytes, int]]) -> bytes:
        return b"".join(gzip.compress(content + bytes(count), 1, mtime=0) for content, count in parts)

    return st.lists(st.tuples(inner, zeros), min_size=1, max_size=3).map(packed)


# -- arrays -------------------------------------------------------------------------------------------------


def _npy(header: str, content: bytes) -> bytes:
    raw = header.encode("latin1", "replace") + b"\n"
    return b"\x93NUMPY\x01\x00" + min(len(raw), 65535).to_bytes(2, "little") + raw[:65535] + content


def _array_files() -> dict[str, bytes]:
    images = np.arange(7 * 4 * 4, dtype=np.uint8).reshape(7, 4, 4)
    files: dict[str, bytes] = {}
    for name, save, kinds in (
        ("plain.npz", np.savez, {"images": images, "labels": np.arange(7)}),
        ("packed.npz", np.savez_compressed, {"arr_0": images / 255.0, "y": np.arange(7, dtype=np.int16)}),
    ):
        buffer = io.BytesIO()
        save(buffer, **kinds)  # type: ignore[arg-type]
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(images.astype(np.float32)))
    return files | {"one.npy": buffer.getvalue()}


_HEADERS = st.one_of(
    st.builds(
        "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}".format,
        st.sampled_from(["'|u1'", "'<f4'", "'>f2'", "'|O'", "'<i8'", "'|b1'", "'<f16'", "'<c8'", "'|S5'",
                         "'<U9'", "[('a', '<f4')]",
                         "('<f4', (2,))", "5", "'<M8[s]'", "'|V0'"]),
        st.sampled_from(["True", "False", "0", "None"]),
        st.lists(st.sampled_from(["0", "1", "2", "7", "28", "-1", "True", "4294967296", "9" * 30, "1.0",
                                  "(1,)"]), max_size=6)
        .map(lambda sides: f"({' '.join(f'{side},' for side in sides)})"),
    ),
    st.text("(){}[]'\"#\n\t\\0123456789abcLx,:-+*. ", max_size=80),
    st.sampled_from(["(" * 3000, "[" * 200, "-" * 5000 + "1", "{" * 99, "\n x\n  y\n z", "'" * 3, "\\"]),
)  # fmt: skip


_TWO = _npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 4), }", bytes(range(32)))
_LABELS = _npy("{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", bytes([7] + [0] * 15))
_NAMES = ["images.npy", "labels.npy", "arr_0.npy", "../x.npy", "\x1b[31m.npy", "x", ".npy"]
_PACKINGS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def _archives(seeds: Mapping[str, bytes]) -> Bytes:
    """Draw archives of arrays that are something else, damaged ones, and one that unpacks to megabytes."""
    contents = st.one_of(
        st.builds(_npy, _HEADERS, st.binary(max_size=64)),
        st.sampled_from([b"", b"\x93NUMPY\x02\x00", b"\x93NUMPY\x01\x00\xff\xff{", _TWO, _LABELS, b"bomb"]),
    )
    member = st.tuples(st.sampled_from(_NAMES), contents, st.sampled_from(_PACKINGS))
    return st.builds(_archive, st.lists(member, max_size=4), st.one_of(st.none(), st.integers(0, 2**64)))


def _archive(members: list[tuple[str, bytes, int]], number: int | None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name may come twice
        for name, content, how in members:
            if content == b"bomb":
                archive.writestr(name, _bomb(), zipfile.ZIP_DEFLATED, 1)
            else:
                archive.writestr(name, content, how, 1)
    content = buffer.getvalue()
    return content if number is None else damage({"": content}, random.Random(number))[1]


@functools.cache
def _bomb() -> bytes:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (10000, 28, 28), }"
    return _npy(header, bytes(7_840_000))


# -- documents ----------------------------------------------------------------------------------------------


def _config() -> dict[str, Any]:
    return {
        "family": "vae", "preset": "report", "options": {"hidden": 16, "latent": 4},
        "recipe": {"batch_size": 64}, "steps": 10, "plan": "", "budget": None, "seed": 0, "dataset": "mnist",
        "data_dir": None, "image_size": None, "colour": None, "validation": "held-out",
        "data_checksum": "0" * 64, "start": None, "device": "cpu",
        "precision": "float32", "threads": 1, "balanced": True, "sample_every": 1, "save_every": 20.0,
        "versions": {"genmnist": "1"}, "machine": "one", "command": ["genmnist", "train", "vae"],
    }  # fmt: skip


def _summary() -> dict[str, Any]:
    return {
        "family": "vae", "preset": "report", "options": {}, "parameters": 9, "steps": 10, "seed": 0,
        "dataset": "mnist", "device": "cpu", "precision": "float32", "seconds": 1.5, "threads": [[0, 1]],
        "metrics": {"val_loss": 100.0},
    }  # fmt: skip


def _document_files() -> dict[str, bytes]:
    return {
        "config.json": json.dumps(_config(), indent=2).encode(),
        "summary.json": json.dumps(_summary(), indent=2).encode(),
        "metrics.jsonl": b"".join((_BUNDLED / "vae.jsonl").read_bytes().splitlines(keepends=True)[:3]),
        "evaluation.json": (_BUNDLED / "ddpm.json").read_bytes(),
    }


@st.composite
def _documents(draw: Callable[..., Any], seeds: Mapping[str, bytes]) -> bytes:
    content = seeds[draw(st.sampled_from(sorted(seeds)))]
    first = content.splitlines()[0] if content.count(b"\n{") else content
    return json.dumps(draw(altered(json.loads(first)))).encode()


def _read_documents(path: Path) -> None:
    """Read it as each of them: what is none is refused by all."""
    run = Run(path.parent)
    places = (run.config_file, run.summary_file, run.metrics_file, run.evaluation_file)
    readers: tuple[Callable[[], object], ...] = (
        lambda: run.config,
        lambda: run.summary,
        lambda: run.metrics,
        lambda: _shown(run.evaluation_file),
    )
    refused = 0
    for place, read in zip(places, readers, strict=True):
        if place != path:
            shutil.copyfile(path, place)
        try:
            read()
        except GenmnistError:
            refused += 1
    for place in places:
        place.unlink()
    if refused == len(places):
        raise GenmnistError("none of these")


def _shown(path: Path) -> None:
    from genmnist.evaluation import tables
    from genmnist.report import claims

    found = document.read(path)
    list(tables.lines(found))
    tables.caveats(found)
    claims.judge({"vae": found, "ddpm": found, "cfg": found})


# -- pictures -----------------------------------------------------------------------------------------------


def _picture_files() -> dict[str, bytes]:
    grey = Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12))
    deep = Image.fromarray(np.arange(144, dtype=np.uint16).reshape(12, 12) * 400)
    files = {}
    for name, image, more in (
        ("a.png", grey, {}), ("b.png", deep, {}), ("c.png", grey.convert("P"), {}),
        ("d.png", grey.convert("RGBA"), {}),
        ("a.jpg", grey, {}), ("b.jpg", grey.convert("CMYK"), {"progressive": True}), ("a.gif", grey, {}),
        ("b.gif", grey, {"save_all": True, "append_images": [grey.rotate(90)]}), ("a.bmp", grey, {}),
        ("b.bmp", grey.convert("RGB"), {}), ("a.webp", grey.convert("RGB"), {}), ("a.tif", grey, {}),
        ("b.tif", deep, {"compression": "tiff_deflate"}), ("a.pgm", grey, {}),
        ("c.tif", grey.convert("1"), {"compression": "group4"}), ("a.ppm", grey.convert("RGB"), {}),
        ("d.tif", grey.convert("RGB"), {"compression": "jpeg"}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}.get(name[2:], name[2:].upper())
        image.save(buffer, kind, **more)
        files[name] = buffer.getvalue()
    return files


def _pictures_made(seeds: Mapping[str, bytes]) -> Bytes:
    """Draw what claims another size than it has, and what other programs would be asked to open."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    def png(width: int, height: int, bits: int, kind: int, zeros: int, extra: bytes) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
        parts = [
            chunk(b"IHDR", head),
            extra,
            chunk(b"IDAT", zlib.compress(bytes(zeros), 1)),
            chunk(b"IEND", b""),
        ]
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

    sides = st.sampled_from([0, 1, 12, 255, 256, 257, 8192, 30_000, 2**31 - 1, 2**31])
    extras = st.sampled_from([
        b"", chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))), chunk(b"tRNS", b"\0"),
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**6))), chunk(b"PLTE", b"\0" * 5),
        chunk(b"acTL", b"\xff" * 8), chunk(b"eXIf", b"MM\0*" + b"\xff" * 9),
    ])  # fmt: skip
    others = st.sampled_from([
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%id) (w) file\n",
        b"DDS |\0\0\0" + b"\xff" * 120, b"BLP2" + b"\x01" * 200, b"\0\0\0 ftypavif" + b"\0" * 99,
        b"P6 99999 99999 255\n",
        b"P5 12 12 65536\n" + bytes(300), b"P4 99999999999999 1\n",
        b"GIF89a\xff\xff\xff\xff\xff\0\0" + b"\xff" * 900,
        b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 300, b"BM" + b"\xff" * 60,
        b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 40,
    ])  # fmt: skip
    zeros = st.sampled_from([0, 13 * 12, 10**7])
    return st.one_of(
        st.builds(png, sides, sides, st.sampled_from([1, 2, 8, 16, 32]), st.sampled_from([0, 2, 3, 4, 6, 7]),
                  zeros, extras),
        others,
        st.builds(lambda content, number: damage({"": content}, random.Random(number))[1], others,
                  st.integers(0, 2**64)),
    )  # fmt: skip


def _read_picture(path: Path) -> None:
    refused: GenmnistError | None = None
    for size in (None, 16):
        try:
            read_pictures([path], size)
        except GenmnistError as error:
            refused = error
    if refused:
        raise refused


_SHAPE = (1, 28, 28)


def _read_digit(path: Path) -> None:
    """Read it as `complete` and `edit` read a digit, and as a mask: what is neither is refused by both."""
    refused: list[GenmnistError] = []
    readers: tuple[Callable[[], Any], ...] = (
        lambda: centred.digit(path, _SHAPE),
        lambda: centred.hidden(path, _SHAPE[1:]),
    )
    for read in readers:
        try:
            if read().shape != _SHAPE[1:]:
                raise AssertionError("an image of another size")
        except GenmnistError as error:
            refused.append(error)
    if len(refused) == 2:
        raise refused[0]


@functools.cache
def _drawn() -> dict[str, bytes]:
    """Return digits as people send them: on paper and on screens, as they lie and prepared, and masks."""
    chance = np.random.default_rng(0)
    rows, columns = np.mgrid[:60, :40]
    ring = np.abs(np.hypot(rows - 30, columns - 20) - 14) < 3
    paper = np.where(ring, 40, 200 + chance.integers(0, 12, ring.shape)).astype(np.uint8)
    see_through = np.zeros((60, 40, 4), np.uint8)
    see_through[ring] = 255
    mask = np.zeros((28, 28), np.uint8)
    mask[:, :14] = 255
    files = {}
    for name, pixels, more in (
        ("a.png", np.where(ring, 255, 0).astype(np.uint8), {}), ("b.png", paper, {}),
        ("c.png", see_through, {}), ("d.png", mask, {}), ("a.jpg", paper, {}),
        ("a.gif", mask, {"transparency": 0}), ("a.webp", see_through, {}),
        ("a.tif", see_through, {"compression": "tiff_deflate"}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:].upper())
        Image.fromarray(pixels).save(buffer, kind, **more)
        files[name] = buffer.getvalue()
    return files | {f"other-{name}": content for name, content in _picture_files().items()}


# -- folders ------------------------------------------------------------------------------------------------

_PLACES = (
    "",
    "train",
    "test",
    "cat",
    "dog",
    "train/cat",
    "train/dog",
    "test/cat",
    "cat/deep",
    "\x1b[31mred",
    "300",
)


def _build(path: Path, content: bytes) -> None:
    """Make a folder as bytes say: pictures, files, folders, links to anywhere and named pipes."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir()
    pictures = sorted(_PICTURES.items())
    for number, (what, where) in enumerate(zip(content[::2], content[1::2], strict=False)):
        place = path / _PLACES[where % len(_PLACES)]
        try:
            place.mkdir(parents=True, exist_ok=True)
            match what if what < 6 else 9:  # mostly pictures, for the rest to matter
                case 0:
                    (place / f"loop{number}").symlink_to(place.parent)
                case 1:
                    (place / f"far{number}").symlink_to(path / _PLACES[what % len(_PLACES)])
                case 2:
                    os.mkfifo(place / f"{number}.png")
                case 3:
                    (place / f"{number}.png").symlink_to(f"{number}.png")
                case 4:
                    (place / f"{number}.png").symlink_to("/dev/zero")
                case 5:
                    (place / "train-images-idx3-ubyte").write_bytes(_idx_files()["images"])
                case _:
                    name, picture = pictures[0 if what < 250 else what % len(pictures)]
                    (place / f"{number}{name}").write_bytes(picture)
        except OSError:
            continue


_PICTURES = _picture_files()

# -- all ----------------------------------------------------------------------------------------------------

READERS = {
    "checkpoint": Reader(_read_checkpoint, _model, _checkpoints),
    "idx": Reader(_read_idx, _idx_files, _idx_made),
    "gzip": Reader(
        _read_idx,
        lambda: {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in _idx_files().items()},
        _gzip_made,
    ),
    "npz": Reader(arrays.read, _array_files, _archives),
    "documents": Reader(_read_documents, _document_files, _documents),
    "pictures": Reader(_read_picture, lambda: _PICTURES, _pictures_made),
    "digits": Reader(_read_digit, _drawn, _pictures_made),
    "folders": Reader(
        load_folder, lambda: {"folder": bytes(range(40))}, lambda _: st.binary(max_size=80), _build
    ),
}


def fuzz(name: str, seconds: float | None = None, examples: int | None = None) -> Found:
    """Give files to a reader for so long, or so many of them that are always the same."""
    reader, found = READERS[name], Found()
    seeds, end = reader.seeds(), time.monotonic() + (seconds or 1e9)
    first = next(iter(seeds))
    made = reader.made(seeds).map(lambda content: (first, content))

    with tempfile.TemporaryDirectory() as folder:
        for seed, content in seeds.items():  # the good ones, so that what is imported late is there
            _read(reader, Path(folder) / seed, content, Found())

        @settings(
            max_examples=examples or 500, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), derandomize=examples is not None,
        )  # fmt: skip
        @given(st.one_of(damaged(seeds), made))
        def one(file: tuple[str, bytes]) -> None:
            if time.monotonic() < end:
                _read(reader, Path(folder) / file[0], file[1], found)

        one()
        while examples is None and time.monotonic() < end:
            one()
    return found


def _read(reader: Reader, path: Path, content: bytes, found: Found) -> None:
    reader.build(path, content)
    before, begun = _forget_peak(), time.monotonic()
    found.files += 1
    try:
        reader.read(path)
    except GenmnistError as error:
        found.refused += 1
        if not str(error).strip() or len(str(error)) > 10_000:
            found.crashes["a sentence that is none"] = content
    except BaseException as error:  # whatever it is, it should not have come
        if isinstance(error, KeyboardInterrupt):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        found.crashes[
            f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error!s:.200}"
        ] = content
    found.slowest = max(found.slowest, time.monotonic() - begun)
    found.memory = max(found.memory, _peak() - before)


def _forget_peak() -> int:
    """Let the peak of this process's memory be what it has now (Linux), and return it, in MiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)


def _report(name: str, seconds: float) -> None:
    torch.set_num_threads(1)
    found = fuzz(name, seconds)
    print(
        f"{name:<11} {seconds / 60:5.1f} min  files {found.files:>9,}  "
        f"refused {found.refused / max(found.files, 1):6.1%}  crashes {len(found.crashes)}  "
        f"slowest {found.slowest:.2f} s  most memory {found.memory:,} MiB",
        flush=True,
    )
    for what, content in found.crashes.items():
        KEPT.mkdir(exist_ok=True)
        kept = KEPT / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
        kept.write_bytes(content)
        print(f"    {what} ({kept})", flush=True)
    if found.crashes:
        sys.exit(1)


def main() -> None:
    """Fuzz the readers that are named, each in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readers", nargs="*", choices=[[], *READERS], help="which; all")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long each")
    options = parser.parse_args()
    failed = False
    for name in options.readers or READERS:
        process = multiprocessing.get_context("spawn").Process(
            target=_report, args=(name, 60 * options.minutes)
        )
        process.start()
        process.join()
        failed |= process.exitcode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
