"""MNIST resident in memory, and any set in its format."""

from genmnist.data.dataset import Dataset, Splits, quantise, scale
from genmnist.data.idx import read_idx, write_idx
from genmnist.data.sources import DOWNLOADS, describe, load

__all__ = ["DOWNLOADS", "Dataset", "Splits", "describe", "load", "quantise", "read_idx", "scale", "write_idx"]
