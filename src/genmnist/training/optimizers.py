"""The optimisers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from genmnist.errors import GenmnistError
from genmnist.presets import Recipe


class Adam:
    """Adam (Kingma & Ba 2015), with the decoupled weight decay of AdamW if asked (Loshchilov & Hutter 2019).

    It calls the fused kernels under torch.optim directly: one pass over each weight and its two averages,
    and none of the bookkeeping around it, which for a network as small as ours costs as much again, and
    whose first use imports a compiler for seconds. Decay spares biases and gains, which have nothing to
    shrink towards (He et al. 2019, section 3.1).
    """

    def __init__(self, model: nn.Module, recipe: Recipe, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        kernels = {"adam": torch._fused_adam_, "adamw": torch._fused_adamw_}
        self.kernel, self.betas = kernels[recipe.optimizer], betas
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
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

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self.weights:
            weight.grad = None

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Name every tensor that the optimiser remembers."""
        yield "count", self.count
        for index, (mean, square) in enumerate(zip(self.means, self.squares, strict=True)):
            yield f"{index}.mean", mean
            yield f"{index}.square", square

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Remember what `state` named. Raises ValueError unless it is the state of such an optimiser."""
        own = dict(self.state())
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
