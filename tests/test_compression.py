"""Bits-back coding (bench/compression.py): what is encoded comes back, and costs what the bound says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import program
from genmnist.evaluation import scores
from genmnist.families.ddpm import LIKELY, DiffusionOptions
from genmnist.models import Diffusion


@pytest.fixture(scope="module")
def compression() -> Any:
    return program("bench/compression.py", "constriction")


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Images of 8 x 8 pixels, half of them black."""
    drawn = torch.randint(0, 256, (400, 8, 8), generator=torch.Generator().manual_seed(0))
    return (drawn * (drawn % 2)).to(torch.uint8)


@pytest.fixture(scope="module")
def model(images: Tensor) -> Diffusion:
    """An untrained model that knows their histogram, and something wrong besides."""
    torch.manual_seed(0)
    model = Diffusion(DiffusionOptions(**LIKELY | {"size": "tiny", "shape": (1, 8, 8)})).eval()
    model.begin(images)
    for parameter in model.parameters():
        parameter.data += 0.003 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(("count", "streams"), [(1, 1), (3, 1), (5, 2), (2, 3)], ids=str)
def test_what_is_encoded_is_decoded(
    compression: Any, model: Diffusion, images: Tensor, count: int, streams: int
) -> None:
    done = compression.code(compression.Codec(model, 9), images[:count], streams)
    assert torch.equal(done.images, images[:count])
    assert done.restored
    assert len(done.bits) == count
    assert all(bits > 0 for bits in done.bits)


def test_images_cost_what_the_bound_of_the_chain_says(
    compression: Any, model: Diffusion, images: Tensor
) -> None:
    done = compression.code(compression.Codec(model, 30), images[:30], 30)
    *_, bound = scores.terms(model, images[:30], looks=30, steps=30, batch_size=30)
    off = torch.tensor(done.bits, dtype=torch.float64) / 64 - bound.bits
    error = off.std().item() / math.sqrt(len(off))
    assert error < 0.02 * bound.bits.mean()
    assert abs(off.mean().item()) < 4 * error


def test_few_bits_are_needed_before_the_first_image(
    compression: Any, model: Diffusion, images: Tensor
) -> None:
    few, many = (
        compression.code(compression.Codec(model, steps), images[:2], 2).initial for steps in (9, 30)
    )
    # A level and what a step draws before it gives back: no more for a longer chain.
    assert max(few + many) < 64 * 2 * 20


def test_latents_far_from_where_they_were_expected_come_back(compression: Any) -> None:
    coder = compression.AnsCoder(np.arange(1, 200, dtype=np.uint32))
    places = np.array([0, 3, -90_000, 65, -64, 1_000_000])
    means = np.array([0.2, 3.4, 10.0, 0.0, 0.0, -5.5])
    before, bins = coder.get_compressed(), compression.Bins(8.0)
    bins.push(coder, places, means)
    assert bins.pop(coder, means).tolist() == places.tolist()
    assert np.array_equal(coder.get_compressed(), before)
    drawn = bins.draw(coder, means)
    bins.give_back(coder, drawn, means)
    assert np.array_equal(coder.get_compressed(), before)
