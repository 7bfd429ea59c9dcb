"""Train the reference VAE twice, as the reference code does and as genmnist does, and compare wall times.

    python bench/vae_training.py [--epochs 20] [--rounds 3]

The reference is the usual loop, written from the report's description: torchvision's MNIST with ToTensor
behind a shuffling DataLoader, the network with its sigmoid, binary cross-entropy on probabilities, plain
Adam, a pass over the test set after each epoch. Both train the same 784-400-20-400-784 network with batches
of 128 at a rate of 1e-3, on the same cores, in turns, each training in a fresh process so that neither
inherits the other's settings. Both are timed whole, imports aside: reading the data, training, validation;
ours also saves its state, draws its samples and its curves, and writes its run folder.
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from genmnist import api
from genmnist.data.sources import BUNDLED
from genmnist.device import describe_machine


class ReferenceVAE(nn.Module):
    """The report's network."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 400)
        self.fc21 = nn.Linear(400, 20)
        self.fc22 = nn.Linear(400, 20)
        self.fc3 = nn.Linear(20, 400)
        self.fc4 = nn.Linear(400, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction's probabilities, the mean and the log-variance."""
        hidden = F.relu(self.fc1(x))
        mean, log_variance = self.fc21(hidden), self.fc22(hidden)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(log_variance)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mean, log_variance


def reference_loss(model: ReferenceVAE, images: Tensor) -> Tensor:
    """Return the negative ELBO summed over a batch."""
    x = images.view(-1, 784)
    reconstruction, mean, log_variance = model(x)
    cross_entropy = F.binary_cross_entropy(reconstruction, x, reduction="sum")
    return cross_entropy - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())


def train_reference(root: Path, epochs: int, seed: int) -> tuple[float, float]:
    """Return the wall time in seconds and the last validation loss of the reference loop."""
    torch.manual_seed(seed)
    started = time.perf_counter()
    to_tensor = transforms.ToTensor()
    train = DataLoader(
        datasets.MNIST(str(root), train=True, transform=to_tensor), batch_size=128, shuffle=True
    )
    test = DataLoader(datasets.MNIST(str(root), train=False, transform=to_tensor), batch_size=128)
    model = ReferenceVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    validation = 0.0
    for _ in range(epochs):
        model.train()
        total = 0.0
        for images, _labels in train:
            optimizer.zero_grad()
            loss = reference_loss(model, images) / len(images)
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            validation = sum(reference_loss(model, images).item() for images, _ in test) / 10_000
    return time.perf_counter() - started, validation


def train_ours(folder: Path, epochs: int, seed: int, precision: str) -> tuple[float, float]:
    """Return the wall time in seconds and the last validation loss of `genmnist train vae`."""
    started = time.perf_counter()
    run = api.train(
        "vae", "report", recipe={"epochs": epochs}, seed=seed, precision=precision, device="cpu", out=folder
    )
    return time.perf_counter() - started, run.summary.metrics["val_loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    print(f"{options.rounds} rounds of {options.epochs} epochs: seconds, validation loss (nats an image)")
    results: dict[str, list[tuple[float, float]]] = {
        "reference": [],
        "genmnist float32": [],
        "genmnist auto": [],
    }
    fresh = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with tempfile.TemporaryDirectory() as name, fresh:
        root = Path(name)
        raw = root / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for path in BUNDLED.glob("*.gz"):
            (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        for seed in range(options.rounds):
            for kind, times in results.items():
                if kind == "reference":
                    times.append(fresh.submit(train_reference, root, options.epochs, seed).result())
                else:
                    precision = kind.split()[1]
                    folder = root / f"{precision}-{seed}"
                    times.append(fresh.submit(train_ours, folder, options.epochs, seed, precision).result())
                print(f"  {kind:18} {times[-1][0]:7.1f} s   {times[-1][1]:.2f}", flush=True)
    base = statistics.median(seconds for seconds, _ in results["reference"])
    print("medians:")
    for kind, times in results.items():
        seconds, loss = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"  {kind:18} {seconds:7.1f} s   {loss:.2f}   {base / seconds:4.1f} times the reference's speed"
        )


if __name__ == "__main__":
    main()
