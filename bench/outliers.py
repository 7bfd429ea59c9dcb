"""Images that are no handwritten digits, told by how likely a model of digits holds them to be.

    python bench/outliers.py [--data-dir FOLDER | --dataset fashion-mnist] [--num 1000] [--looks 32]

In distribution are MNIST's test images. Outliers are clothing (`--data-dir` names a folder with the IDX files
of Fashion-MNIST; else the data set is downloaded), capital letters of a dozen fonts, placed as MNIST places
digits, and the same letters at half the size. Two scores: bits per dimension, which may well fail, since what
is plain is likely whatever it shows (Nalisnick et al. 2019, "Do deep generative models know what they don't
know?"); and how unusual the profile of the bound over noise levels is, by the Mahalanobis distance to those
of held-out validation digits, of which nothing else was chosen. Beside them the area under the ROC curve: 1/2
is chance, less means that outliers look more like digits than digits do.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from string import ascii_uppercase

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

import genmnist
from genmnist import api
from genmnist.data import load
from genmnist.device import describe_machine
from genmnist.evaluation.likelihood import standard_error
from genmnist.evaluation.scores import Terms
from genmnist.models import Diffusion
from genmnist.randomness import generator

_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10",
    "cmss10", "cmtt10",
)  # fmt: skip
_SIDES = (16, 18, 20)  # pixels of a letter's longer side; MNIST's digits have 20
_DRAWN = 160  # pixels, from which a letter is brought to its size


def letter(text: str, font: ImageFont.FreeTypeFont, side: int) -> UInt8[Tensor, "28 28"]:
    """Return a letter as MNIST has digits: its longer side so long, its centre of mass in the middle."""
    canvas = Image.new("L", (2 * _DRAWN, 2 * _DRAWN))
    ImageDraw.Draw(canvas).text((_DRAWN, _DRAWN), text, 255, font, anchor="mm")
    cut = canvas.crop(canvas.getbbox())
    scale = side / max(cut.size)
    small = cut.resize([max(1, round(scale * length)) for length in cut.size], Image.Resampling.LANCZOS)
    ink = np.asarray(small, dtype=np.float64)
    rows, columns = (np.arange(length) + 0.5 for length in ink.shape)
    middle = (ink.sum(1) @ rows / ink.sum(), ink.sum(0) @ columns / ink.sum())
    place = [
        min(max(0, round(14 - centre)), 28 - length) for centre, length in zip(middle, ink.shape, strict=True)
    ]
    found = torch.zeros(28, 28, dtype=torch.uint8)
    found[place[0] : place[0] + ink.shape[0], place[1] : place[1] + ink.shape[1]] = torch.tensor(
        np.asarray(small)
    )
    return found


def letters(num: int, half: bool = False) -> UInt8[Tensor, "_ 28 28"]:
    """Return capitals of any letter, font and size, each once; there are 1,014."""
    folder = Path(get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(folder / f"{name}.ttf", _DRAWN) for name in _FONTS]
    sides = [side // 2 for side in _SIDES] if half else _SIDES
    every = [(text, font, side) for side in sides for font in fonts for text in ascii_uppercase]
    order = torch.randperm(len(every), generator=generator(0, "letters"))[:num]
    return torch.stack([letter(*every[number]) for number in order.tolist()])


def profile(terms: Terms) -> Float64[Tensor, "n terms"]:
    """Return all the terms of the bound of each image, in bits per dimension."""
    return torch.cat((terms.prior[:, None], terms.reconstruction[:, None], terms.levels), 1)


class Usual:
    """A Gaussian fitted to the profiles of digits.

    Args:
        profiles: those of digits that nothing else was fitted to.
    """

    def __init__(self, profiles: Float64[Tensor, "n terms"]) -> None:
        self.mean, self.spread = profiles.mean(0), profiles.std(0)
        covariance = torch.cov(((profiles - self.mean) / self.spread).T)
        self.precision = torch.linalg.pinv(covariance, hermitian=True)

    def distance(self, profiles: Float64[Tensor, "n terms"]) -> Float64[Tensor, " n"]:
        """Return the square of the Mahalanobis distance of each profile."""
        off = (profiles - self.mean) / self.spread
        squares: Tensor = ((off @ self.precision) * off).sum(1)
        return squares


def area(inside: Tensor, outside: Tensor) -> float:
    """Return the share of pairs in which the outlier scores higher: the area under the ROC curve."""
    scores = torch.cat((inside, outside))
    # In place of the scores their ranks: the function takes what is not in [0, 1] for logits, and rounds.
    ranks = scores.unique(return_inverse=True)[1].double() / len(scores)
    target = torch.cat((torch.zeros(len(inside)), torch.ones(len(outside)))).long()
    return float(binary_auroc(ranks, target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="bundled:likelihood", help="a ddpm, as of `genmnist score`")
    parser.add_argument("--data-dir", type=Path, help="IDX files of the other data set")
    parser.add_argument("--dataset", default="fashion-mnist", help="or its name")
    parser.add_argument("--num", type=int, default=1000, help="images of each kind, and validation digits")
    parser.add_argument("--looks", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    model: Diffusion = genmnist.load("ddpm", options.model, device=options.device)
    print(f"{model.origin}, {model.precision}, {options.looks} looks at each image")
    mnist = load("mnist")
    other = load(options.dataset, options.data_dir).test
    started, seen = time.perf_counter(), 0

    def measured(images: Tensor, seed: int) -> Terms:
        nonlocal seen
        seen += len(images)
        return genmnist.score(model, images, looks=options.looks, seed=seed, batch_size=options.batch_size)

    usual = Usual(profile(measured(mnist.validation.images[: options.num], 1)))
    digits = measured(mnist.test.images[: options.num], 2)
    inside = usual.distance(profile(digits))
    print(f"{'':16}{'images':>7}{'bits per dimension':>22}{'area by bits':>14}{'by profile':>12}")

    def line(name: str, terms: Terms, *areas: float) -> None:
        error = standard_error(terms.bits) or float("nan")
        bits = f"{terms.bits.mean():.3f} ± {error:.3f}"
        print(f"{name:16}{len(terms.bits):7}{bits:>22}" + "".join(f"{value:13.4f}" for value in areas))

    line("test digits", digits)
    for number, (name, images) in enumerate(
        {
            options.data_dir.name if options.data_dir else options.dataset: other.images[: options.num],
            "capitals": letters(options.num),
            "half-size": letters(options.num, half=True),
        }.items(),
        3,
    ):
        terms = measured(images, number)
        by_profile = area(inside, usual.distance(profile(terms)))
        line(name, terms, area(digits.bits, terms.bits), by_profile)
    print(f"{seen} images in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
