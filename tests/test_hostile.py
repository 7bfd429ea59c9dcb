"""Files that were made to do harm: each is read or refused by one sentence, soon and in little memory.

What ever failed stands here, made anew; bench/fuzz.py looks for more.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Command, one_sentence, program, slow
from damage import tamper
from genmnist import data, files
from genmnist.cli.console import Output
from genmnist.data import Splits, arrays, centred
from genmnist.data.idx import read_idx
from genmnist.data.pictures import read_pictures
from genmnist.errors import GenmnistError
from genmnist.evaluation import document
from genmnist.families.vae import VAEOptions
from genmnist.figures import curves, grid
from genmnist.figures.style import Look, about
from genmnist.models import VAE
from genmnist.runs import checkpoint
from genmnist.runs.documents import Training
from genmnist.runs.folder import Run
from genmnist.text import printable, without_controls

ESCAPES = "\x1b[31m\u202e[bold]:warning:\n<b>"
WEIGHTS = Path(checkpoint.__file__).parents[1] / "weights"

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def seconds(call: Callable[[], object]) -> float:
    begun = time.monotonic()
    with pytest.raises(GenmnistError):
        call()
    return time.monotonic() - begun


# Arrays


def npy(header: bytes, content: bytes = bytes(784)) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + content


def shaped(shape: str, kind: str = "|u1") -> bytes:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()


NOTHING, NO_NUMBERS = "has a header that says nothing", "not numbers"


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (shaped("(3, 28, 28")[:-4], NOTHING),  # TokenError
        (b"  {'descr': '|u1'}\n x", NOTHING),  # IndentationError
        (b"(" * 3000, NOTHING),
        (b"-" * 5000 + b"1", NOTHING),  # RecursionError
        (b"{'descr': '|u1' 'a' 3}", "Cannot parse header"),  # SyntaxError
        (shaped("(True, 28, 28)"), NO_NUMBERS),
        (shaped("(4294967296, 28, 28)"), "more than 1,000,000 entries"),
        (shaped("(1000, 1000, 2000)"), "or 1,073,741,824 bytes"),
        (shaped(f"({'9' * 5000}, 28, 28)"), "Cannot parse header"),
        (shaped(f"({'1, ' * 100})"), "maximum supported dimension"),
        (shaped("(-1, 28, 28)"), NO_NUMBERS),
        (shaped("()"), NO_NUMBERS),
        (shaped("(2, 28, 28)"), "is cut short"),
        (shaped("(1, 28, 28)", "<M8[s]"), NO_NUMBERS),
        (shaped("(1, 28, 28)", "|O"), NO_NUMBERS),
        (shaped("(5, 0, 28)"), "has no images"),
        (shaped("(2L, 28L, 28L)"), "is cut short"),  # as Python 2 wrote it
    ],
)
def test_headers_of_arrays(tmp_path: Path, name: str, header: bytes, sentence: str) -> None:
    path = tmp_path / name
    if name == "x.npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", npy(header))
    else:
        path.write_bytes(npy(header))
    with pytest.raises(GenmnistError, match=sentence) as refused:
        arrays.read(path)
    assert len(str(refused.value)) < 600


def test_archives_that_unpack_to_a_thousand_times_their_size(tmp_path: Path) -> None:
    """A million images in 744 KB; a hundred thousand, which are less than is ever too much, are read."""
    pieces = {100_000: 0, 1_000_000: 0}
    for count in pieces:
        with zipfile.ZipFile(
            tmp_path / f"{count}.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1
        ) as archive:
            # Deflated zeros cost nothing; only a little of them is needed to be believed.
            archive.writestr("images.npy", npy(shaped(f"({count}, 28, 28)"), bytes(800_000)))
    with pytest.raises(GenmnistError, match="unpack to 784,000,000 bytes, more than 200 times its size"):
        arrays.read(tmp_path / "1000000.npz")
    with pytest.raises(GenmnistError, match="unpack to 78,400,000 bytes"):
        arrays.read(tmp_path / "100000.npz")
    with zipfile.ZipFile(tmp_path / "few.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy(shaped("(10000, 28, 28)"), bytes(7_839_999) + b"\x09"))
    assert len(arrays.read(tmp_path / "few.npz").images) == 10_000


def test_archives_that_list_too_much(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for number in range(1001):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(GenmnistError, match="more than 1,000 arrays"):
        arrays.read(tmp_path / "x.npz")
    content = (tmp_path / "x.npz").read_bytes()
    # The list is said to be of two megabytes: all the rest of the file, and more.
    end = content.rindex(b"PK\x05\x06")
    directory = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 2_000_000, len(content), 0)
    (tmp_path / "x.npz").write_bytes(content[:end] + bytes(2_000_000) + directory)
    with pytest.raises(GenmnistError, match=r"not an .npz file of images"):
        arrays.read(tmp_path / "x.npz")


def test_labels_that_are_none(tmp_path: Path) -> None:
    images = np.arange(2 * 16, dtype=np.uint8).reshape(2, 4, 4)
    for labels in (
        np.array([0, 10_000]),
        np.array([0.5, 1]),
        np.array([[0], [1]]),
        np.array([0, 2**63], np.uint64),
    ):
        np.savez(tmp_path / "x.npz", images=images, labels=labels)
        with pytest.raises(GenmnistError, match="not a label for each, a whole number from 0 to 9,999"):
            arrays.read(tmp_path / "x.npz")


def test_floats_are_looked_at_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever so many pixels are converted in the memory of a few, and the same comes of it."""
    images = np.random.default_rng(0).random((5, 4, 4)).astype(np.float16)
    np.save(tmp_path / "x.npy", images)
    whole = arrays.read(tmp_path / "x.npy").images
    monkeypatch.setattr("genmnist.data.adopt._AT_ONCE", 1)
    assert torch.equal(arrays.read(tmp_path / "x.npy").images, whole)
    np.save(tmp_path / "x.npy", np.where(images == images[4, 3, 3], np.nan, images))
    with pytest.raises(GenmnistError, match="not all of them numbers"):
        arrays.read(tmp_path / "x.npy")


