"""The explorer written: models, digits and scripts into one HTML file."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from genmnist import exporting
from genmnist.data import Dataset
from genmnist.errors import UsageError
from genmnist.explorer.bundle import link
from genmnist.explorer.graphs import graphs
from genmnist.explorer.packing import pack, spell
from genmnist.files import write_text
from genmnist.models import VAE, Classifier, Diffusion
from genmnist.registry import FAMILIES
from genmnist.report.sources import sources
from genmnist.runs import checkpoint
from genmnist.runs.find import find, find_data
from genmnist.runs.folder import Run
from genmnist.version import __version__

Watch = Callable[[int, str], None]  # called with how many models are packed, and the name of the next

_PARTS = (
    ("draw", "Draw", "Draw a digit, and see what a classifier and an autoencoder make of it."),
    (
        "diffusion",
        "Diffusion",
        "A digit comes out of noise, step by step. Stop it, go back, go on otherwise.",
    ),
)
_DIGITS = 1000  # test digits that the page carries
_SAMPLERS = ("dpm-solver", "ddim", "heun", "ancestral", "consistency")  # those of js/samplers.js
_SETTINGS = ("steps", "spacing", "eta")  # what the page sets of each
_MOST_STEPS = 100  # in a browser


def explorer(
    runs: Sequence[str | Path | Run] = (),
    out: str | Path = "explorer.html",
    data: Mapping[str, Any] | None = None,
    watch: Watch = lambda done, name: None,
) -> Path:
    """Write the explorer: one page that needs nothing else, not even a network.

    Args:
        runs: runs to explore, one a family; the bundled models stand in for the rest.
        out: the file.
        data: where real digits come from, as `genmnist.data.load` takes it.
        watch: called before every model.

    Raises:
        UsageError: see `genmnist.report.sources.sources`; or models draw images of different shapes.
        GenmnistError: a run is damaged, a network cannot be exported, or the file cannot be written.
    """
    chosen = {family: source.model for family, source in sources(runs).items()} | {"classifier": "bundled"}
    packed = {name: spell(_file(f"vendor/{name}.bin")) for name in ("ort.mjs", "ort.wasm")}
    told: dict[str, Any] = {"diffusion": [], "vae": None}
    shape: list[int] = []
    for number, (family, origin) in enumerate(chosen.items()):
        watch(number, family)
        weights = find(family, origin).path
        model, _ = checkpoint.load(weights, family)
        model.eval()
        shape = shape or list(model.shape)
        if list(model.shape) != shape:
            sizes = (" x ".join(map(str, form)) for form in (model.shape, shape))
            raise UsageError(
                "the models of one page draw images of one shape, not {} beside {}".format(*sizes)
            )
        packed |= {name: spell(graph) for name, graph in graphs(model, weights).items()}
        if isinstance(model, Diffusion):
            told["diffusion"].append(_diffusion(family, model))
        elif isinstance(model, VAE):
            test = find_data(model.trained, **data or {}).test
            told |= {"vae": _vae(model, test), "labels": test.labels[:_DIGITS].tolist()}
            packed |= _digits(model, test)
        elif isinstance(model, Classifier):
            told["class_names"] = list(model.class_names)
    names = ", ".join(f"{family} ({origin})" for family, origin in chosen.items())
    page = _template().render(
        title="genmnist explorer",
        style=_file("style.css").decode(),
        parts=_PARTS,
        made=html.escape(f"Made by genmnist {__version__} of the models {names}."),
        data=json.dumps(told | {"shape": shape}, separators=(",", ":")).replace("<", "\\u003c"),
        engine=link("engine"),
        main=link("main"),
        packed=packed,
    )
    write_text(out, page)
    return Path(out)


def _diffusion(family: str, model: Diffusion) -> dict[str, Any]:
    """Return what js/models.js knows of a diffusion model."""
    document = exporting.describe(model).denoising
    assert document  # noqa: S101  every diffusion model has one
    sampling = {
        name: {key: way.options[key] for key in _SETTINGS} | {"steps": min(way.options["steps"], _MOST_STEPS)}
        for name, way in document.ways.items()
        if name in _SAMPLERS
    }
    return {
        "name": family,
        "title": FAMILIES[family].title,
        "shape": model.shape,
        "classes": model.classes,
        "class_names": model.class_names,
        "target": document.target,
        "straight": document.schedule.straight,
        "log_snrs": document.schedule.log_snrs,
        "sampling": sampling,
        "sampler": document.default,
        "few": [1, 2, 4] if document.default == "consistency" else [],
    }


def _vae(model: VAE, test: Dataset) -> dict[str, Any]:
    *_, usage = model.usage(test)
    return {"latent": model.options.latent, "order": usage.order(), "kl": usage.kl.tolist()}


def _digits(model: VAE, test: Dataset) -> dict[str, str]:
    """Return test digits and their codes, packed."""
    images = test.images[:_DIGITS]
    codes = model.embed(images).numpy().astype(np.float32)
    return {"digits": pack(images.numpy().tobytes()), "codes": pack(codes.tobytes())}


def _file(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=False,  # noqa: S701  what the page is made of is its own, and what is not was escaped
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(_file("page.html.j2").decode())
