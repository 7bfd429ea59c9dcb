"""Data: the right bytes of any shape, whatever the packing, and one sentence for anything else."""

from __future__ import annotations

import errno
import gzip
import io
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import HealthCheck, settings
from PIL import Image
from torchvision import datasets

from damage import mutate, mutations
from genmnist import data
from genmnist.data import (
    Dataset,
    Splits,
    arrays,
    as_splits,
    downloads,
    quantise,
    read_idx,
    scale,
    sources,
    write_idx,
)
from genmnist.errors import GenmnistError, UsageError
from genmnist.registry import DATASETS, Registry

# Of MNIST, as it was when a set had two parts: 60,000 images to train on and 10,000 to validate on.
MNIST_CHECKSUM = "1e35582d42a90940c55b956deb61875c020b567ed20e3c5b174f52bf7809ed9b"


@pytest.fixture(scope="module")
def mnist() -> Splits:
    return data.load()


def grey(count: int = 20, height: int = 6, width: int = 5) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Images all different, each pixel too."""
    return np.random.default_rng(0).integers(0, 256, (count, height, width)).astype(np.uint8)


def rgb(count: int = 20, height: int = 6, width: int = 5) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def numbered(count: int = 20) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.arange(count) % 4


# --- one set in memory ----------------------------------------------------------------------------


def test_mnist_is_what_torchvision_reads(tmp_path: Path, mnist: Splits) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in sources.BUNDLED.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    reference = mnist.validated_on_test()
    for part, train in ((reference.train, True), (reference.validation, False)):
        theirs = datasets.MNIST(str(tmp_path), train=train)
        assert torch.equal(part.images, theirs.data)
        assert torch.equal(part.labels, theirs.targets)


def test_mnist_keeps_its_last_5000_training_images_for_validation(mnist: Splits) -> None:
    assert [len(part) for part in mnist] == [55_000, 5_000, 10_000]
    assert [part.name for part in mnist] == ["mnist (train)", "mnist (validation)", "mnist (test)"]
    assert (mnist.shape, mnist.classes) == (data.MNIST.shape, data.MNIST.classes) == ((1, 28, 28), 10)
    reference = mnist.validated_on_test()
    assert torch.equal(reference.train.images[55_000:], mnist.validation.images)
    assert reference.validation.name == "mnist (test)"
    assert mnist.checksum() == reference.checksum() == MNIST_CHECKSUM


@pytest.mark.parametrize(("images", "shape"), [(grey(), (1, 6, 5)), (rgb(), (3, 6, 5))])
def test_a_batch_is_what_totensor_makes(images: Any, shape: tuple[int, int, int]) -> None:
    part = Dataset("x", torch.from_numpy(images), torch.from_numpy(numbered()))
    batch, labels = part.batch(torch.tensor([5, 0]))
    assert part.shape == shape
    assert batch.shape == (2, *shape)
    first = batch[0].permute(1, 2, 0) if shape[0] == 3 else batch[0, 0]
    assert torch.equal(first, part.images[5].float() / 255)
    assert labels.tolist() == [1, 0]
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 20, 33), (2, 32, 32, 3), (1, 9, 64, 3), (1, 16, 16)])
def test_quantise_undoes_scale(shape: tuple[int, ...]) -> None:
    images = torch.arange(2 * 64 * 64 * 3).remainder(256).to(torch.uint8)[: int(np.prod(shape))].view(shape)
    again = quantise(scale(images))
    assert torch.equal(again, images)
    assert again.is_contiguous()


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_quantise_takes_grey_and_colour_alone(channels: int) -> None:
    with pytest.raises(UsageError, match=f"3 \\(colour\\), not {channels}"):
        quantise(torch.zeros(2, channels, 8, 8))


def test_an_epoch_visits_every_image_once_in_an_order_of_its_own(mnist: Splits) -> None:
    orders = [mnist.test.order(0, epoch) for epoch in (0, 1)] + [mnist.test.order(1, 0)]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(len(mnist.test)))
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert torch.equal(orders[0], mnist.test.order(0, 0))


def test_the_first_image_of_a_label(mnist: Splits) -> None:
    sevens = (mnist.test.labels == 7).nonzero()[:, 0]
    assert torch.equal(mnist.test.first(7, skip=2), mnist.test.images[sevens[2]])
    with pytest.raises(UsageError, match="label 12; it has labels 0, 1"):
        mnist.test.first(12)


def test_labels_are_dealt_as_often_as_the_images_have_them(mnist: Splits) -> None:
    for num, off in ((10, 1), (1000, 3), (10_000, 4)):
        dealt = mnist.train.deal(num, seed=3).bincount(minlength=10)
        assert dealt.sum() == num
        asked = num * mnist.train.labels.bincount() / len(mnist.train)
        assert (dealt - asked).abs().max() < off
    assert torch.equal(mnist.train.deal(50, seed=3), mnist.train.deal(80, seed=3)[:50])
    assert not torch.equal(mnist.train.deal(50, seed=3), mnist.train.deal(50, seed=4))


def test_facts_cost_no_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None\n"
        "from genmnist import data; assert data.MNIST.shape == (1, 28, 28); assert 'load' in dir(data)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# --- what is held out -----------------------------------------------------------------------------


def same(one: Dataset, other: Dataset) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_splits_built_by_hand_are_joined_in_a_row() -> None:
    parts = [Dataset(name, torch.from_numpy(grey()), torch.from_numpy(numbered())) for name in "abc"]
    splits = Splits(*parts)
    joined = splits.validated_on_test()
    assert torch.equal(joined.train.images, torch.cat([parts[0].images, parts[1].images]))
    assert joined.validation is joined.test is splits.test
    assert joined.validated_on_test() is joined
    assert joined.to("cpu").validation is not None
    assert splits.to("cpu").checksum() == joined.to("cpu").checksum()


@pytest.mark.parametrize("images", [grey(50), rgb(50)])
def test_a_seeded_hold_out_is_always_the_same_and_can_be_undone(images: Any) -> None:
    test = (images[:3], numbered(3))
    one, two = (as_splits(((images, numbered(50)), test)) for _ in range(2))
    assert [len(part) for part in one] == [45, 5, 3]
    assert all(same(*parts) for parts in zip(one, two, strict=True))
    assert not torch.equal(one.validation.images, torch.from_numpy(images[45:]))
    whole = one.to("cpu").validated_on_test().train
    assert torch.equal(whole.images, torch.from_numpy(images))
    assert torch.equal(whole.labels, torch.from_numpy(numbered(50)))


@pytest.mark.parametrize(("count", "sizes"), [(100, [80, 10, 10]), (59, [49, 5, 5]), (3, [1, 1, 1])])
def test_one_pair_of_arrays_is_cut_in_three(count: int, sizes: list[int]) -> None:
    splits = as_splits((grey(count), list(range(count))), "mine")
    assert [len(part) for part in splits] == sizes
    assert [part.name for part in splits] == ["mine (train)", "mine (validation)", "mine (test)"]
    assert sorted(int(label) for part in splits for label in part.labels) == list(range(count))
    for part in splits:
        assert torch.equal(part.images, torch.from_numpy(grey(count))[part.labels])


# --- arrays of the user's own ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "images",
    [
        grey(), grey()[..., None], grey()[:, None], grey()[:, ::-1][:, ::-1], np.asfortranarray(grey()),
        torch.from_numpy(grey()), torch.from_numpy(grey()[:, None]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("labels", [numbered(), numbered().astype(np.uint8), torch.from_numpy(numbered())])
def test_grey_arrays_of_any_form(images: Any, labels: Any) -> None:
    splits = as_splits({"train": (images, labels), "validation": (images, labels), "test": [images, labels]})
    for part in splits:
        assert torch.equal(part.images, torch.from_numpy(grey()))
        assert torch.equal(part.labels, torch.from_numpy(numbered()))
    assert as_splits(splits) is splits


def test_colour_arrays() -> None:
    first = rgb().transpose(0, 3, 1, 2)
    splits = as_splits(((first, numbered()), (rgb(4), numbered(4))))
    assert torch.equal(splits.validated_on_test().train.images, torch.from_numpy(rgb()))
    assert (splits.shape, splits.classes) == ((3, 6, 5), 4)
    assert torch.equal(splits.test.images, torch.from_numpy(rgb(4)))


def _floats(low: float, high: float) -> Any:
    return np.linspace(low, high, 600, dtype=np.float32).reshape(20, 6, 5)


_STRETCHED = "255.0 * (images - images.min()) / (images.max() - images.min())"
MENDED: list[tuple[Any, str]] = [
    (_floats(0, 1), "(255 * images).round().astype(numpy.uint8)"),
    (_floats(-1, 1), "(127.5 * (images + 1)).round().astype(numpy.uint8)"),
    (_floats(0, 255), "(images).round().astype(numpy.uint8)"),
    (_floats(-3, 40), f"({_STRETCHED}).round().astype(numpy.uint8)"),
    (grey().astype(np.int32), "(images).round().astype(numpy.uint8)"),
    (grey().astype(np.uint16) * 257, f"({_STRETCHED}).round().astype(numpy.uint8)"),
    (grey() > 99, "(255 * images).round().astype(numpy.uint8)"),
    ((grey() > 99).astype(np.uint8), "(255 * images).round().astype(numpy.uint8)"),
    (torch.rand(20, 6, 5).half(), "(255 * images).round().to(torch.uint8)"),
    (torch.rand(20, 6, 5).bfloat16() - 0.5, "(127.5 * (images + 1)).round().to(torch.uint8)"),
    (torch.arange(600).reshape(20, 6, 5), f"({_STRETCHED}).round().to(torch.uint8)"),
    (torch.rand(20, 6, 5) > 0.5, "(255 * images).round().to(torch.uint8)"),
    (np.concatenate([rgb(), rgb()], -1)[..., :4], "images[..., :3]"),
    (grey().reshape(20, 30), "images.reshape(-1, height, width)"),
    (grey(20, 6, 6).reshape(20, 36), "images.reshape(-1, 6, 6)"),
]


@pytest.mark.parametrize(("images", "mend"), MENDED)
def test_wrong_images_are_told_the_line_that_mends_them(images: Any, mend: str) -> None:
    with pytest.raises(UsageError) as caught:
        as_splits((images, numbered(len(images))), "mine")
    assert str(caught.value).startswith("mine has images")
    assert f"`images = {mend}`" in str(caught.value)
    if "height" not in mend:
        mended = eval(mend, {"numpy": np, "torch": torch, "images": images})
        assert as_splits((mended, numbered(len(mended)))).shape[1] > 0


@pytest.mark.parametrize(
    "images", [np.full((9, 8, 8), np.nan), np.full((9, 8, 8), "7"), np.full((9, 8, 8), None)]
)
def test_pixels_that_are_no_numbers(images: Any) -> None:
    with pytest.raises(
        UsageError, match="not all of them numbers; genmnist takes uint8, 0 black to 255 white"
    ):
        as_splits((images, numbered(9)))


def test_sides_are_bounded() -> None:
    with pytest.raises(UsageError, match=r"\[4, 10, 1025\]; genmnist takes sides up to 1024"):
        as_splits((np.zeros((4, 10, 1025), np.uint8), numbered(4)))


def test_images_without_labels_are_of_one_class() -> None:
    splits = as_splits((grey(), None))
    assert splits.classes == 1
    assert not any(part.labels.any() for part in splits)


def test_labels_that_count_from_one_leave_no_class_empty() -> None:
    labels = numbered() % 4 + 1
    with pytest.raises(
        UsageError, match="labels from 1 on, and classes are counted from 0: `labels = labels - 1`"
    ):
        as_splits((grey(), labels))
    assert as_splits((grey(), labels - 1)).classes == 4
    part = data.Dataset("mine", torch.from_numpy(grey()), torch.from_numpy(labels))
    assert as_splits(Splits(part, part, part)).classes == 5


@pytest.mark.parametrize(
    ("labels", "mend"),
    [
        (numbered() - 1, "numpy.unique(labels, return_inverse=True)[1]"),
        (numbered() + 10**6, "numpy.unique(labels, return_inverse=True)[1]"),
        (np.array(list("abcd") * 5), "numpy.unique(labels, return_inverse=True)[1]"),
        (numbered() + 0.5, "numpy.unique(labels, return_inverse=True)[1]"),
        (numbered().astype(np.float32), "labels.astype(numpy.int64)"),
        (numbered() > 1, "labels.astype(numpy.int64)"),
        (torch.from_numpy(numbered()).float(), "labels.long()"),
        (torch.from_numpy(numbered()) - 3, "torch.unique(labels, return_inverse=True)[1]"),
        (np.eye(20), "labels.argmax(1)"),
        (numbered()[:, None], "labels.reshape(-1)"),
    ],
)
def test_wrong_labels_are_told_the_line_that_mends_them(labels: Any, mend: str) -> None:
    with pytest.raises(UsageError) as caught:
        as_splits((grey(), labels), "mine")
    assert f"`labels = {mend}`" in str(caught.value)
    as_splits((grey(), eval(mend, {"numpy": np, "torch": torch, "labels": labels})))


@pytest.mark.parametrize(
    ("given_data", "sentence"),
    [
        (grey(), "images without labels"),
        (None, "of type NoneType"),
        ("mnist", "of type str"),
        ((), "a tuple of 0"),
        ((grey(), numbered(), numbered()), "for train"),
        (((grey(), numbered()), grey()), "has of type ndarray for test"),
        ({"training": (grey(), numbered())}, "a mapping of 'training'"),
        ({}, "a mapping of nothing"),
        ((grey(), numbered(7)), "images, labels = images[:7], labels[:7]"),
        ((grey(0), numbered(0)), "no images ([0, 6, 5])"),
        ((grey(2), numbered(2)), "too few images to hold some out: 2"),
        (((grey(1), numbered(1)), (grey(), numbered())), "too few images to hold some out: 1"),
        (((grey(), numbered()), (rgb(), numbered())), "[6, 5] for train but [6, 5, 3] for test"),
        ((grey(), [[1], [1, 2]]), "labels"),
    ],
)
def test_what_is_no_data_gets_a_sentence(given_data: Any, sentence: str) -> None:
    with pytest.raises(GenmnistError) as caught:
        as_splits(given_data, "mine")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# --- by name --------------------------------------------------------------------------------------


def test_every_set_is_registered_with_a_word_about_it() -> None:
    assert {"mnist", *data.DOWNLOADS} <= set(DATASETS.names())
    for name in ("mnist", *data.DOWNLOADS):
        assert DATASETS[name].__module__ == "genmnist.data.sources"
        assert DATASETS.facts(name)["about"]


def test_unknown_sets_and_arguments_out_of_place() -> None:
    with pytest.raises(UsageError, match="no data set 'imagenet'"):
        data.load("imagenet")
    with pytest.raises(UsageError, match="`image_size` is for a folder of images"):
        data.load("mnist", image_size=32)
    with pytest.raises(UsageError, match="`colour` is for"):
        data.load("mnist", colour=False)


def test_a_set_of_the_users_own_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def stripes() -> Any:
        """Stripes of all widths."""
        return rgb(40), numbered(40)

    registry: Registry[Callable[[], Any]] = Registry("data set", "nowhere", {})
    registry.register("stripes")(stripes)
    monkeypatch.setattr(sources, "DATASETS", registry)
    splits = data.load("stripes")
    assert [len(part) for part in splits] == [32, 4, 4]
    assert splits.train.name == "stripes (train)"
    (row,) = data.describe()
    assert (row.name, row.about, row.state) == ("stripes", "Stripes of all widths.", "registered")


def test_every_set_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "cache", lambda: tmp_path)
    rows = {row.name: row for row in data.describe()}
    assert tuple(rows) == DATASETS.names()
    row = rows["mnist"]
    assert (row.train, row.validation, row.test, row.shape) == (55_000, 5_000, 10_000, (1, 28, 28))
    assert (rows["svhn"].state, rows["svhn"].shape, rows["svhn"].train) == ("absent", (3, 32, 32), None)


def test_a_damaged_bundled_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(sources.BUNDLED, tmp_path / "mnist")
    labels = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    array = read_idx(labels, 1).copy()
    array[77] ^= 1
    write_idx(labels, array)
    monkeypatch.setattr(sources, "BUNDLED", tmp_path / "mnist")
    with pytest.raises(GenmnistError, match="not the MNIST file"):
        data.load()


# --- downloads ------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of downloads, empty, in a world without a network."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(downloads, "cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.mark.parametrize("name", data.DOWNLOADS)
def test_absent_archives_name_the_folder(name: str, cache: Path) -> None:
    source = data.DOWNLOADS[name]
    with pytest.raises(GenmnistError) as caught:
        data.load(name)
    assert re.fullmatch(sentence_of(source), str(caught.value))
    assert source.state() == "absent"


class Broken(io.BytesIO):
    """An answer of which half arrives before the connection breaks."""

    length, url = 100, None  # as urllib has them

    def read(self, size: int | None = -1, /) -> bytes:
        if content := super().read(size):
            return content
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


@pytest.mark.parametrize("name", data.DOWNLOADS)
def test_a_download_that_breaks_off_gets_the_same_sentence(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Broken(bytes(50)))
    source = data.DOWNLOADS[name]
    for _ in range(2):  # what is left of the first attempt is no better
        with pytest.raises(GenmnistError) as caught:
            data.load(name)
        assert re.fullmatch(sentence_of(source), str(caught.value))
        assert source.state() != "verified"


def sentence_of(source: downloads.Download) -> str:
    """Return what is said of a set that cannot be fetched, but for the reason."""
    files = ", ".join(f"{name} (MD5 {md5})" for name, md5 in source.archives().items())
    by_hand = f"get its files by hand from {source.home} and put them into {source.folder}: {files}"
    return rf"cannot fetch {source.dataset} \([^\n]+\): {re.escape(by_hand)}"


def test_archives_put_there_by_hand_are_verified_and_read(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, images, labels = data.DOWNLOADS["kmnist"], grey(48, 28, 28), numbered(48)
    source.folder.mkdir(parents=True)
    resources = []
    for prefix in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = source.folder / f"{prefix}-{kind}-ubyte.gz"
            write_idx(path, array.astype(np.uint8))
            resources.append((path.name, datasets.utils.calculate_md5(str(path))))
    monkeypatch.setattr(datasets.KMNIST, "resources", resources)
    splits = data.load("kmnist")
    assert [len(part) for part in splits] == [44, 4, 48]  # a twelfth is held out
    assert torch.equal(splits.validation.images, torch.from_numpy(images[44:]))
    assert source.state() == "verified"
    (source.folder / "train-images-idx3-ubyte").write_bytes(b"")  # unpacking was interrupted
    processed = source.folder.with_name("processed")
    processed.mkdir()
    for name in ("training.pt", "test.pt"):  # what an old torchvision left is not read
        torch.save((torch.zeros(1), torch.zeros(1)), processed / name)
    assert same(data.load("kmnist").train, splits.train)
    (source.folder / resources[0][0]).write_bytes(b"damaged")
    assert source.state() == "damaged"
    with pytest.raises(GenmnistError, match="by hand"):
        data.load("kmnist")


Edit = Callable[[dict[str, bytes]], object]


def _cifar10(monkeypatch: pytest.MonkeyPatch, edit: Edit = lambda _: None) -> Any:
    """Lay a small archive of the form of CIFAR-10's into the cache; return what it holds."""
    source = data.DOWNLOADS["cifar10"]
    source.folder.mkdir(parents=True)
    images, labels = rgb(28, 32, 32), np.arange(28, dtype=np.uint8) % 10
    records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(28, -1)], 1)
    cuts = dict(zip(("data_batch_5", "data_batch_1", "test_batch"), np.split(records, [4, 8]), strict=True))
    # In disorder, as in the archive itself: the first four records are of the last batch.
    names = ("data_batch_5", "data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "test_batch")
    files = {f"{name}.bin": cuts.get(name, records[:1]).tobytes() for name in names}
    files["readme.html"] = b"<html>"
    edit(files)
    archive = source.folder / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(downloads, "CIFAR10_MD5", datasets.utils.calculate_md5(str(archive)))
    order = [4, 5, 6, 7, 0, 0, 0, 0, 1, 2, 3]
    return (images[order], labels[order]), (images[8:], labels[8:])


def test_cifar10_is_read_from_within_its_archive(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert downloads.CIFAR10_MD5 == "c32a1d4ab5d03f1284b67883e8d87530"
    train, test = _cifar10(monkeypatch)
    splits = data.load("cifar10")
    whole = splits.validated_on_test()
    for part, (images, labels) in ((whole.train, train), (whole.test, test)):
        assert torch.equal(part.images, torch.from_numpy(images))
        assert part.labels.tolist() == labels.tolist()
    assert (splits.shape, len(splits.validation)) == ((3, 32, 32), 1)
    archive = cache / "CIFAR10" / "raw" / "cifar-10-binary.tar.gz"
    assert [path for path in cache.rglob("*") if path.is_file()] == [archive]
    archive.write_bytes(b"damaged")
    with pytest.raises(GenmnistError, match="by hand"):
        data.load("cifar10")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda files: files.pop("test_batch.bin"), "has no cifar-10-batches-bin/test_batch.bin"),
        (lambda files: files.update({"test_batch.bin": b"x" * 3072}), "whole records"),
        (lambda files: files.update({"data_batch_2.bin": bytes(10_001 * 3073)}), "whole records"),
    ],
)
def test_an_archive_of_another_form_gets_a_sentence(
    edit: Edit, sentence: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cifar10(monkeypatch, edit)
    with pytest.raises(GenmnistError, match=sentence):
        data.load("cifar10")
    assert cache.is_dir()


def test_svhn_is_read_by_torchvision(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, images, labels = data.DOWNLOADS["svhn"], rgb(30, 32, 32), np.arange(30) % 10
    source.folder.mkdir(parents=True)
    table = {}
    for split in ("train", "test"):
        path = source.folder / f"{split}_32x32.mat"
        written = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": written})
        table[split] = ["nowhere", path.name, datasets.utils.calculate_md5(str(path))]
    monkeypatch.setattr(datasets.SVHN, "split_list", table)
    splits = data.load("svhn")
    assert [len(part) for part in splits] == [28, 2, 30]
    assert torch.equal(splits.test.images, torch.from_numpy(images))
    assert splits.test.labels.tolist() == labels.tolist()
    assert cache.is_dir()


# --- folders of IDX files -------------------------------------------------------------------------


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "digits"
    folder.mkdir()
    for prefix, count in (("train", 100), ("t10k", 30)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", grey(count, 20, 33))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", numbered(count).astype("uint8"))
    return folder


def test_a_folder_of_idx_files_of_any_size(idx_folder: Path) -> None:
    splits = data.load(data_dir=idx_folder)
    assert splits.shape == (1, 20, 33)
    assert [len(part) for part in splits] == [90, 10, 30]
    assert splits.validation.name == "folder digits (validation)"
    assert torch.equal(splits.validated_on_test().train.images, torch.from_numpy(grey(100, 20, 33)))
    assert splits.test.labels.tolist() == numbered(30).tolist()
    with pytest.raises(UsageError, match="`image_size` and `colour` are for folders of images"):
        data.load(data_dir=idx_folder, image_size=32)


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("train-labels-idx1-ubyte", np.zeros(7, np.uint8), "100 train images but 7 labels"),
        ("t10k-images-idx3-ubyte.gz", grey(30), "train images of 20 x 33 pixels but test images of 6 x 5"),
        ("train-images-idx3-ubyte.gz", np.zeros((100, 0, 33), np.uint8), "0 x 33 pixels"),
        ("train-images-idx3-ubyte.gz", np.zeros((100, 1, 1025), np.uint8), "1 x 1025 pixels"),
        ("train-labels-idx1-ubyte", None, "no file train-labels-idx1-ubyte"),
    ],
)
def test_files_of_a_folder_must_match(idx_folder: Path, name: str, array: Any, sentence: str) -> None:
    if array is None:
        (idx_folder / name).unlink()
    else:
        write_idx(idx_folder / name, array)
    with pytest.raises(GenmnistError, match=sentence):
        data.load(data_dir=idx_folder)


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_idx_files_come_back(tmp_path: Path, name: str) -> None:
    write_idx(tmp_path / name, grey())
    assert np.array_equal(read_idx(tmp_path / name, 3), grey())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "too short"),
        (b"\x00\x00\x08\x03", "too short"),
        (b"\x00\x00\x08\x01" + bytes(12), "not an IDX file of images"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "truncated or damaged"),
        (b"\x00\x00\x08\x03" + b"\x00\x00\x00\x01" * 3 + b"12", "truncated or damaged"),
        (b"\x1f\x8b" + b"no gzip at all", "damaged gzip"),
        (gzip.compress(bytes(100))[:-20], "damaged gzip"),
    ],
)
def test_wrong_idx_files_get_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(GenmnistError, match=sentence):
        read_idx(path, 3)


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = b"\x00\x00\x08\x03" + b"".join(side.to_bytes(4, "big") for side in (10, 100, 100))
    (tmp_path / "x.gz").write_bytes(gzip.compress(header + bytes(100_000)))
    assert read_idx(tmp_path / "x.gz", 3).shape == (10, 100, 100)
    monkeypatch.setattr("genmnist.files._UNPACKED_ANYWAY", 1000)
    with pytest.raises(GenmnistError, match="unpack to 100,000 bytes, more than 200 times its size"):
        read_idx(tmp_path / "x.gz", 3)
    monkeypatch.setattr("genmnist.data.idx._MAX_BYTES", 1000)
    with pytest.raises(GenmnistError, match="states 10 entries and 100,000 bytes"):
        read_idx(tmp_path / "x.gz", 3)


