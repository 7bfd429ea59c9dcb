"""`genmnist report`: the reference report made again, as one page, by the commands that it shows."""

import contextlib
import io
import json
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from genmnist.cli import options as opt
from genmnist.cli.console import Output
from genmnist.errors import UsageError
from genmnist.files import write_bytes
from genmnist.runs import Run, find


def _report(
    digits: opt.RealDigits,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...", help="Runs to report on, one a family.", show_default="the bundled models"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for index.html and the figures.")] = Path("report"),
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Make one self-contained page with the eight figures of the reference report, and what was measured."""
    output = Output("report", as_json, quiet)
    families = ("vae", "ddpm", "cfg")
    chosen: dict[str, Run] = {}
    for folder in runs or []:
        run = Run.open(folder)
        family = str(run.config.get("family"))
        if family not in families:
            raise UsageError(f"{folder} is a run of {family}: the report is of {', '.join(families)}")
        if family in chosen:
            raise UsageError(f"the report takes one run of each family, and {folder} is a second {family}")
        find(family, folder)  # says what is wrong before anything starts
        chosen[family] = run
    opt.check_folder(out)

    from genmnist import api
    from genmnist.device import describe_machine
    from genmnist.figures import curves, page
    from genmnist.figures import report as contents

    sources = {family: contents.Source(family, chosen.get(family)) for family in families}
    documents = {}
    for family, source in sources.items():
        document, weights = api.info(find(family, source.model).path)
        documents[family] = vars(document) | {"parameters": sum(t.numel() for t in weights.values())}
        _ = source.evaluation  # says what is wrong before anything starts
    drawn: list[tuple[contents.Drawing, Path, dict[str, Any]]] = []
    # Beside its place at first, so that a figure which cannot be drawn leaves an older report whole.
    total = len(contents.DRAWINGS)
    with tempfile.TemporaryDirectory() as scratch, output.progress("drawing", total) as advance:
        for number, drawing in enumerate(contents.DRAWINGS):
            advance(number, drawing.file)
            source, file, said = sources[drawing.family], Path(scratch) / drawing.file, {}
            if drawing.words[0] != "train":
                words = drawing.command(source, seed, documents[drawing.family]["options"].get("classes", 10))
                more = _data(digits) if drawing.words[0] == "traverse" else []
                said = _run([*words[:-1], str(file), "--device", device, *more])
                said["line"] = shlex.join(["genmnist", *words, *more])
            elif drawing.family == "vae" and (metrics := source.metrics):
                curves.losses(metrics, file, f"vae · {documents['vae']['preset']}", "nats an image")
            elif drawing.family != "vae" and source.by_epoch.exists():
                shutil.copyfile(source.by_epoch, file)
            else:
                continue  # it was stopped in its first epoch, or trained with --sample-every 0
            drawn.append((drawing, file, said))
        colophon = {"machine": describe_machine(), "seed": str(seed), **api.versions()}
        whole = contents.page(sources, documents, drawn, colophon)
        for drawing, file, _ in drawn:
            write_bytes(out / drawing.file, file.read_bytes())
        path = page.write(whole, out / "index.html")
    output.note(figures=[str(out / drawing.file) for drawing, _, _ in drawn])
    output.wrote(path)
    output.finish()


def _data(digits: opt.RealDigits) -> list[str]:
    """Return the options that name real digits."""
    named = {"--dataset": digits.dataset, "--data-dir": digits.data_dir}
    return [word for name, value in named.items() if value for word in (name, str(value))]


def _run(words: list[str]) -> dict[str, Any]:
    """Run another command of genmnist, quietly, and return what it says to scripts."""
    from genmnist.cli.app import app

    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = app([*words, "--quiet", "--json"], standalone_mode=False)
    if status:  # it was interrupted
        raise KeyboardInterrupt
    document: dict[str, Any] = json.loads(said.getvalue())
    return document


report = opt.with_options(_report, {"digits": opt.RealDigits})
