"""How far real digits lie from real digits: by how many they are, and by how many of each class.

    python bench/real_digits.py [--nums 500,1000,2000,5000,10000] [--sets 5]

Fréchet distances of training images to the 10,000 test images in the features of the bundled classifier, the
mean and the standard deviation of `--sets` draws: of any of them, of as many of each class, and dealt as
`Dataset.deal` deals labels, of each class as many as training images have of it.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from torch import Tensor

from genmnist import api
from genmnist.data import Dataset, load
from genmnist.device import choose_device, describe_machine
from genmnist.evaluation import distances


def order(data: Dataset, seed: int) -> Tensor:
    """Return the numbers of all images in an order of chance."""
    return torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))


def dealt(data: Dataset, labels: Tensor, seed: int) -> Tensor:
    """Return the numbers of the first images in the order of that seed that have these labels."""
    mixed = order(data, seed)
    own, wanted = data.labels[mixed], labels.bincount()
    return torch.cat([mixed[own == label][:count] for label, count in enumerate(wanted.tolist())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nums", default="500,1000,2000,5000,10000")
    parser.add_argument("--sets", type=int, default=5)
    options = parser.parse_args()
    print(f"{describe_machine()}; {api.versions()}")
    space, data = distances.bundled_features(choose_device("cpu")), load("mnist").validated_on_test()
    ours, theirs = (space.features(part.images) for part in (data.train, data.test))
    print("    n   any                  as many of each      dealt")
    for num in map(int, options.nums.split(",")):
        found: list[list[float]] = []
        for seed in range(options.sets):
            shares = torch.arange(num) % data.classes, data.train.deal(num, seed)
            draws = order(data.train, seed)[:num], *(dealt(data.train, labels, seed) for labels in shares)
            found.append([distances.frechet(ours[draw], theirs) for draw in draws])
        columns = [f"{statistics.mean(c):.4f} ± {statistics.stdev(c):.4f}" for c in zip(*found, strict=True)]
        print(f"{num:6}  " + "      ".join(columns), flush=True)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
