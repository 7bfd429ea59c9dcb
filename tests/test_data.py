"""Reading data: the right bytes, whatever the packing, and one sentence for anything else."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import datasets

from genmnist import data
from genmnist.data import Splits, quantise, read_idx, scale, sources, write_idx
from genmnist.errors import GenmnistError, UsageError
from genmnist.presets import DATASETS


def test_mnist_is_what_torchvision_reads(tmp_path: Path, mnist: Splits) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in sources.BUNDLED.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    for part, train in ((mnist.train, True), (mnist.test, False)):
        theirs = datasets.MNIST(str(tmp_path), train=train)
        assert torch.equal(part.images, theirs.data)
        assert torch.equal(part.labels, theirs.targets)


def test_a_batch_is_what_totensor_makes(mnist: Splits) -> None:
    images, labels = mnist.train.batch(torch.tensor([5, 0]))
    assert images.shape == (2, 1, 28, 28)
    assert torch.equal(images[0, 0], mnist.train.images[5].float() / 255)
    assert labels.tolist() == mnist.train.labels[[5, 0]].tolist()


def test_quantise_undoes_scale() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(28 * 28 // 256 + 1)[: 28 * 28].view(1, 28, 28)
    assert torch.equal(quantise(scale(images)), images)


def test_an_epoch_visits_every_image_once_in_an_order_of_its_own(few: Splits) -> None:
    orders = [few.train.order(0, epoch) for epoch in (0, 1)] + [few.train.order(1, 0)]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(len(few.train)))
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert torch.equal(orders[0], few.train.order(0, 0))


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_idx_files_come_back(tmp_path: Path, name: str) -> None:
    array = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
    write_idx(tmp_path / name, array)
    assert np.array_equal(read_idx(tmp_path / name, 3), array)


def test_a_damaged_bundled_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(sources.BUNDLED, tmp_path / "mnist")
    labels = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    array = read_idx(labels, 1).copy()
    array[77] ^= 1
    write_idx(labels, array)
    monkeypatch.setattr(sources, "BUNDLED", tmp_path / "mnist")
    with pytest.raises(GenmnistError, match="not the MNIST file"):
        data.load()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "too short"),
        (b"\x00\x00\x08\x03", "too short"),
        (b"\x00\x00\x08\x01" + bytes(12), "not an IDX file of images"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "truncated or damaged"),
        (b"\x00\x00\x08\x03" + b"\x00\x00\x00\x01" * 3 + b"12", "truncated or damaged"),
        (b"\x1f\x8b" + b"no gzip at all", "cannot read"),
        (gzip.compress(bytes(100))[:-20], "damaged gzip"),
    ],
)
def test_wrong_idx_files_get_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(GenmnistError, match=sentence):
        read_idx(path, 3)


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genmnist.data.idx._MAX_BYTES", 1000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(GenmnistError, match="more than 1,000 bytes"):
        read_idx(tmp_path / "x.gz", 3)


def _mutate(content: bytes, kind: str, position: int, value: int) -> bytes:
    position %= max(len(content), 1)
    if kind == "truncate":
        return content[:position]
    if kind == "extend":
        return content + bytes([value]) * (position + 1)
    if kind == "swap":
        return content[position:] + content[:position]
    return content[:position] + bytes([content[position] ^ (value or 1)]) + content[position + 1 :]


@pytest.mark.parametrize("name", ["x-idx3-ubyte", "x-idx3-ubyte.gz"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["truncate", "flip", "extend", "swap"]),
    position=st.integers(0, 10**6),
    value=st.integers(0, 255),
)
def test_damaged_idx_files_are_read_or_refused(
    tmp_path: Path, name: str, kind: str, position: int, value: int
) -> None:
    array = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)
    write_idx(tmp_path / name, array)
    damaged = _mutate((tmp_path / name).read_bytes(), kind, position, value)
    (tmp_path / name).write_bytes(damaged)
    try:
        shape, sentence = read_idx(tmp_path / name, 3).shape, ""
    except GenmnistError as error:
        shape, sentence = (0, 0, 0), str(error)
    if sentence:
        assert "\n" not in sentence
    else:  # only a changed pixel goes unnoticed, or a changed remark in the head of a gzip file
        assert shape == array.shape or kind == "flip"


def test_a_folder_of_idx_files(idx_folder: Path, few: Splits) -> None:
    splits = data.load(data_dir=idx_folder)
    assert torch.equal(splits.train.images, few.train.images)
    assert torch.equal(splits.test.labels, few.test.labels)
    assert splits.checksum() == few.checksum()


def test_files_of_a_folder_must_match(idx_folder: Path, few: Splits) -> None:
    write_idx(idx_folder / "train-labels-idx1-ubyte", np.zeros(7, np.uint8))
    with pytest.raises(GenmnistError, match="1000 train images but 7 labels"):
        data.load(data_dir=idx_folder)
    (idx_folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(GenmnistError, match="no file train-labels-idx1-ubyte"):
        data.load(data_dir=idx_folder)
    write_idx(idx_folder / "train-images-idx3-ubyte.gz", np.zeros((5, 32, 32), np.uint8))
    write_idx(idx_folder / "train-labels-idx1-ubyte", np.zeros(5, np.uint8))
    with pytest.raises(GenmnistError, match="32 x 32"):
        data.load(data_dir=idx_folder)


def _draw(folder: Path, classes: int, each: int, mode: str = "RGB", size: tuple[int, int] = (40, 60)) -> None:
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(each):
            Image.new(mode, size, 20 * label + number).save(folder / f"class{label}" / f"{number:02d}.png")


def test_a_folder_of_images(tmp_path: Path) -> None:
    _draw(tmp_path / "one", 3, 10, "L")
    train, test = data.load(data_dir=tmp_path / "one")
    assert (len(train), len(test)) == (27, 3)
    assert train.images.shape[1:] == (28, 28)
    assert test.labels.tolist() == [0, 1, 2]
    assert int(test.images[1, 0, 0]) == 29


def test_a_folder_of_images_in_two_parts(tmp_path: Path) -> None:
    _draw(tmp_path / "two" / "train", 2, 4)
    _draw(tmp_path / "two" / "test", 2, 1)
    train, test = data.load(data_dir=tmp_path / "two")
    assert (len(train), len(test)) == (8, 2)


def test_classes_are_numbered_by_the_training_set(tmp_path: Path) -> None:
    for split, names in (("train", "3 5 7 10"), ("test", "5 10")):
        for name in names.split():
            folder = tmp_path / "digits" / split / name
            folder.mkdir(parents=True)
            Image.new("L", (28, 28), 9).save(folder / "x.png")
    train, test = data.load(data_dir=tmp_path / "digits")
    assert (train.labels.tolist(), test.labels.tolist()) == ([10, 3, 5, 7], [10, 5])
    (tmp_path / "digits" / "test" / "9").mkdir()
    with pytest.raises(GenmnistError, match="not among the classes"):
        data.load(data_dir=tmp_path / "digits")


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "a"
    folder.mkdir(parents=True)
    for number in range(10):
        Image.fromarray(np.full((28, 28), number * 6000, np.uint16)).save(folder / f"{number}.png")
    train, test = data.load(data_dir=tmp_path / "deep")
    values = [int(image[0, 0]) for image in (*train.images, *test.images)]
    assert values == [number * 6000 // 257 for number in range(10)]


def test_folders_that_are_neither(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        data.load(data_dir=tmp_path / "absent")
    with pytest.raises(GenmnistError, match="neither IDX files nor"):
        data.load(data_dir=tmp_path)
    _draw(tmp_path / "bad", 1, 10)
    (tmp_path / "bad" / "class0" / "05.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    with pytest.raises(GenmnistError, match=r"05\.png cannot be read"):
        data.load(data_dir=tmp_path / "bad")


def test_unknown_sets_and_labels(mnist: Splits) -> None:
    with pytest.raises(UsageError, match="no data set 'svhn'"):
        data.load("svhn")
    with pytest.raises(UsageError, match="label 12"):
        mnist.test.first(12)


def test_the_tables_of_sets_agree() -> None:
    assert ("mnist", *data.DOWNLOADS) == DATASETS


@pytest.mark.parametrize("name", data.DOWNLOADS)
def test_absent_archives_name_the_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "cache", lambda: tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(GenmnistError, match=str(tmp_path)) as caught:
        data.load(name)
    assert all(archive in str(caught.value) for archive in data.DOWNLOADS[name].archives())
    assert data.DOWNLOADS[name].state() == "absent"


def test_archives_put_there_by_hand_are_verified_and_read(
    tmp_path: Path, few: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "cache", lambda: tmp_path)
    source = data.DOWNLOADS["kmnist"]
    source.folder.mkdir(parents=True)
    resources = []
    for part, prefix in ((few.train, "train"), (few.test, "t10k")):
        for kind, array in (("images-idx3", part.images), ("labels-idx1", part.labels)):
            path = source.folder / f"{prefix}-{kind}-ubyte.gz"
            write_idx(path, array.numpy().astype("uint8"))
            resources.append((path.name, datasets.utils.calculate_md5(str(path))))
    monkeypatch.setattr(datasets.KMNIST, "resources", resources)
    splits = data.load("kmnist")
    assert torch.equal(splits.train.images, few.train.images)
    assert source.state() == "verified"
    (source.folder / "train-images-idx3-ubyte").write_bytes(b"")  # unpacking was interrupted
    assert torch.equal(data.load("kmnist").train.images, few.train.images)
    (source.folder / resources[0][0]).write_bytes(b"damaged")
    assert source.state() == "damaged"
    with pytest.raises(GenmnistError, match="by hand"):
        data.load("kmnist")
