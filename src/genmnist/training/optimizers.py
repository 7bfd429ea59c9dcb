"""The optimisers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genmnist.errors import GenmnistError, UsageError
from genmnist.presets import Recipe


class Optimizer(Protocol):
    """What the training loop asks of an optimiser."""

    weights: list[nn.Parameter]

    def step(self, lr: float) -> None:
        """Move the weights against their gradients."""

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Name every tensor that the optimiser remembers."""

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Remember what `state` named. Raises ValueError unless it is the state of such an optimiser."""


def build(model: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the optimiser that a recipe names."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return Muon(weights, recipe) if recipe.optimizer == "muon" else Adam(weights, recipe)


class Adam:
    """Adam (Kingma & Ba 2015), with the decoupled weight decay of AdamW if asked (Loshchilov & Hutter 2019).

    It calls the fused kernels under torch.optim directly: one pass over each weight and its two averages,
    and none of the bookkeeping around it, which for a network as small as ours costs as much again, and
    whose first use imports a compiler for seconds. Decay spares biases and gains, which have nothing to
    shrink towards (He et al. 2019, section 3.1).
    """

    def __init__(
        self, weights: list[nn.Parameter], recipe: Recipe, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.kernel = torch._fused_adam_ if recipe.optimizer == "adam" else torch._fused_adamw_
        self.weights, self.betas = weights, betas
        self.means = [torch.zeros_like(weight) for weight in self.weights]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]
        self.count = torch.zeros((), device=self.weights[0].device)  # float32, as the kernels want it
        decayed = [
            index for index, weight in enumerate(self.weights) if recipe.weight_decay and weight.ndim > 1
        ]
        spared = [index for index in range(len(self.weights)) if index not in decayed]
        self.groups = [
            (group, decay) for group, decay in ((decayed, recipe.weight_decay), (spared, 0.0)) if group
        ]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the weights against their gradients."""
        self.count += 1
        for group, decay in self.groups:
            self.kernel(
                [self.weights[i] for i in group],
                cast("list[Tensor]", [self.weights[i].grad for i in group]),
                [self.means[i] for i in group],
                [self.squares[i] for i in group],
                [],
                [self.count] * len(group),
                lr=lr,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Name every tensor that the optimiser remembers."""
        yield "count", self.count
        for index, (mean, square) in enumerate(zip(self.means, self.squares, strict=True)):
            yield f"{index}.mean", mean
            yield f"{index}.square", square

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Remember what `state` named. Raises ValueError unless it is the state of such an optimiser."""
        _restore(dict(self.state()), tensors)


class Muon:
    """Muon: momentum, made orthogonal before it is applied (Jordan et al. 2024), for the convolutions.

    All directions of a weight matrix then move alike, the rare ones too. Updates are scaled to the size that
    Adam's have, so that one learning rate serves both (Liu et al. 2025, "Muon is scalable for LLM training",
    eq. 4). Everything else, biases, dense layers and convolutions from or to a single channel, is AdamW's.
    """

    def __init__(self, weights: list[nn.Parameter], recipe: Recipe, momentum: float = 0.95) -> None:
        self.weights, self.momentum, self.decay = weights, momentum, recipe.weight_decay
        hidden = [weight for weight in weights if weight.ndim == 4 and min(weight.shape[:2]) > 1]
        if not hidden:
            raise UsageError("--optimizer muon is for convolutions, and this network has none: take adamw")
        self.adam = Adam([weight for weight in weights if not any(weight is own for own in hidden)], recipe)
        # Matrices of one shape are made orthogonal together: one small product costs as much as ten.
        self.stacks: dict[tuple[int, int], list[nn.Parameter]] = {}
        for weight in hidden:
            self.stacks.setdefault((weight.shape[0], weight[0].numel()), []).append(weight)
        self.means = [
            weights[0].new_zeros(len(stack), *shape, requires_grad=False)
            for shape, stack in self.stacks.items()
        ]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move the weights against their gradients."""
        for mean, (shape, stack) in zip(self.means, self.stacks.items(), strict=True):
            gradients = torch.stack([cast("Tensor", weight.grad).reshape(shape) for weight in stack])
            mean.lerp_(gradients, 1 - self.momentum)
            update = orthogonal(gradients.lerp_(mean, self.momentum))  # Nesterov's look ahead
            scale = lr * 0.2 * max(shape) ** 0.5
            for weight, change in zip(stack, update.unbind(), strict=True):
                weight.mul_(1 - lr * self.decay).sub_(change.reshape(weight.shape), alpha=scale)
        self.adam.step(lr)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Name every tensor that the optimiser remembers."""
        for name, tensor in self.adam.state():
            yield f"adam.{name}", tensor
        for index, mean in enumerate(self.means):
            yield f"muon.{index}", mean

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Remember what `state` named. Raises ValueError unless it is the state of such an optimiser."""
        _restore(dict(self.state()), tensors)


def orthogonal(matrices: Float[Tensor, "n rows columns"], steps: int = 5) -> Float[Tensor, "n rows columns"]:
    """Return nearly U V^T for each U S V^T, by a quintic Newton-Schulz iteration (Jordan et al. 2024).

    Its coefficients rise steeply at 0 instead of converging: singular values end between 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.transpose(1, 2) if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = a * x + torch.baddbmm(square, square, square, beta=b, alpha=c) @ x
    return x.transpose(1, 2) if tall else x


def _restore(own: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    if {name: tensor.shape for name, tensor in own.items()} != {k: v.shape for k, v in tensors.items()}:
        raise ValueError("the optimiser's memory is of other weights")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


class LossScale:
    """Scaling of the loss, without which float16 gradients underflow (Micikevicius et al. 2018, section 3.2).

    The scale doubles after `growth` good steps; it halves when a gradient overflows, and that step is left
    out. Off, it does nothing.
    """

    def __init__(self, enabled: bool, growth: int = 1000) -> None:
        self.enabled, self.growth = enabled, growth
        self.scale, self.good = 2.0**16 if enabled else 1.0, 0

    def backward(self, loss: Tensor) -> None:
        """Compute scaled gradients."""
        (loss * self.scale if self.enabled else loss).backward()

    def unscale(self, weights: list[nn.Parameter]) -> bool:
        """Scale the gradients back; tell whether they can be used."""
        if not self.enabled:
            return True
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        torch._foreach_mul_(gradients, 1 / self.scale)
        norms = torch.stack(torch._foreach_norm(gradients))
        if norms.isfinite().all():
            self.good += 1
            if self.good % self.growth == 0:
                self.scale = min(2 * self.scale, 2.0**24)
            return True
        self.good, self.scale = 0, self.scale / 2
        if self.scale < 2**-14:
            raise GenmnistError("the gradients overflow at any scale: lower --lr or take --precision float32")
        return False
