"""The optimisers, against those of torch and against what they promise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from conftest import CPU
from genmnist.errors import UsageError
from genmnist.families.recipe import Recipe
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE
from genmnist.nn.unet import Size, UNet
from genmnist.randomness import reseed
from genmnist.training import optimizers


def mlp() -> VAE:
    reseed(CPU, 0)
    return VAE(VAEOptions.of({"hidden": 16, "latent": 4}))


def gradients(model: nn.Module, seed: int) -> None:
    """Give every weight a gradient that depends on the seed alone."""
    torch.manual_seed(seed)
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)


def descend(model: nn.Module, recipe: Recipe, steps: int) -> list[torch.optim.Optimizer]:
    built = optimizers.build(model, recipe)
    for step in range(steps):
        gradients(model, step)
        for optimizer in built:
            for group in optimizer.param_groups:
                group["lr"] = 1e-3
            optimizer.step()
    return built


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_moves_weights_as_that_of_torch_does(name: str) -> None:
    """Decay spares biases, which leaves two groups."""
    ours, theirs = mlp(), mlp()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    reference = kind(
        [
            {"params": [weight for weight in theirs.parameters() if weight.ndim > 1], "weight_decay": 0.1},
            {"params": [weight for weight in theirs.parameters() if weight.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=1e-3,
    )
    descend(ours, Recipe.of({"optimizer": name, "weight_decay": 0.1}), 10)
    for step in range(10):
        gradients(theirs, step)
        reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_without_decay_adam_and_adamw_are_one() -> None:
    one, other = mlp(), mlp()
    descend(one, Recipe(optimizer="adam"), 5)
    descend(other, Recipe(optimizer="adamw"), 5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_muon_moves_weights_as_that_of_torch_does() -> None:
    """Theirs takes matrices alone and iterates in bfloat16, hence the tolerance."""
    torch.manual_seed(0)
    shapes = (6, 4, 3, 3), (40, 4, 3, 3), (6, 4, 3, 3)
    ours = nn.ParameterList([torch.randn(shape) for shape in shapes])
    theirs = [nn.Parameter(weight.detach().flatten(1).clone()) for weight in ours]
    ours.append(torch.zeros(5))  # a bias, which is Adam's
    reference = torch.optim.Muon(theirs, lr=1e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    before = [weight.detach().clone() for weight in theirs]
    descend(ours, Recipe(optimizer="muon", weight_decay=0.1), 5)
    for step in range(5):
        torch.manual_seed(step)
        for weight, shape in zip(theirs, shapes, strict=True):
            weight.grad = torch.randn(shape).flatten(1)
        reference.step()
    for mine, other, start in zip(ours, theirs, before, strict=False):
        moved = other - start
        assert (mine.flatten(1) - other).norm() < 0.02 * moved.norm()


@pytest.mark.parametrize("channels", [1, 3])
def test_muon_leaves_what_is_no_matrix_between_features_to_adam(channels: int) -> None:
    network = UNet(Size((4, 8)))
    network.stem, network.head = nn.Conv2d(channels, 4, 3), nn.Conv2d(4, channels, 3)
    muon, adam = optimizers.build(network, Recipe(optimizer="muon"), channels)
    held, others = ({id(w) for w in one.param_groups[0]["params"]} for one in (muon, adam))
    kernels = {id(weight) for weight in network.parameters() if weight.ndim == 4}
    assert isinstance(muon, optimizers.Muon)
    assert held == kernels - {id(network.stem.weight), id(network.head.weight)}  # which face pixels
    assert held | others == {id(weight) for weight in network.parameters()}
    assert not held & others


def test_muon_wants_convolutions() -> None:
    with pytest.raises(
        UsageError, match="`optimizer` muon is for convolutions, and this network has none between"
    ):
        optimizers.build(mlp(), Recipe(optimizer="muon"))


@pytest.mark.parametrize("shape", [(8, 8), (4, 20), (20, 4)])
def test_orthogonal_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(optimizers.orthogonal(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert torch.equal(optimizers.orthogonal(torch.zeros(shape)), torch.zeros(shape))


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_building_an_optimiser_moves_nothing(name: str) -> None:
    torch.manual_seed(0)
    network = UNet(Size((4, 8)))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    built = optimizers.build(network, Recipe.of({"optimizer": name, "weight_decay": 0.1}))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    memory = optimizers.memory(built)
    assert not any(tensor.any() for tensor in memory.values())
    gradients(network, 0)
    for optimizer in built:
        optimizer.step()
    assert memory.keys() == optimizers.memory(built).keys()


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_optimisers_speak_state_dict_as_all_of_torch_do(name: str) -> None:
    def network() -> UNet:
        torch.manual_seed(0)
        return UNet(Size((4, 8)))

    first, second, recipe = network(), network(), Recipe.of({"optimizer": name})
    old = descend(first, recipe, 3)
    new = optimizers.build(second, recipe)
    second.load_state_dict(first.state_dict())
    for source, target in zip(old, new, strict=True):
        target.load_state_dict(source.state_dict())
    one, other = optimizers.memory(old), optimizers.memory(new)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_frozen_weight_stays_and_one_without_a_gradient_is_passed_over() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 3), nn.Conv2d(4, 4, 3))
    network[0].requires_grad_(False)
    built = optimizers.build(network, Recipe(optimizer="muon"))
    before = [weight.detach().clone() for weight in network.parameters()]
    gradients(network[1], 0)
    for optimizer in built:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        optimizer.step()
    moved: list[bool] = [
        not torch.equal(weight, old) for weight, old in zip(network.parameters(), before, strict=True)
    ]
    assert moved == [False, False, True, True, False, False]


def test_nothing_private_of_torch_is_called() -> None:
    """Not in what trains: those names change without notice."""
    from pathlib import Path

    folder = Path(optimizers.__file__).parent
    for name in ("trainer", "optimizers", "averages", "budget"):
        assert "torch._" not in (folder / f"{name}.py").read_text("utf-8")


def test_a_closure_is_called() -> None:
    weight = nn.Parameter(torch.ones(2, 2, 1, 1))
    muon = optimizers.Muon([weight])

    def loss() -> float:
        value: Tensor = (2 * weight).sum()
        value.backward()
        return value.item()

    assert muon.step(loss) == 8
    assert weight.grad is not None
