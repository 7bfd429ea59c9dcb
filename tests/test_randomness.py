"""Noise: the published vectors, the right distribution, and independence of batch and order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genmnist.randomness import SampleNoise, derive, generator, philox, reseed


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers that come with Random123
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert tuple(philox(torch.tensor([counter]), key)[0].tolist()) == expected


def test_noise_is_standard_normal() -> None:
    noise = SampleNoise(0, 0, 20_000).normal(10).double().numpy()
    assert abs(noise.mean()) < 0.01
    assert abs(noise.var() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.1
    assert np.abs(np.cov(noise.T) - np.eye(10)).max() < 0.03


def test_noise_of_a_sample_depends_on_its_number_alone() -> None:
    whole, part = SampleNoise(3, 0, 64), SampleNoise(3, 17, 5)
    for shape in ((20,), (1, 28, 28), (3,)):
        assert torch.equal(whole.normal(*shape)[17:22], part.normal(*shape))


def test_draws_samples_and_seeds_differ() -> None:
    noise = SampleNoise(0, 0, 2)
    first, second = noise.normal(8), noise.normal(8)
    others = [first[0], first[1], second[0], SampleNoise(1, 0, 1).normal(8)[0]]
    assert len({tuple(one.tolist()) for one in others}) == len(others)


def test_sample_numbers_may_pass_32_bits() -> None:
    assert not torch.equal(SampleNoise(0, 2**32, 1).normal(4), SampleNoise(0, 0, 1).normal(4))


def test_purposes_have_streams_of_their_own() -> None:
    assert derive(0, "step", 1) == derive(0, "step", 1)
    assert (
        len({derive(0, "step", 1), derive(0, "step", 2), derive(1, "step", 1), derive(0, "shuffle", 1)}) == 4
    )
    assert torch.equal(
        torch.randn(3, generator=generator(5, "a")), torch.randn(3, generator=generator(5, "a"))
    )


def test_reseed_sets_the_global_generator() -> None:
    cpu = torch.device("cpu")
    reseed(cpu, 0, "x")
    first = torch.randn(3)
    reseed(cpu, 0, "x")
    assert torch.equal(first, torch.randn(3))
