"""The optimisers: those of torch, and Muon for the convolutions of a small network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from genmnist.errors import UsageError
from genmnist.families.recipe import Recipe


def build(model: nn.Module, recipe: Recipe, channels: int = 1) -> list[Optimizer]:
    """Return the optimisers that a recipe asks for; each weight of the model is in one of them.

    Their rates are 0: the training loop sets them before each step. All that they remember stands, as zeros,
    from the start, so that a state can be checked against it before it is taken.

    Args:
        model: what is to learn.
        recipe: names the optimiser and the decay of the weights.
        channels: those of an image. For Muon, convolutions from or to no more of them face pixels.

    Raises:
        UsageError: the recipe takes Muon, and the model has no convolution between features.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if recipe.optimizer == "muon":
        hidden = [weight for weight in weights if weight.ndim == 4 and min(weight.shape[:2]) > channels]
        if not hidden:
            raise UsageError(
                "`optimizer` muon is for convolutions, and this network has none between hidden channels: "
                "take adamw"
            )
        rest = [weight for weight in weights if not any(weight is own for own in hidden)]
        optimizers = [Muon(hidden, recipe.weight_decay), adam(rest, recipe)]
    else:
        optimizers = [adam(weights, recipe)]
    for optimizer in optimizers:
        _remember_nothing(optimizer)
    return optimizers


def adam(weights: list[nn.Parameter], recipe: Recipe) -> Optimizer:
    """Return Adam (Kingma & Ba 2015), or AdamW, whose decay is decoupled (Loshchilov & Hutter 2019).

    Decay spares biases and gains, which have nothing to shrink towards (He et al. 2019, section 3.1).
    """
    groups: dict[float, list[nn.Parameter]] = {recipe.weight_decay: [], 0.0: []}
    for weight in weights:
        groups[recipe.weight_decay if weight.ndim > 1 else 0.0].append(weight)
    given = [{"params": group, "weight_decay": decay} for decay, group in groups.items() if group]
    optimizer = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return optimizer(given, lr=0.0, fused=True)


class Muon(Optimizer):
    """Muon: momentum, made orthogonal before it is applied (Jordan et al. 2024), for convolutions.

    A kernel is a matrix, a row an output. All its directions then move alike, the rare ones too. Updates are
    scaled to the size that Adam's have, so that one learning rate serves both (Liu et al. 2025, "Muon is
    scalable for LLM training", eq. 4).

    torch.optim.Muon takes no kernels, and iterates in bfloat16 on every machine. For the 18 kernels of the
    small U-Net on one core (AMD EPYC, torch 2.15, medians) it takes 15 ms a step, but 220 ms where oneDNN may
    not use the processor's bfloat16; this, in float32, takes 17 ms either way. Kernels of one shape stacked
    into one product took 25 ms.
    """

    def __init__(
        self, weights: list[nn.Parameter], weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(weights, {"lr": 0.0, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move the weights against their gradients. Returns what the closure does, if there is one."""
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            lr, decay, momentum = group["lr"], group["weight_decay"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                remembered = self.state[weight]
                if not remembered:
                    remembered["momentum"] = torch.zeros_like(weight)
                mean = remembered["momentum"].lerp_(weight.grad, 1 - momentum)
                ahead = weight.grad.lerp(mean, momentum)  # Nesterov's look
                change = orthogonal(ahead.flatten(1))
                scale = lr * 0.2 * max(change.shape) ** 0.5
                weight.mul_(1 - lr * decay).sub_(change.reshape(weight.shape), alpha=scale)
        return loss


def orthogonal(matrix: Float[Tensor, "rows columns"], steps: int = 5) -> Float[Tensor, "rows columns"]:
    """Return nearly U V^T for a matrix U S V^T, by a quintic Newton-Schulz iteration (Jordan et al. 2024).

    Its coefficients rise steeply at 0 instead of converging: singular values end between 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def memory(optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """Name every tensor that the optimisers remember, by optimiser, weight and what it is."""
    named: dict[str, Tensor] = {}
    for number, optimizer in enumerate(optimizers):
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for index, weight in enumerate(weights):
            for name, tensor in optimizer.state[weight].items():
                named[f"{number}.{index}.{name}"] = tensor
    return named


def _remember_nothing(optimizer: Optimizer) -> None:
    """Let an optimiser make its memory, which torch's do in their first step, and clear it again."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
    optimizer.step()  # at a rate of 0
    optimizer.zero_grad()
    for remembered in optimizer.state.values():
        for tensor in remembered.values():
            tensor.zero_()
