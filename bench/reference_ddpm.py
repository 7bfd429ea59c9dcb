"""The report's diffusion model, as the usual loop has it, for the benchmarks to compare with.

A U-Net of 32-64-128-128 channels with 256 in the middle (6.0 million parameters; the report's has 5.6) on
images padded to 32 x 32, linear schedule, predicted noise, Adam at 2e-4, batches of 256, bfloat16 where the
processor has it, ancestral sampling in 1000 steps.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genmnist.data import load
from genmnist.device import autocast, choose_precision
from genmnist.diffusion import samplers
from genmnist.diffusion.schedules import linear
from genmnist.diffusion.spacings import spaced
from genmnist.diffusion.targets import Denoised, denoised

CHANNELS, MIDDLE = (32, 64, 128, 128), 256
SCHEDULE = linear()


def fastest() -> AbstractContextManager[None]:
    """Compute in bfloat16 where the processor has it; elsewhere that is a hundred times slower."""
    cpu = torch.device("cpu")
    return autocast(cpu, choose_precision("auto", cpu))


class Block(nn.Module):
    """Two convolutions with group normalisation and SiLU; the time is added between them."""

    def __init__(self, channels: int, out: int, features: int = 128) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.GroupNorm(8, out), nn.SiLU())
        self.time = nn.Linear(features, out)
        self.conv2 = nn.Sequential(nn.Conv2d(out, out, 3, padding=1), nn.GroupNorm(8, out), nn.SiLU())
        self.skip = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return the block's output."""
        h = self.conv1(x) + self.time(time)[..., None, None]
        out: Tensor = self.conv2(h) + self.skip(x)
        return out


class ReferenceUNet(nn.Module):
    """A U-Net as the report describes it, without attention."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
        last = CHANNELS[-1]
        self.down = nn.ModuleList(Block(a, b) for a, b in pairwise((1, *CHANNELS)))
        self.middle = nn.ModuleList(Block(a, b) for a, b in pairwise((last, MIDDLE, MIDDLE, MIDDLE)))
        wide = (*CHANNELS[1:], MIDDLE)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(c, c, 2, stride=2) for c in wide)
        self.up = nn.ModuleList(Block(a + b, b) for a, b in zip(wide, CHANNELS, strict=True))
        self.head = nn.Conv2d(CHANNELS[0], 1, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the predicted noise in x at integer timesteps t."""
        phases = t[:, None] * torch.logspace(0, -4, 32, device=x.device)
        time = self.time(torch.cat((phases.sin(), phases.cos()), -1))
        kept = []
        for block in self.down:
            kept.append(block(x, time))
            x = F.max_pool2d(kept[-1], 2)
        for block in self.middle:
            x = block(x, time)
        for grow, block in zip(reversed(self.grow), reversed(self.up), strict=True):
            x = block(torch.cat((grow(x), kept.pop()), 1), time)
        out: Tensor = self.head(x)
        return out


def train(seconds: float, seed: int = 0) -> tuple[ReferenceUNet, int]:
    """Train for so many seconds; return the network and how many images it saw."""
    torch.manual_seed(seed)
    network = ReferenceUNet()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4)
    images = F.pad(load("mnist").train.images.unsqueeze(1).float() / 127.5 - 1, (2, 2, 2, 2), value=-1.0)
    alphas, sigmas = (
        part(torch.arange(1000)).float()[:, None, None, None] for part in (SCHEDULE.alpha, SCHEDULE.sigma)
    )
    started, seen = time.perf_counter(), 0
    while True:
        for index in torch.randperm(len(images)).split(256):
            if time.perf_counter() - started >= seconds:
                return network.eval(), seen
            t = torch.randint(1000, (len(index),))
            noise = torch.randn(len(index), 1, 32, 32)
            x = alphas[t] * images[index] + sigmas[t] * noise
            with fastest():
                prediction = network(x, t.float())
            loss = F.mse_loss(prediction.float(), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(index)


@torch.inference_mode()
def sample(network: ReferenceUNet, num: int, sampler: str, steps: int, batch: int = 100) -> Iterator[Tensor]:
    """Yield batches of images, uint8 [b, 28, 28]: `ancestral`, as the report has it, or `dpm-solver`."""

    def denoise(x: Tensor, t: float) -> Denoised:
        with fastest():
            prediction = network(x, torch.full((len(x),), t)).float()
        levels = SCHEDULE.alpha(t).float(), SCHEDULE.sigma(t).float()
        return denoised("epsilon", prediction, x, *levels)

    timesteps = spaced(SCHEDULE, steps)
    for first in range(0, num, batch):
        x = torch.randn(min(batch, num - first), 1, 32, 32)
        if sampler == "ancestral":
            noise = functools.partial(torch.randn_like, x)
            walk = samplers.ancestral(denoise, x, SCHEDULE, timesteps, noise)
        else:
            clipped = samplers.thresholded(denoise, SCHEDULE)
            walk = samplers.dpm_solver(clipped, x, SCHEDULE, timesteps)
        *_, last = walk
        yield ((last.x[:, 0, 2:-2, 2:-2] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
