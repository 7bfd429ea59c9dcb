"""Random numbers that depend on what they are for, never on when or where they are drawn.

Two needs, two tools. Training wants a stream per purpose and per step (`derive`), so that a resumed run
needs no saved generator and no listener can disturb what is learned. Sampling wants noise for sample k
that depends on the seed and on k alone (`SampleNoise`), whatever the batch, the device or the number of
devices; that takes a counter-based generator, which computes any number of its sequence directly.
"""

from __future__ import annotations

import hashlib
import math

import torch
from jaxtyping import Float, Int64, Real
from torch import Tensor

_GOLDEN = (5**0.5 - 1) / 2
_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose under `seed`: `derive(0, "shuffle", epoch)`."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator for one purpose under `seed`."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def reseed(device: torch.device, seed: int, *purpose: str | int) -> None:
    """Set the global generators that operations on `device` draw from to one purpose under `seed`.

    Unlike torch.manual_seed this leaves other devices alone, which there costs more than a small step.
    """
    number = derive(seed, *purpose)
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)


def deal(
    shares: Real[Tensor, " k"], seed: int, purpose: str, first: int, count: int
) -> Int64[Tensor, " count"]:
    """Return what samples `first` … `first + count - 1` are dealt of k things, by the share of each.

    They are dealt evenly: u = u_0 + n phi modulo 1, with the golden ratio phi, has about as many of each in
    any row of samples as there should be. Sample n's depends on the seed, the purpose and n alone.

    >>> import torch
    >>> deal(torch.tensor([1, 2, 1]), 0, "example", 0, 100).bincount().tolist()
    [24, 51, 25]
    """
    start = derive(seed, purpose) / 2**63
    n = torch.arange(first, first + count, dtype=torch.float64)
    edges = shares.double().cpu().cumsum(0)
    dealt = torch.searchsorted(edges / edges[-1].clamp_min(1e-9), (start + n * _GOLDEN) % 1, right=True)
    return dealt.clamp_max(len(edges) - 1)


def philox(counter: Int64[Tensor, "*n 4"], key: tuple[int, int]) -> Int64[Tensor, "*n 4"]:
    """Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.3).

    Each row of `counter`, four 32-bit words, becomes four random 32-bit words under the 64-bit `key`.
    """
    a, b, c, d = counter.unbind(-1)
    low, high = key
    for _ in range(10):
        # 32 x 32 -> 64-bit products: the sign bit of int64 is only the 64th bit here, so mask after shifting.
        left, right = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b = ((right >> 32) & _MASK) ^ b ^ low, right & _MASK
        c, d = ((left >> 32) & _MASK) ^ d ^ high, left & _MASK
        low, high = (low + _WEYL[0]) & _MASK, (high + _WEYL[1]) & _MASK
    return torch.stack((a, b, c, d), -1)


class SampleNoise:
    """The standard normal noise of samples `first` … `first + count - 1` under `seed`.

    Each call of `normal` is the next draw of every sample. Counter words: block within the draw, number
    of the draw, sample index (64 bits).

    >>> import torch
    >>> whole, part = SampleNoise(0, 0, 8), SampleNoise(0, 5, 3)
    >>> torch.equal(whole.normal(20)[5:], part.normal(20))
    True
    """

    def __init__(self, seed: int, first: int, count: int, device: torch.device | str = "cpu") -> None:
        seed = derive(seed, "sample")
        self.key = (seed & _MASK, seed >> 32)
        self.indices = torch.arange(first, first + count, device=device)
        self.draws = 0

    def normal(self, *shape: int) -> Float[Tensor, "count ..."]:
        """Draw float32 standard normals of `shape` for every sample (Box & Muller 1958)."""
        numbers = math.prod(shape)
        blocks = torch.arange(-(-numbers // 4), device=self.indices.device)
        counter = torch.stack(
            torch.broadcast_tensors(
                blocks,
                torch.tensor(self.draws, device=blocks.device),
                (self.indices & _MASK)[:, None],
                (self.indices >> 32)[:, None],
            ),
            -1,
        )
        self.draws += 1
        # 24 bits are all a float32 holds; the half keeps the uniforms off 0, whose logarithm is infinite.
        uniform = ((philox(counter, self.key) >> 8).float() + 0.5) * 2.0**-24
        radius = (-2 * uniform[..., :2].log()).sqrt()
        angle = 2 * math.pi * uniform[..., 2:]
        normals = torch.stack((radius * angle.cos(), radius * angle.sin()), -1).flatten(1)
        return normals[:, :numbers].reshape(-1, *shape)
