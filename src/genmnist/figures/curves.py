"""Curves, in panels: how numbers change over training, strength, noise or the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmnist.files import replacing

Numbers = Sequence[float | int]


@dataclass(frozen=True)
class Panel:
    """One pair of axes, with a line for each name: its x and its y."""

    lines: Mapping[str, tuple[Numbers, Numbers]]
    xlabel: str
    ylabel: str
    title: str = ""
    log: bool = False
    falling: bool = False  # x runs from right to left, as t does in the reverse process
    shares: bool = False  # y lies between 0 and 1
    integers: bool = False  # x counts


def draw(
    panels: Sequence[Sequence[Panel]], path: str | Path, width: float = 4.6, height: float = 3.4
) -> Path:
    """Draw panels in rows and columns, whole or not at all.

    Args:
        panels: rows of equally many.
        path: where to.
        width, height: of each, in inches.

    Raises:
        GenmnistError: the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows, columns = len(panels), len(panels[0])
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel, place in zip((panel for row in panels for panel in row), axes.flat, strict=True):
        for number, (name, (x, y)) in enumerate(panel.lines.items()):
            style = "-" if len(x) > 40 else ("o-", "s--", "^-.", "v:")[number % 4]
            place.plot(x, y, style, markersize=3.5, label=_plain(name))
        place.set(xlabel=panel.xlabel, ylabel=panel.ylabel, title=_plain(panel.title))
        if panel.log:
            place.set_yscale("log")
        if panel.shares:
            place.set_ylim(-0.02, 1.02)
        if panel.falling:
            place.invert_xaxis()
        if panel.integers:
            place.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        place.spines[["top", "right"]].set_visible(False)
        place.grid(alpha=0.3)
        if len(panel.lines) > 1:
            place.legend(frameon=False, fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return Path(path)


def losses(metrics: Sequence[dict[str, Any]], path: str | Path, title: str, unit: str) -> Path:
    """Draw training and validation loss by epoch (figure 1). Raises GenmnistError as `draw` does."""
    epochs = [line["epoch"] for line in metrics]
    names = {"train_loss": "training", "val_loss": f"validation, {metrics[-1]['val_loss']:.5g} at last"}
    lines = {label: (epochs, [line[key] for line in metrics]) for key, label in names.items()}
    panel = Panel(lines, "epoch", f"loss in {unit}", title, integers=True)
    return draw([[panel]], path, 7.0, 4.2)


def compare(runs: Mapping[str, tuple[str, str, Sequence[dict[str, Any]]]], path: str | Path) -> Path:
    """Draw the losses of runs by images seen and by time, a row a family.

    Args:
        runs: the family, the name of the loss and its course of each, by name.
        path: where to.

    Raises:
        GenmnistError: the file cannot be written.
    """

    def panel(family: str, loss: str, key: str) -> Panel:
        lines = {
            name: ([line[key] for line in course], [line[loss] for line in course])
            for name, (*own, course) in runs.items()
            if own == [family, loss]
        }
        return Panel(lines, key, loss, family)

    kinds = sorted({(family, loss) for family, loss, _ in runs.values()})
    return draw([[panel(*kind, "images seen"), panel(*kind, "seconds")] for kind in kinds], path)


def tradeoffs(
    found: Mapping[str, Sequence[tuple[float | int, dict[str, float]]]],
    path: str | Path,
    xlabel: str = "strength",
) -> Path:
    """Draw what a strength changes: a column a name, its `distance` above, shares between 0 and 1 below.

    Raises:
        GenmnistError: the file cannot be written.
    """

    def panel(title: str, rows: Sequence[tuple[float | int, dict[str, float]]], distance: bool) -> Panel:
        names = [name for name in rows[0][1] if (name == "distance") == distance]
        lines = {name: ([x for x, _ in rows], [values[name] for _, values in rows]) for name in names}
        if distance:
            return Panel(lines, xlabel, "distance / floor", title, log=True)
        return Panel(lines, xlabel, "share", shares=True)

    return draw([[panel(name, rows, above) for name, rows in found.items()] for above in (True, False)], path)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # matplotlib would set it as mathematics