@pytest.mark.parametrize("name", ["x-idx3-ubyte", "x-idx3-ubyte.gz"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@mutations
def test_damaged_idx_files_are_read_or_refused(
    tmp_path: Path, name: str, kind: str, position: int, value: int
) -> None:
    array = grey(3, 28, 28)
    write_idx(tmp_path / name, array)
    damaged = mutate((tmp_path / name).read_bytes(), kind, position, value)
    (tmp_path / name).write_bytes(damaged)
    try:
        shape, sentence = read_idx(tmp_path / name, 3).shape, ""
    except GenmnistError as error:
        shape, sentence = (0, 0, 0), str(error)
    if sentence:
        assert "\n" not in sentence
    else:  # only a changed pixel goes unnoticed, or a changed remark in the head of a gzip file
        assert shape == array.shape or kind == "flip"


# --- folders of images ----------------------------------------------------------------------------

RED, ORANGE, GREY = (200, 0, 0), (250, 120, 7), (90, 90, 90)


def _draw(folder: Path, classes: int, each: int, mode: str = "RGB", size: tuple[int, int] = (40, 60)) -> None:
    """Draw images of one tone each: 20 for a class, and one for an image; in colour, of red and blue."""
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(each):
            tone = 20 * label + number
            ink = tone if mode == "L" else (tone, 0, 255 - tone)
            Image.new(mode, size, ink).save(folder / f"class{label}" / f"{number:02d}.png")


def _every(splits: Splits) -> Dataset:
    return splits.validated_on_test().train


def test_a_folder_of_grey_images(tmp_path: Path) -> None:
    _draw(tmp_path / "one", 3, 10, "L")
    splits = data.load(data_dir=tmp_path / "one")
    assert [len(part) for part in splits] == [25, 2, 3]
    assert splits.shape == (1, 60, 40)
    assert splits.test.labels.tolist() == [0, 1, 2]
    assert splits.test.images[:, 0, 0].tolist() == [9, 29, 49]
    tones = [20 * label + number for label in range(3) for number in range(9)]
    assert _every(splits).images[:, 0, 0].tolist() == tones


def test_a_folder_of_colour_images_in_two_parts(tmp_path: Path) -> None:
    _draw(tmp_path / "two" / "train", 2, 4)
    _draw(tmp_path / "two" / "test", 2, 1)
    splits = data.load(data_dir=tmp_path / "two")
    assert [len(part) for part in splits] == [7, 1, 2]
    assert splits.shape == (3, 60, 40)
    assert splits.test.images[1, 0, 0].tolist() == [20, 0, 235]
    assert data.load(data_dir=tmp_path / "two", colour=False).shape == (1, 60, 40)


@pytest.mark.parametrize("side", [20, 28, 32, 64, 300])
def test_images_are_brought_to_a_size(tmp_path: Path, side: int) -> None:
    _draw(tmp_path / "one", 1, 10)
    Image.new("RGB", (400, 30), RED).save(tmp_path / "one" / "class0" / "big.png")
    splits = data.load(data_dir=tmp_path / "one", image_size=side)
    assert splits.shape == (3, side, side)
    assert data.load(data_dir=tmp_path / "one", image_size=side, colour=False).shape == (1, side, side)


def test_sizes_that_differ_need_an_image_size(tmp_path: Path) -> None:
    _draw(tmp_path / "one", 1, 10)
    odd = tmp_path / "one" / "class0" / "odd.png"
    Image.new("L", (41, 60)).save(odd)
    with pytest.raises(UsageError, match=r"40 x 60 pixels but .*odd\.png 41 x 60: give `image_size`"):
        data.load(data_dir=tmp_path / "one")
    Image.new("L", (257, 60)).save(odd)
    with pytest.raises(UsageError, match=r"odd\.png has 257 x 60 .*give `image_size`"):
        data.load(data_dir=tmp_path / "one")
    for side in (0, 1025):
        with pytest.raises(UsageError, match=f"`image_size` must lie between 1 and 1024, not {side}"):
            data.load(data_dir=tmp_path / "one", image_size=side)


@pytest.mark.parametrize(
    ("last", "colour", "channels"),
    [
        (("L", 90), None, 1),
        (("L", 90), True, 3),
        (("RGB", GREY), None, 1),  # colour in its form, but not to the eye
        (("RGB", ORANGE), None, 3),  # one is enough
        (("RGB", ORANGE), False, 1),
        (("RGBA", (*ORANGE, 9)), None, 3),
        (("LA", (90, 9)), None, 1),
        (("1", 1), None, 1),
        (("P", 5), True, 3),
        (("CMYK", (9, 99, 0, 0)), None, 3),
    ],
)
def test_a_folder_is_in_colour_as_soon_as_one_image_is(
    tmp_path: Path, last: tuple[str, Any], colour: bool | None, channels: int
) -> None:
    _draw(tmp_path / "one", 1, 11, "L", (8, 8))
    mode, ink = last
    suffix = "tiff" if mode == "CMYK" else "png"
    Image.new(mode, (8, 8), ink).save(tmp_path / "one" / "class0" / f"last.{suffix}")
    splits = data.load(data_dir=tmp_path / "one", colour=colour)
    assert splits.shape == (channels, 8, 8)
    images = _every(splits).images
    if channels == 3:
        assert images[1].unique().tolist() == [1]  # grey among colour: all three the same
    if last == ("RGB", ORANGE) and colour is None:
        assert images[-1, 0, 0].tolist() == [*ORANGE]


def test_a_palette_with_transparency_is_read_without_a_word(tmp_path: Path) -> None:
    _draw(tmp_path / "one", 1, 10, "L", (8, 8))
    image = Image.new("P", (8, 8), 1)
    image.putpalette([*RED, *ORANGE])
    image.save(tmp_path / "one" / "class0" / "p.png", transparency=bytes([0, 128]))
    splits = data.load(data_dir=tmp_path / "one")
    assert _every(splits).images[-1, 0, 0].tolist() == [*ORANGE]


def test_classes_are_numbered_by_the_training_set(tmp_path: Path) -> None:
    for split, names in (("train", "3 5 7 10"), ("test", "5 10")):
        for name in names.split():
            folder = tmp_path / "digits" / split / name
            folder.mkdir(parents=True)
            Image.new("L", (28, 28), 9).save(folder / "x.png")
    splits = data.load(data_dir=tmp_path / "digits")
    assert (_every(splits).labels.tolist(), splits.test.labels.tolist()) == ([10, 3, 5, 7], [10, 5])
    assert splits.classes == 11
    (tmp_path / "digits" / "test" / "9").mkdir()
    with pytest.raises(GenmnistError, match="not among the classes"):
        data.load(data_dir=tmp_path / "digits")


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "a"
    folder.mkdir(parents=True)
    for number in range(10):
        Image.fromarray(np.full((28, 28), number * 6000, np.uint16)).save(folder / f"{number}.png")
    splits = data.load(data_dir=tmp_path / "deep")
    values = [int(image[0, 0]) for image in (*_every(splits).images, *splits.test.images)]
    assert values == [number * 6000 // 257 for number in range(10)]


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\nnonsense",
        b"",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n",
    ],
)
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    _draw(tmp_path / "bad", 1, 10)
    (tmp_path / "bad" / "class0" / "05.png").write_bytes(content)
    with pytest.raises(GenmnistError, match=r"05\.png cannot be read"):
        data.load(data_dir=tmp_path / "bad", image_size=8)


def test_folders_that_are_neither(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder: `data_dir` takes a folder of IDX files or of images"):
        data.load(data_dir=tmp_path / "absent")
    with pytest.raises(GenmnistError, match="neither IDX files nor"):
        data.load(data_dir=tmp_path)
    _draw(tmp_path / "few", 1, 9)
    with pytest.raises(GenmnistError, match="9 images; genmnist needs ten"):
        data.load(data_dir=tmp_path / "few")
    for split in ("train", "test"):
        _draw(tmp_path / "one" / split, 1, 1)
    with pytest.raises(GenmnistError, match="too few images to hold some out: 1"):
        data.load(data_dir=tmp_path / "one")


# --- arrays on disk -------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [grey(), rgb(), grey(1, 1, 1024)])
def test_images_on_disk_come_back(tmp_path: Path, images: Any) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=images, labels=numbered(len(images)))
    read, labels, assumed = arrays.read(tmp_path / "x.npz")
    assert assumed == ()
    assert torch.equal(read, torch.from_numpy(images))
    assert labels is not None
    assert labels.tolist() == numbered(len(images)).tolist()
    np.savez(tmp_path / "x.npz", images=images)
    assert arrays.read(tmp_path / "x.npz")[1] is None


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"scores": np.zeros(3)}, "no array `images`: `numpy.savez"),
        ({"one": grey(), "two": grey()}, "several arrays that may be images, one, two"),
        ({"images": _floats(-1, 1)}, r"images = \(127.5 \* \(images \+ 1\)\)"),
        ({"images": grey() > 9}, r"images = \(255 \* images\).round\(\).astype\(numpy.uint8\)"),
        ({"images": (grey() > 9).astype(np.int64)}, r"from 0 to 1; .* `images = \(255 \* images\)"),
        ({"images": grey()[:, 0]}, r"images.reshape\(-1"),
        ({"images": grey(2, 1, 1025)}, "sides up to 1024"),
        ({"images": grey(2, 0, 5)}, "no images"),
        ({"images": np.array([{}], object)}, "object"),
        ({"images": grey(), "labels": numbered(3)}, "20 images but not a label"),
        ({"images": grey(), "labels": numbered() - 1}, "a whole number from 0 to 9,999"),
    ],
)
def test_other_arrays_on_disk_get_a_sentence(tmp_path: Path, named: dict[str, Any], sentence: str) -> None:
    np.savez(tmp_path / "x.npz", **named)
    with pytest.raises(GenmnistError, match=sentence):
        arrays.read(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("named", "images", "assumed"),
    [
        ({"images": grey() / np.float32(255)}, grey(), ["floats from 0, black, to 1, white"]),
        ({"images": grey().astype(np.int64)}, grey(), ["int64 from 0, black, to 255, white"]),
        ({"images": grey()[:, None]}, grey(), ["[n, channels, height, width]"]),
        ({"images": rgb().transpose(0, 3, 1, 2)}, rgb(), ["[n, channels, height, width]"]),
        ({"images": rgb()[..., :1]}, rgb()[..., 0], []),
        ({"images": np.asfortranarray(grey())}, grey(), []),
        ({"arr_0": grey(), "y": numbered().astype(np.int32)}, grey(),
         ["its array 'arr_0' is its images", "its array 'y' is its labels"]),
    ],
)  # fmt: skip
def test_what_other_code_writes_is_taken_and_said(
    tmp_path: Path, named: dict[str, Any], images: Any, assumed: list[str]
) -> None:
    np.savez(tmp_path / "x.npz", **named)
    found = arrays.read(tmp_path / "x.npz")
    assert np.array_equal(found.images.numpy(), images)
    assert [*found.assumed] == assumed
    if len(named) > 1:
        assert found.labels is not None
        assert found.labels.tolist() == numbered().tolist()


