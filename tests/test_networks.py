"""The blocks of the networks, held against torch's own layers, and what the U-Net promises."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genmnist.families.ddpm import DiffusionOptions
from genmnist.nn.blocks import AdaptiveNorm, Attention, NoiseLevel, ResBlock, normalised
from genmnist.nn.unet import SIZES, Size, UNet
from genmnist.options import fields


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def disturb(network: nn.Module) -> None:
    """Give every weight a value, those that start at zero too."""
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalisation_is_group_normalisation(layout: torch.memory_format) -> None:
    x = torch.randn(3, 6, 5, 7).contiguous(memory_format=layout) * 3 + 1
    torch.testing.assert_close(normalised(x), F.group_norm(x, 1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_condition_scales_and_shifts_channels(layout: torch.memory_format) -> None:
    x, condition = torch.randn(3, 6, 5, 7).contiguous(memory_format=layout), torch.randn(3, 4)
    norm = AdaptiveNorm(6, 4)
    torch.testing.assert_close(norm(x, condition), F.group_norm(x, 1))
    disturb(norm)
    scale, shift = norm.affine(condition)[..., None, None].chunk(2, 1)
    torch.testing.assert_close(norm(x, condition), F.group_norm(x, 1) * (1 + scale) + shift)
    torch.testing.assert_close(norm(x, condition[:1])[0], norm(x, condition)[0])


def test_attention_is_that_of_torch() -> None:
    ours, theirs = Attention(8, head=4), nn.MultiheadAttention(8, 2, batch_first=True)
    disturb(ours)
    theirs.load_state_dict({
        "in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias,
        "out_proj.weight": ours.out.weight, "out_proj.bias": ours.out.bias,
    })  # fmt: skip
    x = torch.randn(2, 8, 3, 5)
    places = F.group_norm(x, 1).flatten(2).transpose(1, 2)
    seen = theirs(places, places, places, need_weights=False)[0]
    torch.testing.assert_close(ours(x), x + seen.transpose(1, 2).view_as(x))


def test_blocks_start_as_the_identity() -> None:
    x, condition = torch.randn(2, 8, 6, 6), torch.randn(2, 4)
    torch.testing.assert_close(ResBlock(8, 8, 4)(x, condition), x)
    torch.testing.assert_close(Attention(8)(x), x)


def test_noise_levels_of_any_size_are_told_apart() -> None:
    levels = torch.tensor([math.inf, 20.0, 5.0, 0.0, -5.0, -20.0, -math.inf])
    condition = NoiseLevel(32)(levels)
    assert condition.isfinite().all()
    assert (torch.pdist(condition[1:-1]) > 1e-3).all()


@pytest.mark.parametrize("size", [Size((4, 8, 12)), Size((4, 8), blocks=2, patch=2, attention=False)])
@pytest.mark.parametrize("classes", [0, 10])
def test_the_unet_answers_in_the_shape_of_its_images(size: Size, classes: int) -> None:
    network = UNet(size, classes)
    x, log_snr = torch.randn(3, 1, 28, 28), torch.tensor([2.0, 0.0, -2.0])
    labels = torch.tensor([0, 9, 10]) if classes else None
    assert not network(x, log_snr, labels).any()  # it starts by predicting nothing
    disturb(network)
    whole = network(x, log_snr, labels)
    assert whole.shape == x.shape
    alone = network(x[1:2], log_snr[1:2], labels[1:2] if labels is not None else None)
    torch.testing.assert_close(alone, whole[1:2])
    assert (network(x, log_snr + 1, labels) - whole).abs().max() > 1e-3
    if labels is not None:
        assert (network(x, log_snr, labels.flip(0)) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("name", SIZES)
def test_every_size_takes_every_patch(name: str, patch: int) -> None:
    network = UNet(dataclasses.replace(SIZES[name], patch=patch))
    assert network(torch.randn(1, 1, 28, 28), torch.zeros(1)).shape == (1, 1, 28, 28)


@pytest.mark.parametrize("channels", [1, 30, 69, 240])
def test_attention_takes_any_width(channels: int) -> None:
    x = torch.randn(1, channels, 3, 3)
    torch.testing.assert_close(Attention(channels)(x), x)


def test_without_a_label_the_unet_takes_the_null_label() -> None:
    network = UNet(Size((4, 8)), classes=10)
    disturb(network)
    x, log_snr = torch.randn(2, 1, 28, 28), torch.zeros(2)
    torch.testing.assert_close(network(x, log_snr), network(x, log_snr, torch.tensor([10, 10])))


def test_every_weight_of_the_unet_learns() -> None:
    network = UNet(Size((4, 8, 12)), classes=10)
    disturb(network)
    network(torch.randn(11, 1, 28, 28), torch.randn(11), torch.arange(11)).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


def test_sizes_are_those_that_options_name() -> None:
    (field,) = (field for field in fields(DiffusionOptions) if field.name == "size")
    assert {"auto", *SIZES} == set(field.choices)