# IDX


def idx(*sides: int) -> bytes:
    return bytes([0, 0, 8, len(sides)]) + b"".join(side.to_bytes(4, "big") for side in sides)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (idx(2**32 - 1, 28, 28), "its header states|entries and"),
        (idx(2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(9), "its header states|entries and"),
        (
            idx(100_000, 100, 100) + bytes(5),
            "holds 5 bytes|unpack to 1,000,000,000 bytes, more than 200 times",
        ),
        (idx(1, 4, 4) + bytes(17), "truncated or damaged"),
        (idx(1, 4, 4) + bytes(15), "truncated or damaged"),
        (idx(4), "not an IDX file of images|too short"),
    ],
)
def test_idx_files_that_claim_much(tmp_path: Path, content: bytes, sentence: str, packed: bool) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(GenmnistError, match=sentence):
        read_idx(path, 3)


# Pictures and folders


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (png(30_000, 30_000), "cannot be read as an image|more than genmnist unpacks"),
        (png(12_000, 8_000), "12000 x 8000 pixels, more than genmnist unpacks"),  # Pillow would only warn
        (png(2**31 - 1, 2**31 - 1), "cannot be read as an image|more than genmnist unpacks"),
        (png(0, 9), "cannot be read as an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be read as an image"),
        (b"DDS |\0\0\0" + b"\xff" * 120, "cannot be read as an image"),
        (b"BLP2" + b"\x01" * 200, "cannot be read as an image"),
        (b"\0\0\0 ftypavif" + b"\0" * 99, "cannot be read as an image"),
        (struct.pack(">27f", *range(27)), "cannot be read as an image"),  # SPIDER, perhaps
        (b"P6 99999 99999 255\n", "cannot be read as an image|more than genmnist unpacks"),
        (b"P5 12 12 99999\n" + bytes(300), "cannot be read as an image"),
        (b"", "cannot be read as an image"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_pictures_that_are_none(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(GenmnistError, match=sentence):
        read_pictures([tmp_path / "x.png"], 16)


def classes(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for image in range(12):
            Image.fromarray(np.full((4, 4), 20 * number + image + 2, np.uint8)).save(
                folder / name / f"{image}.png"
            )
    return folder


def test_links_that_lead_back_are_not_followed(tmp_path: Path) -> None:
    """Twelve images stay twelve, whatever links there are to the folders that they lie in."""
    folder = classes(tmp_path / "x", "a", "b")
    outside = classes(tmp_path / "far", "more") / "more"
    for number, target in enumerate(
        (".", "..", "/", f"{folder}", "l4", f"{tmp_path}", f"{outside}", f"{outside}")
    ):
        (folder / "a" / f"l{number}").symlink_to(target)
    splits = data.load(data_dir=folder)
    assert sum(map(len, splits)) == 12 + 12 + 12  # those of the folder elsewhere once
    (folder / "loop").symlink_to("..")
    with pytest.raises(GenmnistError, match="loop is a link to a folder that it lies in: remove it"):
        data.load(data_dir=folder)


def test_more_classes_than_anybody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genmnist.data.folders.MOST_CLASSES", 1)
    with pytest.raises(GenmnistError, match="has 2 subfolders; genmnist takes 1 classes"):
        data.load(data_dir=classes(tmp_path / "x", "a", "b"))


def test_more_pixels_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = classes(tmp_path / "x", "a")
    monkeypatch.setattr("genmnist.data.pictures._MOST_TOGETHER", 100)
    with pytest.raises(GenmnistError, match="12 images of 4 x 4 pixels are more than 0 GiB"):
        data.load(data_dir=folder)


def test_of_a_damaged_tiff_no_library_speaks_but_genmnist(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """libtiff writes to standard error by itself, past Python: not while we read, and as ever after it."""
    path = tmp_path / "digit.tif"
    noise = np.random.default_rng(0).integers(0, 256, (60, 40), np.uint8)
    Image.fromarray(noise).save(path, compression="tiff_deflate")
    content = bytearray(path.read_bytes())
    content[20:200] = b"\xff" * 180
    path.write_bytes(content)
    for read in (lambda: read_pictures([path], None), lambda: centred.read(path)):
        with pytest.raises(GenmnistError, match="cannot be read as an image"):
            read()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


# What is no regular file


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path, vae_run: str) -> None:
    run = Run(tmp_path / vae_run)
    pictures = classes(tmp_path / "pictures", "a")
    places: dict[Path, Callable[[], object]] = {
        run.config_file: lambda: run.config,
        run.metrics_file: lambda: run.metrics,
        run.evaluation_file: lambda: document.read(run.evaluation_file),
        run.model_file: lambda: checkpoint.load(run.model_file),
        tmp_path / "images": lambda: read_idx(tmp_path / "images", 3),
        tmp_path / "x.npz": lambda: arrays.read(tmp_path / "x.npz"),
        pictures / "a" / "3.png": lambda: data.load(data_dir=pictures),
    }
    for place, read in places.items():
        for make in (os.mkfifo, _device):
            place.unlink(missing_ok=True)
            make(place)
            with pytest.raises(GenmnistError, match="no regular file"):
                read()


@pytest.mark.parametrize("size", [1 << 31, 4 << 30])
def test_sparse_files_are_not_read(tmp_path: Path, size: int) -> None:
    """A file of zeros that is on no disk: it would fill the memory."""
    path = tmp_path / "x"
    readers: tuple[Callable[[], object], ...] = (
        lambda: checkpoint.read(path), lambda: document.read(path), lambda: read_idx(path, 3),
        lambda: Run(tmp_path).config, lambda: Run(tmp_path).metrics, lambda: read_pictures([path]),
    )  # fmt: skip
    path.touch()
    os.truncate(path, size)
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / name).symlink_to(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(map(seconds, readers)) < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB, on Linux


# Documents


@pytest.mark.parametrize(
    "text",
    [
        "1e999",
        "9" * 400,
        str(2**64),
        "[" * 40 + "]" * 40,
        "[" * 100_000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        "NaN",
    ],
)
def test_numbers_and_depths_that_no_document_has(tmp_path: Path, text: str, vae_run: str) -> None:
    run = Run(tmp_path / vae_run)
    config = json.loads(run.config_file.read_text())
    config["options"]["hidden"] = "HERE"
    run.config_file.write_text(json.dumps(config).replace('"HERE"', text))
    with pytest.raises(GenmnistError, match=r"config.json is damaged"):
        _ = run.config
    metrics = run.metrics_file.read_text()
    run.metrics_file.write_text(metrics + metrics.splitlines()[0].replace('"lr":', f'"lr":{text},"x":'))
    with pytest.raises(GenmnistError, match=r"metrics.jsonl is damaged"):
        _ = run.metrics
    evaluation = (WEIGHTS / "vae.json").read_text()
    run.evaluation_file.write_text(evaluation.replace('"num": 10000', f'"num": {text}', 1))
    assert run.evaluation_file.read_text() != evaluation
    with pytest.raises(GenmnistError, match=r"evaluation.json is damaged"):
        document.read(run.evaluation_file)


def test_a_number_of_threads_that_no_machine_has(tmp_path: Path, vae_run: str) -> None:
    run = Run(tmp_path / vae_run)
    config = json.loads(run.config_file.read_text())
    run.config_file.write_text(json.dumps(config | {"threads": 2**31}))
    with pytest.raises(GenmnistError, match=r"config.json is damaged"):
        _ = run.config


@pytest.mark.parametrize("change", [{"lr": "1e999"}, {"step": "9" * 400}, {"epoch": "1e999"}])
def test_numbers_in_the_history_of_a_state(
    genmnist: Command, tmp_path: Path, vae_run: str, change: dict[str, str]
) -> None:
    run = Run(tmp_path / vae_run)
    content = run.state_file.read_bytes()
    ((name, text),) = change.items()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    said = json.loads(header["__metadata__"]["genmnist"])
    said["progress"]["history"][0][name] = "HERE"
    header["__metadata__"]["genmnist"] = json.dumps(said).replace('"HERE"', text)
    raw = json.dumps(header).encode()
    run.state_file.write_bytes(len(raw).to_bytes(8, "little") + raw + content[end:])
    with pytest.raises(GenmnistError, match="its header is not one that this genmnist writes"):
        checkpoint.read(run.state_file)


# Checkpoints


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    checkpoint.save(path, VAE(VAEOptions(hidden=4, latent=2)), "report", Training(), {"val_loss": 1.0})
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], object], more: bytes = b"") -> None:
    """Let a file's outer header say something else of its tensors."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    change(header)
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + content[end:] + more)


@pytest.mark.parametrize(
    ("change", "more", "sentence"),
    [
        (lambda h: h["decoder.0.bias"].update(shape=[2**31]), b"", "the place of .* is not where"),
        (lambda h: h["decoder.0.bias"].update(shape=[2**62, 2**62]), b"", "its header is not one"),
        (lambda h: h["decoder.0.bias"].update(data_offsets=[0, 2**63]), b"", "the place of .* is not where"),
        (
            lambda h: h["decoder.0.bias"].update(data_offsets=h["decoder.0.weight"]["data_offsets"]),
            b"",
            "the place of",
        ),
        (lambda h: h["decoder.0.bias"].update(dtype="F8_E5M2"), b"", "its header is not one"),
        (lambda h: h.update(x={}), b"", "its header is not one"),
        (lambda h: h["__metadata__"].update(sha256=5), b"", "its header is not one"),
        (lambda h: h.pop("__metadata__"), b"", "its header is not one"),
        (lambda h: h, b"1234", "longer than its header says"),
    ],
)
def test_headers_that_lie_about_their_tensors(
    model_file: Path, change: Callable[[dict[str, Any]], object], more: bytes, sentence: str
) -> None:
    checkpoint.load(model_file)
    rewrite(model_file, change, more)
    with pytest.raises(GenmnistError, match=sentence):
        checkpoint.load(model_file)


def test_memory_is_taken_only_for_what_the_model_has(model_file: Path) -> None:
    """A tensor of 2 GiB that is on no disk, under a header that is right in all but that."""
    size = 2_147_000_000
    end = model_file.stat().st_size - 8 - int.from_bytes(model_file.read_bytes()[:8], "little")
    rewrite(
        model_file, lambda h: h.update(x={"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]})
    )
    os.truncate(model_file, model_file.stat().st_size + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(GenmnistError, match="should not have 1 tensors, such as 'x'"):
        checkpoint.load(model_file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_weights_that_are_not_finite(model_file: Path) -> None:
    for value in (float("nan"), float("inf")):
        content = bytearray(model_file.read_bytes())
        content[-4:] = struct.pack("<f", value)
        model_file.write_bytes(content)
        tamper(model_file, lambda said: None)  # with the sum that is right
        with pytest.raises(GenmnistError, match="holds numbers that are not finite"):
            checkpoint.load(model_file)


# Text


def test_what_may_be_shown_of_a_text() -> None:
    assert printable(ESCAPES) == r"\x1b[31m\u202e[bold]:warning:\n<b>"
    assert printable("日本 ü") == "日本 ü"
    assert printable("x" * 3000) == "x" * 2000 + "… (3,000 characters)"
    assert without_controls(f"<p>\n{ESCAPES}") == "<p>\n\\x1b[31m\\u202e[bold]:warning:\n<b>"


def test_nothing_that_is_said_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output("info")
    output.say(ESCAPES)
    output.say(ESCAPES, apart=True)
    output.table([[ESCAPES, "x"]], [ESCAPES, "x"])
    output.wrote(Path(":warning:[red].png"))
    with output.progress(ESCAPES, 1) as advance:
        advance(1, ESCAPES)
    shown = "".join(capsys.readouterr())
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert shown.count("[bold]:warning:") >= 4
    assert ":warning:[red].png" in shown


def test_tables_end(capsys: pytest.CaptureFixture[str]) -> None:
    Output("info").table([str(number), "x"] for number in range(100_000))
    assert "and 99,000 rows more" in capsys.readouterr().out


def test_no_json_that_others_cannot_read(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output("x", as_json=True)
    output.note(a=[float("inf"), {"b": float("nan")}], c=(1.5,))
    output.finish()
    assert json.loads(capsys.readouterr().out) == {"command": "x", "a": [None, {"b": None}], "c": [1.5]}


def test_escapes_in_a_run_reach_neither_terminal_nor_page(
    genmnist: Command, tmp_path: Path, vae_run: str
) -> None:
    """In the keys of training, metrics and options, in preset and data, and in what was measured."""
    run = Run(tmp_path / vae_run)

    def change(said: dict[str, Any]) -> None:
        said["preset"] = ESCAPES
        said["training"] |= {"machine": ESCAPES, "recipe": {ESCAPES: ESCAPES}}
        said["metrics"] |= {ESCAPES: 1.0, "long" * 2_500_000: 2.0}

    tamper(run.model_file, change)
    config = json.loads(run.config_file.read_text())
    config |= {"preset": ESCAPES, "dataset": ESCAPES, "data_dir": ESCAPES, "command": ["genmnist", ESCAPES]}
    config["recipe"][ESCAPES] = ESCAPES
    run.config_file.write_text(json.dumps(config))
    evaluation = json.loads((WEIGHTS / "vae.json").read_text())
    evaluation["data"] = evaluation["samples"]["features"] = ESCAPES
    run.evaluation_file.write_text(json.dumps(evaluation))
    evil = tmp_path / "evil\x1b[2J\u202e_$x_$"
    run.folder.rename(evil)
    (tmp_path / "_other").symlink_to(evil)
    for words in (("info", evil), ("compare", evil, "_other"), ("train", "ddpm", "--resume", evil)):
        begun = time.monotonic()
        done = genmnist(*words)
        assert time.monotonic() - begun < 30  # the metric's name has ten million letters
        shown = done.out + done.err
        assert not {"\x1b", "\u202e"} & set(shown), words
        assert len(shown) < 100_000
        assert "Warning" not in shown
    for word in ("info", "compare"):
        assert "\\x1b[31m" in genmnist(word, evil).out
    run = Run(evil)
    run.config_file.write_text(json.dumps(config | {"family": ESCAPES}))
    for words in (("report", evil), ("train", "vae", "--resume", evil)):
        sentence = one_sentence(genmnist(*words), 2)
        assert not {"\x1b", "\u202e"} & set(sentence)


def test_pictures_say_any_text(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Heads, titles and legends of any letters: no mathematics, no second line, no warning."""
    name = f"$x_${ESCAPES}日本"
    tiles = grid.grid(torch.zeros(4, 4, 4, dtype=torch.uint8), 2, [name, "_b"], name)
    line = {"images seen": 1, "seconds": 1.0, "loss": 2.0}
    chart = curves.compare({name: ("vae", "loss", [line]), "_other": ("vae", "loss", [line])})
    for figure in (tiles, chart):
        for suffix in (".png", ".svg", ".pdf"):
            path = figure.save(
                tmp_path / f"x{suffix}", about(["genmnist", f"{name}\udcff"]), Look(title=name)
            )
            assert path.stat().st_size > 0
            if suffix == ".svg":
                assert "\x1b" not in path.read_text("utf-8")
    assert "_other" in path.with_suffix(".svg").read_text("utf-8")
    assert not recwarn.list


