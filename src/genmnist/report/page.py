"""A report as one HTML file that needs nothing else: pictures, tables and text, to be mailed or kept."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import jinja2
from markupsafe import Markup, escape
from PIL import Image, ImageSequence

from genmnist.errors import GenmnistError
from genmnist.files import read_bytes, write_bytes
from genmnist.text import without_controls

_ENLARGED = 480  # pixels: what is narrower is shown at the greatest whole multiple that is not wider
_LOWEST = 90  # pixels: what would have to be lower to fit into the window is scrolled sideways instead
_WHITE = 240  # of 255: a plot that is lighter in its corner is on white, and is inverted on a dark page
# What Pillow raises for files that are not what they should be.
_UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, ZeroDivisionError, Image.DecompressionBombError)
_NUMBER = re.compile(r"[<>≤≥≈~]?\s?[+−-]?\d[\d,.]*(e[+-]?\d+)?(\s?±\s?[\d,.]+)?(\s?([%×]|[^\W\d]\S*))?", re.I)
_TALLEST = 640  # pixels: what is higher is shrunk until the reader asks for its full size
LARGEST = 1 << 26  # bytes of a picture
_LONG = 30  # characters of a word of a command; longer ones may be broken where a path has a seam
_NOTHING = {"", "-", "–", "—"}


@dataclass(frozen=True)
class Picture:
    """A PNG or GIF and what belongs to it.

    Args:
        caption: one or two sentences underneath; they may start with what is shown.
        alt: what there is to see, for those who cannot.
        source: a file or its content. A GIF with several frames can be stopped by the reader, and stands
            still, on the frame that it shows longest, for those who asked their system for less motion.
        command: the shell command that draws it.
        facts: measured figures, by name.
        number: of the figure; those without one continue after the greatest.
    """

    kind: ClassVar = "figure"
    caption: str
    alt: str
    source: Path | bytes
    command: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    number: int | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells below their heads; the first cell of a row names it.

    Args:
        caption: a sentence above.
        heads: a name a column.
        rows: as many cells each as there are heads, already formatted.
        note: a sentence underneath.

    Raises:
        ValueError: a row has more or fewer cells than there are heads.
    """

    kind: ClassVar = "table"
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.heads) for row in self.rows):
            raise ValueError(f"not every row of {self.caption!r} has {len(self.heads)} cells")

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers, with units or without, and nothing else."""
        columns = [[row[place].strip() for row in self.rows] for place in range(len(self.heads))]
        found = [[cell for cell in column if cell not in _NOTHING] for column in columns]
        return [bool(cells) and all(map(_NUMBER.fullmatch, cells)) for cells in found]


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs parted by blank lines, and pictures and tables in the order of their mention."""

    title: str
    text: str = ""
    items: Sequence[Picture | Table] = ()


@dataclass(frozen=True)
class Page:
    """A report.

    Args:
        title: its heading.
        lead: what it shows and finds, in paragraphs parted by blank lines.
        further: where to go on, as words and an address, which may be empty.
        opening: pictures by which it begins, without numbers.
        sections: its body.
        glossary: what words mean; wherever else one is used, it is linked to its line there.
        colophon: what it was made with, by name: machine, versions, seeds.
    """

    title: str
    lead: str
    opening: Sequence[Picture] = ()
    sections: Sequence[Section] = ()
    glossary: Mapping[str, str] = field(default_factory=dict)
    colophon: Mapping[str, str] = field(default_factory=dict)
    further: tuple[str, str] | None = None


def write(page: Page, path: Path) -> Path:
    """Write a page with all its pictures inside, whole or not at all. All text in it is shown as it is.

    Raises:
        GenmnistError: a picture cannot be read, or the file cannot be written.
        ValueError: two pictures have the same number.
    """
    opening = [(picture, _embed(picture.source)) for picture in page.opening]
    html = _template(page.glossary).render(
        page=page, opening=opening, sections=_placed(page), tallest=_TALLEST
    )
    # What has no place in UTF-8, such as half a character in the name of a file, becomes a question mark.
    write_bytes(path, without_controls(html).encode(errors="replace"))
    return path


@dataclass(frozen=True)
class _Embedded:
    """A picture as the page holds it: data URIs, and the size in which it is shown if there is room."""

    src: str
    still: str  # empty if the picture does not move
    width: int
    height: int
    least: int  # of the width, whatever the room
    kind: str  # "enlarged" pixels, a "plot" on white, or neither


