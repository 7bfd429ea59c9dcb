"""The running average of a model's weights, which is often better than any of them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


class WarmAverage(AveragedModel):
    """An exponential moving average that is short at first (Polyak & Juditsky 1992; Kingma & Ba 2015, 7.2).

    After n steps its decay is min(`decay`, n / (9 + n)), or it would remember the random weights that it
    started from. Buffers are averaged as weights are, and copied where they count: so the statistics of
    a batch normalisation belong to the averaged weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=self._follow, use_buffers=True)
        self.decay = decay
        self.requires_grad_(False).eval()
        self.update_parameters(model)  # the first, which copies

    def _follow(self, averages: Tensors, values: Tensors, _: Tensor | int) -> None:
        """Move tensors of one type towards their present values."""
        if averages[0].is_floating_point() or averages[0].is_complex():
            n = int(self.n_averaged)  # on the CPU, wherever the model is: no GPU is waited for
            get_ema_multi_avg_fn(min(self.decay, n / (9 + n)))(averages, values, n)
        else:
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)
