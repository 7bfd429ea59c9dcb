"""The U-Net: one network for every diffusion model, conditional or not (Ho et al. 2020, appendix B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from genmnist.errors import UsageError
from genmnist.families.ddpm import DiffusionOptions
from genmnist.nn.blocks import Attention, NoiseLevel, ResBlock, normalised, zero_init

Labels = (
    Int64[Tensor, " b"] | Float[Tensor, "b labels"]
)  # or a mixture: shares of each, and of the null label


@dataclass(frozen=True)
class Size:
    """How large a U-Net is: channels a level, blocks a level, the condition's width, the patches' side."""

    channels: tuple[int, ...]
    blocks: int = 1
    condition: int = 128
    patch: int = 1
    attention: bool = True


SIZES = {
    "tiny": Size((8, 16, 32), condition=64),
    "small": Size((16, 48, 96)),
    "medium": Size((24, 64, 128)),
    "fine": Size((64, 96, 128), attention=False),
    "base": Size((64, 128, 256), blocks=2, condition=256),
    "report": Size((32, 64, 128), blocks=2, condition=256, attention=False),
}


class UNet(nn.Module):
    """Residual blocks on the way down, at the bottom, and on the way up, where each sees its counterpart.

    Each level has half the side of the one above it, rounded up; images are padded to whole patches.

    Args:
        size: how large it is.
        classes: labels that it knows besides the null label; 0 for a network without labels.
        inputs: channels of what it sees.
        outputs: channels of what it answers; None is as many.
    """

    def __init__(self, size: Size, classes: int = 0, inputs: int = 1, outputs: int | None = None) -> None:
        super().__init__()
        self.patch, self.blocks = size.patch, size.blocks
        first, last, condition = size.channels[0], size.channels[-1], size.condition
        self.noise_level = NoiseLevel(condition)
        self.label = _embedding(classes + 1, condition) if classes else None
        self.stem = nn.Conv2d(inputs * size.patch**2, first, 3, padding=1)
        self.shrink = nn.ModuleList(
            nn.Conv2d(above, below, 3, stride=2, padding=1) for above, below in pairwise(size.channels)
        )
        self.grow = nn.ModuleList(
            nn.Conv2d(below, above, 3, padding=1) for above, below in pairwise(size.channels)
        )
        self.down, self.up = (
            nn.ModuleList(ResBlock(c, c, condition) for c in size.channels for _ in range(size.blocks))
            for _ in range(2)
        )
        self.middle = ResBlock(last, last, condition)
        self.attention = Attention(last) if size.attention else nn.Identity()
        self.head = nn.Conv2d(first, (outputs or inputs) * size.patch**2, 3, padding=1)
        zero_init(self.head)

    def forward(
        self,
        x: Float[Tensor, "b inputs h w"],
        log_snr: Float[Tensor, " #b"],
        labels: Labels | None = None,
    ) -> Float[Tensor, "b outputs h w"]:
        """Return the prediction for images of these noise levels and, in a conditional network, labels.

        One noise level may stand for all images. A label may be a mixture, a share of each class and of the
        null label, which comes last. Without labels a conditional network takes the null label.
        """
        condition = self.noise_level(log_snr)
        if self.label is not None:
            if labels is None:
                labels = torch.full((1,), self.label.num_embeddings - 1, device=x.device)
            mixed = labels.is_floating_point()
            condition = condition + (labels @ self.label.weight if mixed else self.label(labels))
        condition = F.silu(condition)
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        h: Tensor = self.stem(F.pixel_unshuffle(x, self.patch))
        h = h.contiguous(memory_format=torch.channels_last)
        kept: list[Tensor] = []
        for number, block in enumerate(self.down):
            level, rest = divmod(number, self.blocks)
            if level and not rest:
                h = self.shrink[level - 1](h)
            h = block(h, condition)
            kept.append(h)
        h = self.attention(self.middle(h, condition))
        for number, block in reversed([*enumerate(self.up)]):
            h = block(h + kept.pop(), condition)
            level, rest = divmod(number, self.blocks)
            if level and not rest:
                h = F.interpolate(self.grow[level - 1](h), size=kept[-1].shape[-2:])
        h = self.head(F.silu(normalised(h)))
        return F.pixel_shuffle(h, self.patch)[..., :height, :width]


def answer(
    network: nn.Module,
    x: Tensor,
    log_snr: Tensor,
    labels: Labels | None,
    shape: Sequence[int | torch.SymInt],
    must: str,
) -> Tensor:
    """Return what a network, which may be anybody's, answers to images of these noise levels, and labels.

    Raises:
        UsageError: it is no tensor of this shape; `must` says in words what it must be.
    """
    found = network(x, log_snr) if labels is None else network(x, log_snr, labels)
    if not isinstance(found, Tensor) or found.shape != tuple(shape):
        said = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(f"the `network` answers {said} to images of {list(x.shape)}: it must answer {must}")
    return found


def build(options: DiffusionOptions) -> UNet:
    """Return the U-Net that a diffusion model's options describe."""
    size = SIZES["small" if options.size == "auto" else options.size]
    if options.width:
        size = replace(size, channels=tuple(options.width * c // size.channels[0] for c in size.channels))
    size = replace(size, blocks=options.blocks or size.blocks, patch=options.patch or size.patch)
    return UNet(size, options.classes, options.inputs, options.outputs)


def _embedding(labels: int, width: int) -> nn.Embedding:
    """Return what `nn.Embedding` is, one row a label; the last is the null label, which stands for any."""
    table = torch.empty(labels, width)
    if not table.is_meta:  # where a checkpoint fills it, and where torch would import a compiler for 3 s
        nn.init.normal_(table)
    embedding: nn.Embedding = nn.Embedding.from_pretrained(table, freeze=False)
    return embedding
