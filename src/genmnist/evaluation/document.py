"""What `genmnist evaluate` writes into evaluation.json, and reads back without trust. Needs no torch.

The measures return these types themselves, so that what was measured and what is on disk are one thing. JSON
has no NaN: what is not a number is null there, and None here.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from genmnist.errors import GenmnistError
from genmnist.files import read_document, write_document

_LARGEST = sys.float_info.max  # what is larger is infinite, and neither bound holds for what is no number
Number = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
Positive = Annotated[float, Meta(ge=1e-30, le=_LARGEST)]
Amount = Annotated[float, Meta(ge=0, le=_LARGEST)]  # 0 or more
Share = Annotated[float, Meta(ge=0, le=1)]
_WIDEST = 2**62
Count = Annotated[int, Meta(ge=1, le=_WIDEST)]
Index = Annotated[int, Meta(ge=0, le=_WIDEST)]
Signed = Annotated[int, Meta(ge=-_WIDEST, le=_WIDEST)]
Error = Amount | None  # a standard error; None of a single value


class Interval(Struct, frozen=True):
    """A number and the interval in which 95 % of its bootstrap lie."""

    value: Number
    low: Number
    high: Number


class Manifold(Struct, frozen=True):
    """How two sets lie in one another, by balls that reach from each member to its fifth neighbour."""

    precision: Share  # of our members that lie within a ball of theirs: do they look real?
    recall: Share  # of theirs within a ball of ours: is there one for every kind?
    density: Amount  # the same as precision, but by how many balls, over five: 1 for the real thing
    coverage: Share  # of their balls that hold a member of ours


class Measured(Struct, frozen=True):
    """The distances of a set of images to the test images, and how the two lie in one another."""

    frechet: Interval
    kernel: Number
    manifold: Manifold


class Basis(NamedTuple):
    """What evaluations must have in common to be compared: the distance falls with the number of samples."""

    data: str | None
    checksum: str | None
    features: str
    num: int
    quick: bool | None

    def __str__(self) -> str:
        how = ", quickly" if self.quick else ""
        return (
            f"{self.num:,} samples against {self.data or 'real images'}{how}, in the features {self.features}"
        )


class ByEpoch(Struct, frozen=True):
    """The Fréchet distances of so many samples to real images, after epochs of a training."""

    num: Count
    data: str  # the name of the real images
    distances: tuple[tuple[Index, Amount], ...]


class Samples(Struct, frozen=True, kw_only=True):
    """What was measured of some images."""

    num: Count
    real_num: Count | None = None  # of the training images beside them: as many, where there are so many
    test_num: Count | None = None  # of the test images that both are held against
    features: str  # whose features the distances are in
    images: Measured
    real: Measured  # the same of training images: what real ones reach
    classes: tuple[Share, ...]  # what the classifier reads as each class
    imbalance: Share  # half the sum of how far these shares are from those of the test images
    label_agreement: Share | None = None  # read as the label that was asked for


class NearCopies(Struct, frozen=True):
    """The share of images that are near-copies of training images, and what is expected of new ones."""

    share: Share
    expected: Share


class Sharpness(Struct, frozen=True):
    """The mean sharpness of the edges of images, and of those of the test images."""

    images: Amount
    real: Amount


class Bounds(Struct, frozen=True):
    """Upper bounds on the negative log-likelihood, in nats an image, the mean over `images` images.

    Pixels are targets of a Bernoulli likelihood, as in the objective of training, which the reference report
    gives too: none of these is the logarithm of a probability of an image's bytes.
    """

    images: Count
    samples: Count  # of the latent code of each image
    reconstruction: Number  # E_q[-log p(x | z)]
    kl: Number  # KL(q(z | x) || p(z)), exact
    importance_weighted: Number  # falls towards -log p(x) with the number of samples

    @property
    def negative_elbo(self) -> float:
        """Return reconstruction + KL, which validation measures by one sample an image."""
        return self.reconstruction + self.kl


class Autoencoder(Bounds, frozen=True):
    """What an autoencoder knows: its bounds, and what its latent factors stand for."""

    active_units: Index
    latent: Count
    kl_by_factor: tuple[Number, ...]  # nats
    mutual_information_gap: dict[str, Amount]  # of each factor of the images, and their `mean`

    def __post_init__(self) -> None:
        _check(len(self.kl_by_factor) == self.latent >= self.active_units, "a number a latent factor")
        _check("mean" in self.mutual_information_gap, "a mean of the gaps")


class Level(Struct, frozen=True):
    """What the bound charges at one noise level; bits / width is the height of a curve over the log-SNR."""

    timestep: Index
    log_snr: Number
    width: Positive  # of the log-SNR that it stands for
    bits: Number  # per dimension


class Bound(Struct, frozen=True):
    """The variational bound of `images` images in bits per dimension, as far as `levels` go."""

    bits: Number  # prior, all levels and reconstruction together
    images: Count
    prior: Number
    reconstruction: Number
    levels: tuple[Level, ...]
    error: Error  # of the bits, over images


class Exact(Struct, frozen=True):
    """The exact likelihood of the first `images` images in bits per dimension, by the ODE."""

    images: Count
    bits: Number
    error: Error  # over images


class Chain(Struct, frozen=True):
    """The bound of a chain of `steps` steps in discrete time, in bits per dimension, and what it costs."""

    steps: Count
    images: Count
    bits: Number
    error: Error  # over images
    gap: Number  # to the bound in continuous time, of the same images
    gap_error: Error


class Likelihood(Struct, frozen=True, omit_defaults=True):
    """How likely a diffusion model holds the test images to be.

    A model that knows values has the bound of its probabilities of bytes, and of a chain; of another one, its
    bound dequantises nothing either, and the exact likelihood of its ODE is that of a density.
    """

    bound: Bound
    exact: Exact | None = None
    chain: Chain | None = None


class Settled(Struct, frozen=True):
    """By timestep, the share of each band of frequencies that is final in the predicted clean image."""

    timesteps: tuple[Number, ...]
    bands: tuple[tuple[Amount, Amount], ...]  # cycles an image, on its shorter side
    # A row a timestep: 1 is final, 0 or less no better than nothing; None where there is nothing to settle.
    shares: tuple[tuple[Number | None, ...], ...]
    half_settled: tuple[Number, ...]  # the timestep from which on half of a band is final; -1: there is none

    def __post_init__(self) -> None:
        _check(len(self.shares) == len(self.timesteps), "shares for each timestep")
        rows = (*self.shares, self.half_settled)
        _check(all(len(row) == len(self.bands) > 0 for row in rows), "a number a band")


class Walk(Struct, frozen=True):
    """What is met on the way through one space: at each alpha the mean over pairs, and its standard error."""

    confidence: tuple[Share, ...]  # the classifier's highest probability
    confidence_error: tuple[Error, ...]
    distance: tuple[Amount, ...]  # Euclidean, of pixels in [0, 1], to the nearest training image
    distance_error: tuple[Error, ...]

    @property
    def middle(self) -> tuple[float, float]:
        """Return confidence and distance half-way, at alpha = 0.5."""
        half = len(self.confidence) // 2
        return self.confidence[half], self.distance[half]

    @property
    def middle_error(self) -> float:
        """Return the standard error of the distance half-way; 0 of a single walk, which has none."""
        return self.distance_error[len(self.distance) // 2] or 0.0


class Walks(Struct, frozen=True):
    """Walks between the same end images through latent space and through pixel space."""

    pairs: Count
    alphas: tuple[Share, ...]
    latent: Walk
    pixel: Walk

    def __post_init__(self) -> None:
        _check(all(low < high for low, high in pairwise(self.alphas)), "alphas that rise")
        rows = (row for walk in (self.latent, self.pixel) for row in msgspec.structs.astuple(walk))
        _check(all(len(row) == len(self.alphas) > 0 for row in rows), "a number an alpha")


class Guided(Struct, frozen=True):
    """What classifier-free guidance of one strength makes of samples."""

    strength: Number
    label_agreement: Share
    precision: Share
    recall: Share


class EvaluationDocument(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that an evaluation says; what does not apply, or is not known, is None and not on disk.

    On disk the sampling options stand beside the rest, and so does whatever another version of genmnist has
    to say: `options` keeps both.
    """

    command: str | None = None
    model: str | None = None
    seed: Signed | None = None
    file: str | None = None  # of images from anywhere
    data: str | None = None  # the name of the real images
    data_checksum: str | None = None
    given_labels: bool | None = None
    num: Count | None = None
    quick: bool | None = None
    options: dict[str, Any] = {}

    samples: Samples
    near_copies: NearCopies
    sharpness: Sharpness
    vae: Autoencoder | None = None
    likelihood: Likelihood | None = None
    coarse_before_fine: Settled | None = None
    walks: Walks | None = None
    guidance_sweep: tuple[Guided, ...] = ()
    undefined: tuple[str, ...] = ()  # measures whose numbers were not finite, as those of a diverged model

    versions: dict[str, str] | None = None
    machine: str | None = None
    by_epoch: ByEpoch | None = None  # of a short training by the family's default preset
    out: str | None = None
    seconds: Amount | None = None

    @property
    def basis(self) -> Basis:
        """Return what it was measured on."""
        return Basis(self.data, self.data_checksum, self.samples.features, self.samples.num, self.quick)

    def replace(self, **facts: Any) -> EvaluationDocument:
        """Return a copy with some facts changed."""
        return msgspec.structs.replace(self, **facts)

    def asdict(self) -> dict[str, Any]:
        """Return what stands on disk, as JSON values."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        options = plain.pop("options", {})
        before = {name: plain.pop(name) for name in _FACTS if name in plain}
        return before | {name: value for name, value in options.items() if name not in before} | plain


_NAMES = frozenset(EvaluationDocument.__struct_fields__) - {"options"}
_FACTS = EvaluationDocument.__struct_fields__[: EvaluationDocument.__struct_fields__.index("options")]


def read(path: str | Path) -> EvaluationDocument:
    """Read a file that may be anything. Raises GenmnistError, in one sentence, unless `write` wrote it."""
    path, mend = Path(path), "`genmnist evaluate` writes it again"
    fields: dict[str, Any] = read_document(path, dict, mend)
    try:
        known = {name: value for name, value in fields.items() if name in _NAMES}
        options = {name: value for name, value in fields.items() if name not in _NAMES}
        return msgspec.convert({**known, "options": options}, EvaluationDocument)
    except (ValueError, OverflowError) as error:  # msgspec's errors are ValueErrors
        raise GenmnistError(f"{path} is damaged: {mend}") from error


def write(path: str | Path, document: EvaluationDocument) -> None:
    """Write an evaluation, whole or not at all. Raises GenmnistError if the file cannot be written."""
    write_document(path, document.asdict())


def is_sound(part: Struct) -> bool:
    """Return whether every number of a part is finite and within its bounds, as those on disk must be."""
    try:
        msgspec.json.decode(msgspec.json.encode(part), type=type(part))
    except msgspec.ValidationError:
        return False
    return True


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"an evaluation needs {what}")
