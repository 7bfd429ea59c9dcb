"""Charts, in panels: how numbers change over training, strength, noise or the way; where codes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from PIL import Image

from genmnist.figures.style import LOOK, Figure, Look, Style, plain, unknown_letters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Vector

Numbers = Sequence[float | int]
_DPI = 150
_MARKS = "os^D"
_CLASSES = "tab10"  # matplotlib's colours for kinds of things


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

    def paint(self, axes: Axes, style: Style) -> None:
        """Draw the lines."""
        from matplotlib.ticker import LogLocator, MaxNLocator, StrMethodFormatter

        for number, (name, (x, y)) in enumerate(self.lines.items()):
            kind = number % len(style.lines)
            axes.plot(
                x, y, ("-", "--", "-.", ":")[kind], color=style.lines[kind], label=plain(name),
                marker="" if len(x) > 40 else _MARKS[kind], markersize=3.5, linewidth=1.4,
            )  # fmt: skip
        axes.set(xlabel=self.xlabel, ylabel=self.ylabel, title=plain(self.title))
        if self.log:
            axes.set_yscale("log")
            for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                axis(StrMethodFormatter("{x:g}"))
            low, high = axes.get_ylim()
            if high > 10 * low:  # of more than one decade, nine labels each have no room
                axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        if self.shares:
            axes.set_ylim(-0.02, 1.02)
        if self.falling:
            axes.invert_xaxis()
        if self.integers:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, color=style.faint, linewidth=0.6)
        if len(self.lines) > 1:
            axes.legend(frameon=False, fontsize="small", labelcolor=style.ink)


@dataclass(frozen=True)
class Cloud:
    """One pair of axes, with a mark an image: its class by colour and, if all names are short, by name."""

    x: Numbers
    y: Numbers
    classes: Sequence[int]
    names: Sequence[str]
    xlabel: str
    ylabel: str
    title: str = ""

    def paint(self, axes: Axes, style: Style) -> None:
        """Draw the marks."""
        import numpy as np
        from matplotlib import color_sequences

        points, classes = np.column_stack((self.x, self.y)), np.asarray(self.classes)
        palette, named = color_sequences[_CLASSES], all(len(n) == 1 and n.isalnum() for n in self.names)
        for k in np.unique(classes):
            x, y = points[classes == k].T
            axes.scatter(
                x, y, s=14 if named else 6, marker=f"${self.names[k]}$" if named else "o",
                color=palette[k % len(palette)], alpha=0.8, linewidths=0, label=plain(self.names[k]),
            )  # fmt: skip
        axes.set(xlabel=self.xlabel, ylabel=self.ylabel, title=plain(self.title), aspect="equal")
        axes.spines[["top", "right"]].set_visible(False)
        if not named:
            axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), labelcolor=style.ink)


@dataclass(frozen=True)
class Chart(Figure):
    """Panels in rows, equally many in each; `width` and `height` of each in inches."""

    dpi: ClassVar[float | None] = _DPI
    panels: Sequence[Sequence[Panel | Cloud]]
    width: float = 4.4
    height: float = 3.2

    def image(self, look: Look = LOOK) -> Image.Image:
        """Return the chart in pixels."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas: Any = FigureCanvasAgg(self.vector(look))
        with unknown_letters():
            canvas.draw()
        size = canvas.get_width_height()
        return Image.frombytes("RGBA", size, bytes(canvas.buffer_rgba())).convert("RGB")

    def vector(self, look: Look = LOOK) -> Vector:
        """Return the chart with its texts as texts."""
        import matplotlib
        from matplotlib.figure import Figure as Vector

        style, (rows, columns) = look.colours, (len(self.panels), len(self.panels[0]))
        coloured = ("text.color", "axes.labelcolor", "axes.titlecolor")
        set_back = ("axes.edgecolor", "xtick.color", "ytick.color")
        own: Any = dict.fromkeys(coloured, style.ink) | dict.fromkeys(set_back, style.faint)
        own |= dict.fromkeys(("figure.facecolor", "axes.facecolor"), style.background)
        own |= {"font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 9, "axes.linewidth": 0.7}
        with matplotlib.rc_context(own):
            size = (self.width * columns, self.height * rows)
            figure = Vector(size, dpi=_DPI * (look.scale or 1), layout="constrained")
            for row, places in zip(self.panels, figure.subplots(rows, columns, squeeze=False), strict=True):
                for panel, place in zip(row, places, strict=True):
                    panel.paint(place, style)
            if look.title:
                figure.suptitle(plain(look.title), fontsize=10)
        return figure


def losses(
    metrics: Sequence[dict[str, Any]],
    path: str | Path,
    title: str,
    unit: str,
    about: Mapping[str, str] | None = None,
    look: Look = LOOK,
) -> Path:
    """Draw training and validation loss by epoch (figure 1), and beside it the two terms of a VAE's.

    Of less than two epochs they are drawn by step.

    Raises:
        GenmnistError: the file cannot be written.
    """
    by = "step" if metrics[-1]["epoch"] < 2 and "step" in metrics[-1] else "epoch"
    places = [line[by] for line in metrics]

    def panel(names: Mapping[str, str], title: str = "") -> Panel:
        lines = {
            f"{name}, {metrics[-1][key]:.5g} at last" if key.startswith("val_") else name: (
                places, [line[key] for line in metrics]
            )
            for key, name in names.items()
        }  # fmt: skip
        return Panel(lines, by, f"loss in {unit}", title, integers=True)

    panels = [panel({"train_loss": "training", "val_loss": "validation"}, title)]
    if "val_kl" in metrics[-1]:
        panels.append(
            panel({"val_reconstruction": "reconstruction", "val_kl": "KL"}, "validation, by its terms")
        )
    return Chart([panels], 5.5 if len(panels) == 1 else 4.4).save(path, about, look)


def compare(runs: Mapping[str, tuple[str, str, Sequence[dict[str, Any]]]]) -> Chart:
    """Return the losses of runs by images seen and by time, a row a family.

    Args:
        runs: the family, the name of the loss and its course of each, by name.
    """

    def panel(family: str, loss: str, key: str) -> Panel:
        lines = {
            name: ([line[key] for line in course], [line[loss] for line in course])
            for name, (*own, course) in runs.items()
            if own == [family, loss]
        }
        return Panel(lines, key, loss, family)

    kinds = sorted({(family, loss) for family, loss, _ in runs.values()})
    rows = [[panel(*kind, "images seen"), panel(*kind, "seconds")] for kind in kinds]
    return Chart(rows)