@dataclass(frozen=True)
class _Placed:
    """A picture or table with its number."""

    item: Picture | Table
    number: int
    image: _Embedded | None

    @property
    def anchor(self) -> str:
        return f"{self.item.kind}-{self.number}"

    @property
    def name(self) -> str:
        return f"{self.item.kind.capitalize()} {self.number}"


def _placed(page: Page) -> list[tuple[Section, list[_Placed]]]:
    given = [i.number for s in page.sections for i in s.items if isinstance(i, Picture) and i.number]
    if len(set(given)) < len(given):
        raise ValueError(f"two pictures have the same number: {given}")
    further, tables = itertools.count(max(given, default=0) + 1), itertools.count(1)

    def place(item: Picture | Table) -> _Placed:
        if isinstance(item, Table):
            return _Placed(item, next(tables), None)
        return _Placed(item, item.number or next(further), _embed(item.source))

    return [(section, [place(item) for item in section.items]) for section in page.sections]


def _embed(source: Path | bytes) -> _Embedded:
    name = source if isinstance(source, Path) else "a picture of the page"
    try:
        content = read_bytes(source, LARGEST, "draw it again") if isinstance(source, Path) else source
        with Image.open(BytesIO(content), formats=("PNG", "GIF")) as image:
            mime, still = f"{image.get_format_mimetype()}", ""
            # A plot knows how many dots it has to an inch of its own size; CSS has 96.
            across, down = image.info.get("dpi", (96, 96))
            width, height = round(image.width * 96 / across) or 1, round(image.height * 96 / down) or 1
            # Reading all of it finds what is cut off here, before the reader does.
            white = min(image.convert("RGB").crop((0, 0, 1, 1)).tobytes()) > _WHITE and "dpi" in image.info
            if getattr(image, "is_animated", False):
                still = _uri(_longest(image), "image/png")
    except (GenmnistError, *_UNREADABLE) as error:
        raise GenmnistError(f"cannot show {name}: it is no readable PNG or GIF file") from error
    scale = max(1, _ENLARGED // width)
    width, height = width * scale, height * scale
    least = min(width, _LOWEST * width // height)
    kind = "plot" if white else "enlarged" if scale > 1 else ""
    return _Embedded(_uri(content, mime), still, width, height, least, kind)


def _longest(animation: Image.Image) -> bytes:
    """Return the frame that is shown longest, the last of several, as a PNG."""
    buffer, longest = BytesIO(), -1
    for frame in ImageSequence.Iterator(animation):
        if frame.info.get("duration", 0) >= longest:
            longest, still = frame.info.get("duration", 0), frame.copy()
    still.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _template(glossary: Mapping[str, str]) -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["paragraphs"] = lambda text: list(filter(None, re.split(r"\n\s*\n", text.strip())))
    environment.filters["linked"] = lambda text: _linked(text, glossary)
    environment.filters["anchor"] = _anchor
    environment.filters["breakable"] = _breakable
    return environment.from_string(files(__package__).joinpath("page.html.j2").read_text("utf-8"))


def _linked(text: str, glossary: Mapping[str, str]) -> Markup:
    """Return a text with the first use of each word of the glossary linked to its explanation."""
    if not glossary:
        return escape(text)
    found, seen = Markup(), set[str]()
    words = "|".join(re.escape(word) for word in sorted(glossary, key=len, reverse=True))
    last = 0
    for match in re.finditer(rf"(?<![\w-])({words})(?![\w-])", text):
        if (word := match[0]) not in seen:
            link = Markup('<a class="term" href="#{}">{}</a>').format(_anchor(word), word)
            found += escape(text[last : match.start()]) + link
            last = match.end()
            seen.add(word)
    return found + escape(text[last:])


def _anchor(word: str) -> str:
    return f"word-{re.sub(r'[^a-z0-9]+', '-', word.lower())}"


def _breakable(command: str) -> Markup:
    """Return a command that wraps between its words, and within the longest after / and comma alone."""

    def span(word: str) -> Markup:
        pieces = [word] if len(word) < _LONG else re.findall(r"[^/,]*[/,]|[^/,]+", word)
        return Markup("<wbr>").join(map(Markup("<span>{}</span>").format, pieces))

    return Markup(" ").join(map(span, command.split(" ")))
