"""A classifier that has nothing in common with the one that ships, to judge which digits a model drew.

A plain convolutional network with batch normalisation and max pooling, trained by torch's own AdamW from
another seed on images shifted at random.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genmnist.data import Splits
from reference_ddpm import fastest

_SEED = 20_000


def _layer(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU())


def build() -> nn.Sequential:
    """Return the untrained network: pixels in [0, 1] to logits."""
    torch.manual_seed(_SEED)
    return nn.Sequential(
        _layer(1, 32), _layer(32, 32), nn.MaxPool2d(2),
        _layer(32, 64), _layer(64, 64), nn.MaxPool2d(2),
        _layer(64, 128), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128 * 9, 10),
    )  # fmt: skip


def train(data: Splits, epochs: int = 8, batch: int = 128) -> nn.Sequential:
    """Train the judge on the training images."""
    network = build().train()
    images, labels = data.train.images, data.train.labels
    steps = epochs * -(-len(images) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for index in torch.randperm(len(images)).split(batch):
            x = F.pad(images[index].unsqueeze(1).float() / 255, (2, 2, 2, 2))
            down, right = torch.randint(5, (2,)).tolist()
            x = x[:, :, down : down + 28, right : right + 28]
            with fastest():
                loss = F.cross_entropy(network(x), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def verdicts(network: nn.Module, images: Tensor) -> Tensor:
    """Return the label that the judge reads in each image, uint8 [n, 28, 28]."""
    return torch.cat([network(part.unsqueeze(1).float() / 255).argmax(-1) for part in images.split(1000)])