def test_a_file_of_one_array_and_a_folder_of_pictures_are_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", grey())
    assert np.array_equal(arrays.read(tmp_path / "x.npy").images.numpy(), grey())
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    with pytest.raises(GenmnistError, match="has no pictures"):
        arrays.read(tmp_path / "pictures")
    for number, image in enumerate(grey(3)):
        Image.fromarray(image).save(tmp_path / "pictures" / ("more" if number else "") / f"{number}.png")
    found = arrays.read(tmp_path / "pictures")
    assert np.array_equal(found.images.numpy(), grey(3))
    assert found.assumed == ("its 3 pictures, by name",)


@pytest.mark.parametrize(
    "shape", [(10**9, 28, 28), (10**6, 1024, 1024), (2 * 10**6, 1, 1), (-1, 28, 28), (-2, -2, 4)]
)
def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(100))
    with pytest.raises(GenmnistError, match=r"is not an [.]npz file of images"):
        arrays.read(tmp_path / "x.npz")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@mutations
def test_damaged_arrays_are_read_or_refused(tmp_path: Path, kind: str, position: int, value: int) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=rgb(3))
    (tmp_path / "x.npz").write_bytes(mutate((tmp_path / "x.npz").read_bytes(), kind, position, value))
    try:
        images, *_ = arrays.read(tmp_path / "x.npz")
        sentence = ""
    except GenmnistError as error:
        images, sentence = torch.from_numpy(rgb(3)), str(error)
    assert torch.equal(images, torch.from_numpy(rgb(3)))
    assert "\n" not in sentence


def test_an_absent_file_of_arrays(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        arrays.read(tmp_path / "x.npz")
