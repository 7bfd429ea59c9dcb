"""The variants that the searches try do what they say, and leave the rest as it is."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conftest import program
from genmnist.families.cfg import ConditionalOptions
from genmnist.families.ddpm import STRAIGHT, DiffusionOptions
from genmnist.models import ConditionalDiffusion, Diffusion
from genmnist.nn import unet

TINY = DiffusionOptions(size="tiny", shape=(1, 8, 8), **STRAIGHT)
IMAGES = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def variants() -> Any:
    return program("scripts/variants.py")


def _awake(network: nn.Module) -> nn.Module:
    """Give every weight a value: those that are zero at first would hide what they are fed."""
    torch.manual_seed(0)
    for weight in network.parameters():
        weight.data = 0.1 * torch.randn(weight.shape)
    return network


def _loss(model: Diffusion) -> float:
    """Return the loss of the images, each time with the same noise."""
    torch.manual_seed(0)
    return model.losses(IMAGES, torch.arange(8))["loss"].item()


def test_immiscible_noise_is_the_same_noise_dealt_out_nearer(variants: Any) -> None:
    model, clean = variants.Immiscible(TINY), 2 * IMAGES - 1
    torch.manual_seed(0)
    dealt = model.noise_for(clean)
    torch.manual_seed(0)
    drawn = model.eval().noise_for(clean)  # validation's stays as it is drawn
    assert sorted(dealt.flatten(1).tolist()) == sorted(drawn.flatten(1).tolist())
    assert (dealt - clean).square().sum() < (drawn - clean).square().sum()


def test_no_other_deal_of_the_noise_is_nearer(variants: Any) -> None:
    torch.manual_seed(0)
    clean, noise = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)
    orders = permutations(range(4))
    best = min(orders, key=lambda order: (noise[[*order]] - clean).square().sum().item())
    assert tuple(variants.nearest(clean, noise).tolist()) == best


def test_contrast_takes_from_the_loss_what_other_images_are_away(
    variants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without strength it is the model with labels as it is."""
    options = ConditionalOptions(size="tiny", shape=(1, 8, 8), **STRAIGHT)
    base = ConditionalDiffusion(options)
    contrastive = variants.Contrastive(options, _awake(base.network))
    own, less = _loss(base), _loss(contrastive)
    monkeypatch.setattr(variants.Contrastive, "strength", 0.0)
    assert _loss(contrastive) == own
    monkeypatch.setattr(variants.Contrastive, "strength", 1.0)
    assert less == pytest.approx(own + 0.05 * (_loss(contrastive) - own), abs=1e-6)
    assert less < own


def test_images_are_turned_enlarged_and_moved_as_asked(variants: Any) -> None:
    def changed(*change: float) -> Tensor:
        found: Tensor = variants.changed(IMAGES, torch.tensor([change]).expand(8, 4))
        return found

    for found, expected in (
        (changed(0, 0, 0, 0), IMAGES),
        (changed(math.pi / 2, 0, 0, 0), IMAGES.rot90(-1, (2, 3))),
        (changed(0, -1, 0, 0), F.pad(F.avg_pool2d(IMAGES, 2), (2, 2, 2, 2))),
        (changed(0, 0, 1, 0), F.pad(IMAGES, (1, -1, 0, 0))),
        (changed(0, 0, 0, 2), F.pad(IMAGES, (0, 0, 2, -2))),
    ):
        assert torch.allclose(found, expected, atol=1e-5)


def test_a_network_that_is_told_of_changes_is_at_first_the_one_that_is_not(variants: Any) -> None:
    base = _awake(unet.build(TINY))
    network = variants.told_of_changes(TINY)
    network.load_state_dict(base.state_dict(), strict=False)
    log_snr, told = torch.zeros(8), torch.randn(8, 5)
    assert torch.equal(network(IMAGES, log_snr, told), base(IMAGES, log_snr))
    nn.init.ones_(network.label.weight)
    assert not torch.equal(network(IMAGES, log_snr, told), base(IMAGES, log_snr))


def test_validation_images_are_not_changed(variants: Any) -> None:
    model = variants.Augmented(TINY, _awake(variants.told_of_changes(TINY)))
    plain = Diffusion(TINY, model.network)
    assert _loss(model.eval()) == _loss(plain)
    assert _loss(model.train()) != _loss(plain)


def test_dropout_is_for_training_alone(variants: Any) -> None:
    base = _awake(unet.build(TINY))
    network = variants.with_dropout(TINY)
    network.load_state_dict(base.state_dict())
    assert not torch.equal(network(IMAGES, torch.zeros(8)), base(IMAGES, torch.zeros(8)))
    network.eval()
    assert torch.equal(network(IMAGES, torch.zeros(8)), base(IMAGES, torch.zeros(8)))


def test_a_unet_of_the_same_shape_is_the_same(variants: Any) -> None:
    same, other = variants.shaped(1, 1, 1)(TINY), variants.shaped(2, 1, 0.5, middle=3)(TINY)
    shapes = [[weight.shape for weight in network.parameters()] for network in (same, unet.build(TINY))]
    assert sorted(shapes[0]) == sorted(shapes[1])
    assert (other.stem.out_channels, other.middle[2].conv1.in_channels, len(other.middle)) == (16, 16, 3)
    assert other(IMAGES, torch.zeros(8)).shape == IMAGES.shape


def test_patches_of_a_transformer_see_one_another(variants: Any) -> None:
    """What is changed in one corner tells in the other."""
    network = _awake(variants.Transformer(TINY, width=32, depth=1))
    before = network(IMAGES, torch.zeros(8))
    assert before.shape == IMAGES.shape
    elsewhere = IMAGES.clone()
    elsewhere[..., :4, :4] = 0
    after = network(elsewhere, torch.zeros(8))
    assert not torch.equal(before[..., 4:, 4:], after[..., 4:, 4:])


def test_blocks_that_preserve_magnitudes_do(variants: Any) -> None:
    torch.manual_seed(0)
    block = variants.Preserving(64, 16)
    x, condition = torch.randn(4, 64, 16, 16), torch.randn(4, 16)
    before = block(x, condition)
    assert before.square().mean().sqrt().item() == pytest.approx(1, abs=0.05)
    block.conv1.parametrizations.weight.original.data *= 3
    assert torch.allclose(block(x, condition), before, atol=1e-5)
    assert torch.allclose(block(3 * x, condition), before, atol=1e-3)


def test_a_table_compares_trainings_with_those_of_the_base_under_the_same_seed(variants: Any) -> None:
    search = program("scripts/search.py")

    def result(variant: str, seed: int, distance: float) -> Any:
        return search.Result(
            variant=variant, seed=seed, parameters=1234, cost=1.5, steps=800, loss=0.1, distance=distance,
            precision=0.7, recall=0.6, kept=None,
        )  # fmt: skip

    rows = search.table(
        [result("base", 0, 1.0), result("base", 1, 2.0), result("adamw", 1, 3.0), result("cfg", 0, 4.0)]
    )
    assert len({row.count("|") for row in rows}) == 1
    base, adamw, cfg = (row.split(" | ") for row in rows[2:])
    assert (base[5:7], adamw[5:7], cfg[5:7]) == (["1.000, 2.000", ""], ["3.000", "+50%"], ["4.000", ""])