# Writing


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from genmnist.files import replacing\n"
        "with replacing(sys.argv[1]) as path:\n"
        " path.write_bytes(bytes(1000)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "x"], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    files.write_text(tmp_path / "y", "young ones may be somebody's")
    assert left.exists()
    os.utime(left, (0, 0))
    with files.replacing(tmp_path / "long") as slow:
        slow.write_text("x")
        os.utime(slow.parent, (0, 0))
        files.write_text(tmp_path / "z", "old ones are nobody's, but for those that are locked")
        assert slow.exists()
        assert not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long", "y", "z"]


@pytest.mark.parametrize(
    "how",
    [signal.SIGTERM, *slow(signal.SIGKILL, signal.SIGINT)],
)
def test_a_sampling_that_is_stopped_leaves_no_half_file(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "old.npz").write_bytes(b"old")
    words = ("sample", "vae", "--num", "10000000", "--out", "old.npz")
    process = subprocess.Popen(
        [sys.executable, "-m", "genmnist", *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(f"{files.TEMPORARY}*/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, said = process.communicate()
    status = {signal.SIGTERM: 143, signal.SIGKILL: -9, signal.SIGINT: 130}[how]
    assert process.returncode == status
    assert b"Traceback" not in said
    assert (tmp_path / "old.npz").read_bytes() == b"old"
    if how != signal.SIGKILL:
        assert [path.name for path in tmp_path.iterdir()] == ["old.npz"]


# Early


def test_what_cannot_be_measured_is_refused_before_anything_is_computed(
    genmnist: Command, tmp_path: Path, few: Splits
) -> None:
    images = few.test.images.numpy()
    np.savez(tmp_path / "few.npz", images=images[:5])
    np.savez(tmp_path / "labels.npz", images=images[:9], labels=np.full(9, 50))
    assert "needs 6 images or more, not 5" in one_sentence(genmnist("evaluate", "samples", "few.npz"), 2)
    sentence = one_sentence(genmnist("evaluate", "samples", "labels.npz"), 2)
    assert "labels up to 50, and genmnist-classifier-1 knows 10" in sentence


def test_no_number_of_classes_is_suggested_that_is_refused(few: Splits) -> None:
    from genmnist.registry import FAMILIES

    family = FAMILIES["cfg"]
    options = family.preset(None)[1].options
    with pytest.raises(GenmnistError, match="labels up to 299, and a cfg knows 256 classes at most"):
        family.fitted(options, (1, 28, 28), tuple(map(str, range(300))), {})


@pytest.mark.parametrize(
    "reader", ["checkpoint", "idx", "gzip", "npz", "documents", "pictures", "digits", "folders"]
)
def test_sixty_files_that_were_made_to_do_harm(reader: str) -> None:
    """The same few of those that bench/fuzz.py reads for ten minutes."""
    found = program("bench/fuzz.py").fuzz(reader, examples=60)
    assert found.crashes == {}
    assert found.files >= found.refused > 30
