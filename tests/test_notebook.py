"""What objects show of themselves in a notebook."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import genmnist
from conftest import SMALL_VAE, picture
from genmnist import notebook
from genmnist.data import Splits
from genmnist.errors import UsageError
from genmnist.models import VAE


def pictures(html: str) -> list[Image.Image]:
    """Return the pictures in a piece of HTML."""
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(code))) for code in found]


def test_samples_show_themselves(small_vae: VAE) -> None:
    drawn = genmnist.sample(small_vae, 9, seed=3)
    assert torch.equal(drawn.images, small_vae.sample(9, 3))
    assert drawn.labels is None
    assert len(drawn) == 9
    shown = Image.open(io.BytesIO(drawn._repr_png_()))
    assert shown.size == drawn.grid().image().size
    assert drawn.grid(columns=9).image().width > drawn.grid().image().width
    (moving,) = pictures(drawn.animate()._repr_html_())
    assert moving.format == "GIF"
    assert getattr(moving, "n_frames", 1) > 5


def test_samples_of_labels_have_a_column_each() -> None:
    drawn = genmnist.sample("cfg", 4, labels=[3, 8], steps=2, device="cpu")
    assert drawn.labels is not None
    assert drawn.labels.tolist() == [3, 8, 3, 8]
    assert drawn.grid().columns == ["3", "8"]
    assert drawn.grid().images.shape == (2, 2, 28, 28)


def test_samples_go_into_files(small_vae: VAE, tmp_path: Path) -> None:
    genmnist.sample(small_vae, 4).write(tmp_path / "four.png")
    assert picture(tmp_path / "four.png").width > 56


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("classifier",), "must be a model that draws"),
        (("vae", 0), "`num`"),
        (("vea",), "vea"),
    ],
)
def test_what_cannot_be_sampled_is_said(arguments: tuple[Any, ...], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        genmnist.sample(*arguments)


def test_a_model_says_which_it_is(small_vae: VAE) -> None:
    model = genmnist.load("vae", device="cpu")
    assert repr(model).startswith("<the bundled vae, ")
    assert "\n" not in repr(model)
    assert "652,824 weights" in model._repr_html_()
    assert "a vae of no file" in repr(small_vae)
    with pytest.raises(UsageError, match="is one already"):
        genmnist.sample(model, which="latest")


def test_runs_show_their_curve(trained: Callable[..., Path], tmp_path: Path) -> None:
    folder = trained("vae", *SMALL_VAE)
    run = genmnist.Run.open(folder)
    html = run._repr_html_()
    assert len(pictures(html)) == 2
    assert f"{run.metrics[-1].val_loss:.5g}" in html
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "summary.json").unlink()
    assert "has not finished" in genmnist.Run.open(other)._repr_html_()


def test_runs_are_compared(trained: Callable[..., Path]) -> None:
    folder = trained("vae", *SMALL_VAE)
    found = genmnist.compare(folder, genmnist.Run.open(trained("vae", *SMALL_VAE, "--beta", 4)))
    rows, heads = found.table()
    assert rows[0][heads.index("beta")] == "1"
    assert rows[1][heads.index("beta")] == "4"
    assert len(pictures(found._repr_html_())) == 1
    with pytest.raises(UsageError, match="name one"):
        genmnist.compare()


def test_evaluations_show_a_table_and_samples(small_vae: VAE, few: Splits) -> None:
    html = genmnist.evaluate(small_vae, few, num=20, quick=True)._repr_html_()
    assert "Fréchet distance" in html
    assert "are few for a distance" in html
    (shown,) = pictures(html)
    assert shown.size == (12 * 28, 2 * 28)


def test_text_cannot_become_markup() -> None:
    assert "<script>" not in notebook.table([["<script>"]]) + notebook.titled("<script>")


def test_bars_are_for_notebooks(capsys: pytest.CaptureFixture[str]) -> None:
    with notebook.bar("drawing", 3) as advance:
        advance(1, "of three")
    assert capsys.readouterr() == ("", "")
