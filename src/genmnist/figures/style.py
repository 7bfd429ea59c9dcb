"""How figures look, and how they are written: one style and one writer for grids and charts."""

from __future__ import annotations

import contextlib
import functools
import shlex
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from genmnist import notebook
from genmnist.files import replacing
from genmnist.text import printable
from genmnist.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Vector
    from PIL import Image, ImageFont

_MOST_SAID = 100_000  # characters of what a picture says of itself
SUFFIXES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Style:
    """Colours: behind everything, of texts, of what is set back, and of the lines of a chart."""

    background: str
    ink: str
    faint: str
    lines: tuple[str, ...]


# The lines are told apart without seeing colours, too (Okabe & Ito 2008, darker or lighter for the ground).
STYLES = {
    "light": Style("#ffffff", "#16181d", "#646a73", ("#0072b2", "#d55e00", "#009e73", "#b0578d")),
    "dark": Style("#181a1f", "#e8eaed", "#969ca6", ("#56b4e9", "#f0a35e", "#3fc79a", "#d98cbb")),
}


@dataclass(frozen=True)
class Look:
    """What may be asked of any figure.

    Args:
        style: a name of `STYLES`.
        scale: how many times to enlarge each pixel of an image; None: as far as a page has room.
        title: a line above; empty: the figure's own, if it has one.
        bounce: run an animation back, too; None: if that is not back into noise.
    """

    style: str = "light"
    scale: int | None = None
    title: str = ""
    bounce: bool | None = None

    @property
    def colours(self) -> Style:
        """Return the colours of its style."""
        return STYLES[self.style]


LOOK = Look()


class Figure(ABC):
    """What can be looked at, and written as PNG, PDF or SVG."""

    dpi: ClassVar[float | None] = None  # what a PNG says of its size on paper

    @abstractmethod
    def image(self, look: Look = LOOK) -> Image.Image:
        """Return the figure in pixels."""

    @abstractmethod
    def vector(self, look: Look = LOOK) -> Vector:
        """Return the figure with its texts as texts, as matplotlib has it."""

    def _repr_png_(self) -> bytes:
        """Show it in a notebook."""
        return notebook.png(self.image())

    def save(self, path: str | Path, about: Mapping[str, str] | None = None, look: Look = LOOK) -> Path:
        """Write the figure, whole or not at all, in the format that the name's ending asks for.

        Args:
            path: where to; one of `SUFFIXES`.
            about: what it says of itself, such as the command that makes it again: by keyword.
            look: how it is to look.

        Raises:
            GenmnistError: the file cannot be written.
        """
        path, about = Path(path), dict(about or {})
        with replacing(path) as temporary:
            if path.suffix in (".pdf", ".svg"):
                _write_vector(self.vector(look), temporary, about, look.title)
            else:
                dpi: dict[str, Any] = {"dpi": (self.dpi, self.dpi)} if self.dpi else {}
                # A sixth of the time of the default level for a fifth more bytes.
                self.image(look).save(temporary, "PNG", compress_level=3, pnginfo=texts(about), **dpi)
        return path


def about(command: Sequence[str], model: str = "", seed: int | None = None) -> dict[str, str]:
    """Return what a picture's metadata says of how to make it again.

    Args:
        command: its words, `sys.argv`. Of another program than genmnist only the name is kept.
        model: which model was looked at, in words.
        seed: what fixes everything random.
    """
    program = Path(command[0]).name if command else ""
    ours = program in ("genmnist", "genmnist.exe", "__main__.py")
    said = {
        "Software": f"genmnist {__version__}",
        "Command": shlex.join(["genmnist", *command[1:]]) if ours else program,
        "Model": model,
        "Seed": "" if seed is None else str(seed),
    }
    return {name: printable(text, _MOST_SAID) for name, text in said.items() if text}


def texts(about: Mapping[str, str]) -> Any:
    """Return texts as chunks of a PNG file."""
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for name, text in about.items():
        chunks.add_text(name, text)
    return chunks


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the letters of every figure, in pixels: those of matplotlib, which know α, ₀ and x̂."""
    from PIL import ImageFont

    spec = find_spec("matplotlib")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    return ImageFont.truetype(folder / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)


def _write_vector(figure: Vector, path: Path, about: dict[str, str], title: str) -> None:
    """Write PDF or SVG, which have their own names for what a file may say of itself."""
    import matplotlib

    said, date = {".pdf": ("Subject", "CreationDate"), ".svg": ("Description", "Date")}[path.suffix]
    lines = "\n".join(f"{name}: {text}" for name, text in about.items() if name != "Software")
    known = {"Creator": about.get("Software"), "Title": printable(title), said: lines}
    metadata = {key: text for key, text in known.items() if text} | {date: None}
    # Texts stay texts, to be searched and edited; and the same figure is the same file.
    own: Any = {"svg.fonttype": "none", "svg.hashsalt": "genmnist", "pdf.fonttype": 42}
    with matplotlib.rc_context(own), unknown_letters():
        figure.savefig(path, metadata=metadata)


@contextlib.contextmanager
def unknown_letters() -> Iterator[None]:
    """Let letters that the font has not be boxes, as everywhere, and not warnings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def plain(text: str) -> str:
    """Return a text of anybody's as matplotlib sets it: as it is, on one line, and in legends too."""
    shown = printable(text).replace("$", r"\$")  # no mathematics
    return f" {shown}" if shown.startswith("_") else shown  # which legends would leave out
