"""`genmnist export`: a model for runtimes without torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from genmnist.cli import options as opt
from genmnist.cli import values
from genmnist.cli.console import Output
from genmnist.families import Family
from genmnist.runs.find import find


def command(family: Family) -> Callable[..., None]:
    """Return `export` for a family."""

    def export(
        *,
        out: Annotated[
            Path,
            typer.Option(
                metavar="FOLDER",
                help=f"The folder for the .onnx files and {family.name}.json, which says how to use them.",
            ),
        ] = Path("onnx"),
        half: Annotated[
            bool,
            typer.Option("--half", help="Store weights in 16 bits: half the size. It computes in float32."),
        ] = False,
        model: opt.Model = None,
        output: Output,
    ) -> None:
        values.check_folder(out)
        found = find(family.name, model)

        import msgspec

        from genmnist import api

        loaded = api.load_found(found, family.name, "cpu")
        output.say(f"model: {found.origin}")
        document = api.export(loaded, out, half=half)
        files = [out / graph.file for graph in document.graphs.values()]
        for graph, path in zip(document.graphs.values(), files, strict=True):
            ends = (", ".join(port.name for port in ports) for ports in (graph.inputs, graph.outputs))
            output.say(f"{path}: {' -> '.join(ends)}, {path.stat().st_size / 1e6:.1f} MB")
        output.note(model=found.origin, files=[str(path) for path in files])
        output.note(document=msgspec.to_builtins(document))
        output.wrote(out / f"{family.name}.json")

    examples = (
        f"export {family.name} --out onnx",
        f"export {family.name} --model runs/{family.name}/short --half --out onnx",
    )
    return opt.with_options(export, panel="What to write", examples=examples)
