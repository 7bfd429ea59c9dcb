"""The report page: the reference report's figures drawn anew, by the library, into one HTML file."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genmnist.device import choose_device, describe_machine
from genmnist.figures import curves
from genmnist.figures.style import about
from genmnist.files import read_bytes, write_bytes
from genmnist.registry import FAMILIES
from genmnist.report import contents, page
from genmnist.report.contents import EXHIBITS, Drawn, Exhibit
from genmnist.report.sources import Subject, seen_from_here, sources
from genmnist.runs import checkpoint
from genmnist.runs.find import find, find_data
from genmnist.runs.folder import Run
from genmnist.version import versions

Watch = Callable[[int, str], None]  # called with how many figures are drawn, and the file of the next


def report(
    runs: Sequence[str | Path | Run] = (),
    out: str | Path = "report",
    seed: int = 0,
    device: str = "auto",
    data: Mapping[str, Any] | None = None,
    watch: Watch = lambda done, file: None,
) -> tuple[Path, list[Path]]:
    """Write the report: `index.html`, which needs nothing else, and the figures beside it.

    An explorer.html beside them, or beside the folder, is linked.

    Args:
        runs: runs to report on, one a family; the bundled models stand in for the rest.
        out: the folder.
        seed: of the figures.
        device: where to draw.
        data: where real digits come from, as `genmnist.data.load` takes it.
        watch: called before every figure.

    Returns:
        The page, and the figures.

    Raises:
        UsageError, GenmnistError: see `sources`; or the folder cannot be written.
    """
    found, out, place = sources(runs), Path(out), choose_device(device)
    subjects = dict[str, Subject]()
    for family, source in found.items():
        model, header = checkpoint.load(find(family, source.model).path, family)
        real = "traverse" in FAMILIES[family].commands
        test = find_data(model.trained, **data or {}).test if real else None
        subjects[family] = Subject(source, header, model.place(place), seed, test)
        _ = source.evaluation  # says what is wrong before anything starts
    named = options(data or {})
    drawn: list[Drawn] = []
    strips: dict[str, Path] = {}
    # Beside its place at first, so that a figure which cannot be drawn leaves an older report whole.
    with tempfile.TemporaryDirectory() as scratch:
        for number, exhibit in enumerate(EXHIBITS):
            watch(number, exhibit.file)
            subject = subjects[exhibit.family]
            if not exhibit.suits(subject.model):
                continue
            file = Path(scratch) / exhibit.file
            if exhibit.draw:
                drawing = exhibit.draw(subject)
                command = exhibit.command(subject, named)
                drawing.save(file, about(shlex.split(command), subject.source.model, seed))
                drawn.append(Drawn(exhibit, file, command, drawing.facts))
            elif _left_behind(exhibit, subject, file):
                drawn.append(Drawn(exhibit, file, subject.source.training, {}))
        for family, subject in subjects.items():
            strips[family] = Path(scratch) / f"strip-{family}.png"
            contents.strip(subject).save(
                strips[family], about(["genmnist", "report"], subject.source.model, seed)
            )
        colophon = {"machine": describe_machine(), "seed": str(seed), **versions()}
        for one in drawn:
            write_bytes(out / one.path.name, one.path.read_bytes())
        index = page.write(
            contents.page(subjects, strips, drawn, colophon, _explorer(out)),
            out / "index.html",
        )
    return index, [out / one.path.name for one in drawn]


def _explorer(out: Path) -> str:
    """Return the address of the explorer, as seen from the report; empty if there is none."""
    near = ("explorer.html", "../explorer.html")
    return next((address for address in near if (out / address).is_file()), "")


def _left_behind(exhibit: Exhibit, subject: Subject, file: Path) -> bool:
    """Put what a training left behind into a file; tell whether there is anything.

    There is not of a run that was stopped in its first epoch, or trained without pictures.
    """
    source = subject.source
    if exhibit.number == 1:
        lines = [line.flat() for line in source.metrics]
        if lines:
            title, said = f"{source.family} · {subject.header.preset}", shlex.split(source.training)
            curves.losses(lines, file, title, subject.model.unit, about(said, source.model))
        return bool(lines)
    if source.by_epoch.exists():
        file.write_bytes(read_bytes(source.by_epoch, page.LARGEST, "resume the run to have it drawn again"))
    return source.by_epoch.exists()


def options(data: Mapping[str, Any]) -> list[str]:
    """Return data as the options by which a command is given them."""
    words = []
    for name, value in data.items():
        if isinstance(value, bool):
            words += ["--colour" if value else "--grey"]
        elif value is not None:
            words += [f"--{name.replace('_', '-')}", seen_from_here(str(value))]
    return words
