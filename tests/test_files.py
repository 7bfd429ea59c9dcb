"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from genmnist.errors import GenmnistError
from genmnist.files import replacing, write_bytes, write_text


def test_the_old_content_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    write_bytes(path, b"new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "x").write_text("1")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "x").read_text() == "1"


def test_what_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GenmnistError, match="cannot write"):
        write_text(tmp_path / "file" / "below", "x")
