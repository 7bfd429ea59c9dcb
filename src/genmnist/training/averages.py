"""Running averages of a model's weights, which are often better than any of them."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from genmnist.training import profiles

Tensors = tuple[Tensor, ...] | list[Tensor]


class _Average(AveragedModel):
    """An average of the weights that `update_parameters` is given; the first it copies.

    Buffers are averaged as weights are, and copied where they count: so the statistics of a batch
    normalisation belong to the averaged weights.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, multi_avg_fn=self._follow, use_buffers=True)
        self.requires_grad_(False).eval()

    @abstractmethod
    def decay_after(self, n: int) -> float:
        """Return what factor the average of `n` weights is taken by when another joins it."""

    def _follow(self, averages: Tensors, values: Tensors, _: Tensor | int) -> None:
        """Move tensors of one type towards their present values."""
        if averages[0].is_floating_point() or averages[0].is_complex():
            n = int(self.n_averaged)  # on the CPU, wherever the model is: no GPU is waited for
            get_ema_multi_avg_fn(self.decay_after(n))(averages, values, n)
        else:
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)


class WarmAverage(_Average):
    """An exponential moving average that is short at first (Polyak & Juditsky 1992; Kingma & Ba 2015, 7.2).

    After n steps its decay is min(`decay`, n / (9 + n)), or it would remember the random weights that it
    started from.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay
        self.update_parameters(model)  # the first, which copies

    def decay_after(self, n: int) -> float:
        """See `_Average.decay_after`."""
        return min(self.decay, n / (9 + n))


class PowerAverage(_Average):
    """An average as wide as a share of the training so far (Karras et al. 2024, section 3.1).

    It begins with the weights after the first step: those before were random.

    Args:
        model: whose weights.
        length: the width, sigma_rel; see `genmnist.training.profiles`.
    """

    def __init__(self, model: nn.Module, length: float) -> None:
        super().__init__(model)
        self.length = length
        self._exponent = profiles.exponent(length)

    def decay_after(self, n: int) -> float:
        """See `_Average.decay_after`."""
        return profiles.decay(n + 1, self._exponent)
