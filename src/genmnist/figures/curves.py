"""Curves over training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genmnist.files import replacing


def losses(metrics: Sequence[dict[str, Any]], path: str | Path, title: str, unit: str) -> Path:
    """Draw training and validation loss by epoch (figure 1), whole or not at all.

    Raises:
        GenmnistError: the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [line["epoch"] for line in metrics]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for key, label, style in (("train_loss", "training", "--"), ("val_loss", "validation", "-")):
        values = [line[key] for line in metrics]
        axes.plot(epochs, values, style, marker="o", markersize=3.5, label=label)
    last = metrics[-1]["val_loss"]
    axes.annotate(f"{last:.5g}", (epochs[-1], last), xytext=(0, 6), textcoords="offset points", ha="right")
    axes.set(xlabel="epoch", ylabel=f"loss in {unit}", title=title.replace("$", r"\$"))
    axes.set_xlim(0.5, len(metrics) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return Path(path)
