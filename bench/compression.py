"""Lossless compression by a model that knows values: bits that the bound promises, spent and read back.

    python bench/compression.py [--num 20] [--steps 500] [--streams 4] [--model bundled:likelihood]

Bits-back coding (Hinton & van Camp 1993; Townsend, Bird & Barber 2019) through the chain of a diffusion model
in discrete time (Kingma et al. 2021, section 6), its layers taken in turns (Kingma, Abbeel & Ho 2019,
"Bit-Swap"), so that few bits must be there before the first image. Encoder and decoder run the network on
the same batches, and all that is coded goes through the ANS coder of the library `constriction`.

Every test image is encoded, decoded, and compared to the bit; and the stacks must come back to the random
bits that they began with.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import genmnist
from genmnist import api
from genmnist.data import load, quantise, scale
from genmnist.device import describe_machine
from genmnist.diffusion import categorical
from genmnist.evaluation import scores
from genmnist.models import Diffusion
from genmnist.randomness import generator

Places = npt.NDArray[np.int64]  # of latents, in bins of their level
Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

_FINE = 8  # bins in a standard deviation of a step; wider ones would add to the noise
_REACH = 8  # standard deviations on either side of a mean in which every bin has a probability of its own
_FAR = 1 << 22  # no latent is so many bins away from where it was expected
_INITIAL_WORDS = 1 << 16  # random bits, of 32 a word, in which a stack begins; most are never touched

AnsCoder = constriction.stream.stack.AnsCoder
entropy = constriction.stream.model

_ANYWHERE = entropy.Uniform(2 * _FAR)
_VALUE = entropy.Categorical(perfect=False)


class Bins:
    """Gaussians of one width over bins, each centred within half a bin of its mean.

    Args:
        width: the standard deviation, in bins.
    """

    def __init__(self, width: float) -> None:
        self.width, self.reach = width, math.ceil(_REACH * width)
        self.near = entropy.QuantizedGaussian(-self.reach, self.reach)
        # The ends say: farther, and it follows where.
        self.or_far = entropy.QuantizedGaussian(-self.reach - 1, self.reach + 1)

    def draw(self, coder: Any, means: Floats) -> Places:
        """Take bits from the stack for bins within reach of the means."""
        centres, parameters = self._gaussians(means)
        drawn: Places = centres + np.asarray(coder.decode(self.near, *parameters))
        return drawn

    def give_back(self, coder: Any, places: Places, means: Floats) -> None:
        """Undo `draw`."""
        centres, parameters = self._gaussians(means)
        coder.encode_reverse((places - centres).astype(np.int32), self.near, *parameters)

    def push(self, coder: Any, places: Places, means: Floats) -> None:
        """Encode bins that were expected at the means, wherever they are."""
        centres, parameters = self._gaussians(means)
        off = places - centres
        far = np.abs(off) > self.reach
        if far.any():
            coder.encode_reverse((off[far] + _FAR).astype(np.int32), _ANYWHERE)
        most = self.reach + 1
        coder.encode_reverse(off.clip(-most, most).astype(np.int32), self.or_far, *parameters)

    def pop(self, coder: Any, means: Floats) -> Places:
        """Decode what `push` has encoded."""
        centres, parameters = self._gaussians(means)
        off = np.asarray(coder.decode(self.or_far, *parameters)).astype(np.int64)
        far = np.abs(off) > self.reach
        if far.any():
            off[far] = np.asarray(coder.decode(_ANYWHERE, int(far.sum()))).astype(np.int64) - _FAR
        return centres + off

    def _gaussians(self, means: Floats) -> tuple[Places, tuple[Floats, Floats]]:
        """Return the bin of each mean, and what is left of the mean, beside the width."""
        centres = np.rint(means).astype(np.int64)
        return centres, (means - centres, np.full(means.shape, float(self.width)))


class Stack:
    """A stack of bits, which begins with some.

    Bits that were just pushed say where a level lay in what was expected of it. Drawn from as they are, they
    would give the next level the same noise again, and the chain would run away; mixed with a key first, they
    are as good as random to whoever draws.

    Args:
        words: what is on it at first; the last must not be 0.
    """

    def __init__(self, words: Words) -> None:
        self.coder = AnsCoder(words)

    @property
    def bits(self) -> int:
        """Return how many bits there are on it."""
        return int(self.coder.num_valid_bits())

    @property
    def words(self) -> Words:
        """Return all that is on it."""
        found: Words = self.coder.get_compressed()
        return found

    def mix(self, key: Words) -> None:
        """Turn over those bits, on top but for the last word, that are set in a key; twice does nothing."""
        words = self.words
        top = words[:-1][-len(key) :]
        top ^= key[: len(top)]
        self.coder = AnsCoder(words)


@dataclass(frozen=True)
class Level:
    """A noise level of the chain, and what leads to it from the cleaner one before.

    Attributes:
        alpha, sigma: the shares of image and noise.
        kept: the share of the noise's variance that the level before explains: its SNR over that one's.
        bin: the width of a bin of latents at this level.
        key: what the stack is mixed with before the level is drawn from it, in words.
    """

    alpha: float
    sigma: float
    kept: float
    bin: float
    key: Words


class Codec:
    """A model that knows values, as a compressor of images without labels.

    Args:
        model: whose chain it is.
        steps: of the chain, even in log-SNR.
    """

    def __init__(self, model: Diffusion, steps: int) -> None:
        self.model, self.size = model, math.prod(model.shape)
        most, least = model.schedule.log_snrs[[0, -1]].tolist()
        log_snrs = torch.linspace(most, least, steps + 1, dtype=torch.float64)
        kept = math.exp((least - most) / steps)
        step = math.sqrt(1 - kept)  # the deviation of a step, either way, in units of the level's noise
        self.levels = [
            Level(alpha, sigma, kept, sigma * step / _FINE, self._key(number))
            for number, (alpha, sigma) in enumerate(
                zip(log_snrs.sigmoid().sqrt().tolist(), (-log_snrs).sigmoid().sqrt().tolist(), strict=True)
            )
        ]
        self.step = Bins(_FINE)
        self.first = Bins(self.levels[0].sigma / self.levels[0].bin)
        self.prior = Bins(1 / self.levels[-1].bin)

    @torch.inference_mode()
    def encode(self, images: Tensor, stacks: Sequence[Stack]) -> list[int]:
        """Put an image on each stack, and return how many bits each had at its lowest.

        Every level is drawn by the forward process from the one before, with bits of the stack; then the one
        before is encoded by what the network expects it to be.
        """
        values = categorical.nearest(2 * scale(images) - 1, self.model.options.values).flatten(1)
        lowest = [stack.bits for stack in stacks]

        def drawn(bins: Bins, means: Floats, level: Level) -> Places:
            for stack in stacks:
                stack.mix(level.key)
            found = [bins.draw(stack.coder, mean) for stack, mean in zip(stacks, means, strict=True)]
            lowest[:] = [min(low, stack.bits) for low, stack in zip(lowest, stacks, strict=True)]
            return np.stack(found)

        z = drawn(self.first, self._clean(values), self.levels[0])
        for stack, row, p in zip(stacks, values.numpy(), self._probabilities(z), strict=True):
            stack.coder.encode_reverse(row.astype(np.int32), _VALUE, p)
        for before, level in pairwise(self.levels):
            after = drawn(self.step, _forward(z, before, level), level)
            for stack, row, mean in zip(stacks, z, self._expected(after, before, level), strict=True):
                self.step.push(stack.coder, row, mean)
            z = after
        for stack, row in zip(stacks, z, strict=True):
            self.prior.push(stack.coder, row, np.zeros(self.size))
        return lowest

    @torch.inference_mode()
    def decode(self, stacks: Sequence[Stack]) -> Tensor:
        """Take an image off each stack, which is left as it was before: `encode`, backwards."""
        z = np.stack([self.prior.pop(stack.coder, np.zeros(self.size)) for stack in stacks])
        for level, before in pairwise(reversed(self.levels)):
            means, after = self._expected(z, before, level), z
            z = np.stack(
                [self.step.pop(stack.coder, mean) for stack, mean in zip(stacks, means, strict=True)]
            )
            for stack, row, mean in zip(stacks, after, _forward(z, before, level), strict=True):
                self.step.give_back(stack.coder, row, mean)
                stack.mix(level.key)
        p = self._probabilities(z)
        found = np.stack([stack.coder.decode(_VALUE, row) for stack, row in zip(stacks, p, strict=True)])
        values = torch.from_numpy(found).long()
        for stack, row, mean in zip(stacks, z, self._clean(values), strict=True):
            self.first.give_back(stack.coder, row, mean)
            stack.mix(self.levels[0].key)
        return quantise(values.view(-1, *self.model.shape) / (self.model.options.values - 1))

    def _key(self, number: int) -> Words:
        drawn = torch.randint(2**32, (self.size,), generator=generator(0, "key", number))
        return drawn.numpy().astype(np.uint32)

    def _clean(self, values: Tensor) -> Floats:
        """Return the means of the cleanest level, in bins; the same to the bit on both sides."""
        first, pixels = self.levels[0], categorical.levels(self.model.options.values)[values]
        found: Floats = first.alpha / first.bin * pixels.double().numpy()
        return found

    def _images(self, z: Places, level: Level) -> Tensor:
        return torch.from_numpy(level.bin * z).float().view(-1, *self.model.shape).to(self.model.device)

    def _expected(self, z: Places, before: Level, level: Level) -> Floats:
        """Return the means of p(z of the level before | z), in bins there (Kingma et al. 2021, eq. 25)."""
        alpha, sigma = (
            torch.full((len(z), 1, 1, 1), share, device=self.model.device)
            for share in (level.alpha, level.sigma)
        )
        clean = self.model.predict(self._images(z, level), alpha, sigma).flatten(1).double().cpu().numpy()
        mean = before.alpha * (level.kept * level.bin * z / level.alpha + (1 - level.kept) * clean)
        found: Floats = mean / before.bin
        return found

    def _probabilities(self, z: Places) -> npt.NDArray[np.float64]:
        """Return the probabilities of all values of pixels, given the cleanest level: [n, pixels, values]."""
        log_p = self.model.log_probabilities(self._images(z, self.levels[0]), 0)
        return log_p.double().exp().flatten(1, 3).cpu().numpy()


def _forward(z: Places, before: Level, level: Level) -> Floats:
    """Return the means of a level, in its bins, given the one before."""
    return (level.alpha / before.alpha * before.bin / level.bin) * z.astype(np.float64)


@dataclass(frozen=True)
class Coded:
    """What became of images.

    Attributes:
        bits: what each added to its stack.
        initial: what had to be on each stack before its first image.
        images: what was decoded.
        restored: whether every stack came back to the bits that it began with.
        seconds: of encoding, and of decoding.
    """

    bits: list[int]
    initial: list[int]
    images: Tensor
    restored: bool
    seconds: tuple[float, float]


def rounds(count: int, streams: int) -> Iterator[slice]:
    """Yield which images are coded side by side, one a stack, round by round."""
    for first in range(0, count, streams):
        yield slice(first, min(first + streams, count))


def code(codec: Codec, images: Tensor, streams: int) -> Coded:
    """Encode images, then decode them from nothing but the stacks and their number."""
    random = torch.randint(1, 2**32 - 1, (streams, _INITIAL_WORDS), generator=generator(0, "initial"))
    begun = [row.astype(np.uint32) for row in random.numpy()]
    stacks = [Stack(words) for words in begun]
    first = [stack.bits for stack in stacks]
    bits, lowest, started = list[int](), list(first), time.perf_counter()
    for number in rounds(len(images), streams):
        used = stacks[: number.stop - number.start]
        before = [stack.bits for stack in used]
        low = codec.encode(images[number], used)
        lowest[: len(used)] = [min(pair) for pair in zip(lowest, low, strict=False)]
        bits += [stack.bits - old for stack, old in zip(used, before, strict=True)]
    encoded = time.perf_counter()
    stacks = [Stack(stack.words) for stack in stacks]  # nothing else reaches the decoder
    backwards = reversed([*rounds(len(images), streams)])
    found = [codec.decode(stacks[: number.stop - number.start]) for number in backwards]
    decoded = time.perf_counter()
    restored = all(np.array_equal(stack.words, old) for stack, old in zip(stacks, begun, strict=True))
    initial = [high - low for high, low in zip(first, lowest, strict=True)]
    times = encoded - started, decoded - encoded
    return Coded(bits, initial, torch.cat(found[::-1]), restored, times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="bundled:likelihood", help="as of `genmnist score`")
    parser.add_argument("--num", type=int, default=20, help="test images")
    parser.add_argument("--steps", type=int, default=500, help="of the chain")
    parser.add_argument(
        "--streams", type=int, default=4, help="stacks: so many images go through the network at once"
    )
    parser.add_argument("--looks", type=int, default=100, help="at how many steps the bound looks")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    model = genmnist.load("ddpm", options.model, device=options.device)
    print(f"{model.origin}, {options.steps} steps, {model.precision}")
    images = load("mnist").test.images[: options.num]
    codec = Codec(model, options.steps)
    done = code(codec, images, options.streams)
    assert torch.equal(done.images, images), "what was decoded is not what was encoded"
    assert done.restored, "the stacks are not what they were"
    *_, bound = scores.terms(model, images, looks=options.looks, steps=options.steps, batch_size=16)
    coded = torch.tensor(done.bits, dtype=torch.float64) / codec.size
    off = coded - bound.bits
    error = off.std().item() / math.sqrt(len(off)) if len(off) > 1 else math.nan
    firsts = min(options.streams, len(images))
    initial = torch.tensor(done.initial[:firsts], dtype=torch.float64).mean() / codec.size
    each = f"{sum(done.bits) / len(images) / 8:.1f} bytes an image, of {codec.size}"
    print(f"{len(images)} test images: decoded to the bit, and the stacks came back to what they were")
    print(f"coded          {coded.mean():.4f} bits per dimension: {each}")
    print(f"bound          {bound.bits.mean():.4f} bits per dimension, of the chain of {options.steps} steps")
    print(f"coded - bound  {off.mean():+.4f} ± {error:.4f}")
    print(
        f"first image    {initial + coded[:firsts].mean():.4f} bits per dimension, the initial {initial:.4f} "
        "among them"
    )
    print(f"seconds        {done.seconds[0]:.1f} to encode, {done.seconds[1]:.1f} to decode")


if __name__ == "__main__":
    main()
