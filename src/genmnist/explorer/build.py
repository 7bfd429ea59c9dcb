"""The explorer written: models, digits and scripts into one HTML file."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import msgspec
import numpy as np
from jaxtyping import Float, Int64
from scipy.linalg import eigh

from genmnist import exporting
from genmnist.data import Dataset
from genmnist.errors import UsageError
from genmnist.explorer.bundle import link
from genmnist.explorer.graphs import graphs
from genmnist.explorer.packing import pack, spell
from genmnist.files import write_text
from genmnist.models import VAE, Classifier, Diffusion
from genmnist.registry import FAMILIES
from genmnist.report.sources import Source, sources
from genmnist.runs import checkpoint
from genmnist.runs.find import find, find_data
from genmnist.runs.folder import Run
from genmnist.text import printable
from genmnist.version import __version__

Watch = Callable[[int, str], None]  # called with how many models are packed, and the name of the next

_DIGITS = 1000  # test digits that the page carries
_SAMPLERS = ("dpm-solver", "ddim", "heun", "ancestral", "consistency")  # those of js/samplers.js
_TARGETS = ("epsilon", "x0", "v", "flow", "categorical")  # those of js/targets.js
_SETTINGS = ("steps", "spacing", "eta", "temperature", "guidance")  # what the page sets of each
_MOST_STEPS = 100  # in a browser

Codes = Float[np.ndarray, "n latent"]
Labels = Int64[np.ndarray, " n"]


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
    found = sources(runs)
    chosen = {family: source.model for family, source in found.items()} | {"classifier": "bundled"}
    packed = {name: spell(_file(f"vendor/{name}.bin")) for name in ("ort.mjs", "ort.wasm")}
    told: dict[str, Any] = {"diffusion": [], "vae": None, "evaluations": _evaluations(found)}
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
            images, labels = test.images[:_DIGITS], test.labels[:_DIGITS].numpy()
            codes = model.embed(images).numpy()
            told |= {"vae": _vae(model, test, codes, labels), "labels": labels.tolist()}
            packed |= {"digits": pack(images.numpy().tobytes()), "codes": pack(codes.astype("<f4").tobytes())}
        elif isinstance(model, Classifier):
            told["class_names"] = list(model.class_names)
    names = ", ".join(f"{family} ({origin})" for family, origin in chosen.items())
    page = _template().render(
        style=_file("style.css").decode(),
        made=html.escape(printable(f"Made by genmnist {__version__} of the models {names}.")),
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
    if document.target not in _TARGETS:
        raise UsageError(
            f"the explorer knows models that predict {', '.join(_TARGETS)}, and {family} predicts "
            f"{document.target:.40}: leave it out"
        )
    sampling = {name: _settings(way.options) for name, way in document.ways.items() if name in _SAMPLERS}
    few = [model.how(steps=steps).asdict() for steps in (1, 2, 4) if document.default == "consistency"]
    return {
        "name": family,
        "title": FAMILIES[family].title,
        "shape": model.shape,
        "classes": model.classes,
        "class_names": model.class_names,
        "null_label": document.null_label,
        "clusters": document.clusters,
        "target": document.target,
        "straight": document.schedule.straight,
        "log_snrs": document.schedule.log_snrs,
        "sampling": sampling,
        "sampler": document.default,
        "few": [_settings(options) for options in few],
    }


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page sets of a way of sampling."""
    return {key: options.get(key, 0.0) for key in _SETTINGS} | {"steps": min(options["steps"], _MOST_STEPS)}


def _vae(model: VAE, test: Dataset, codes: Codes, labels: Labels) -> dict[str, Any]:
    *_, usage = model.usage(test)
    return {
        "latent": model.options.latent,
        "order": usage.order(),
        "kl": usage.kl.tolist(),
        "directions": discriminants(codes, labels).tolist(),
    }


def discriminants(codes: Codes, labels: Labels) -> Float[np.ndarray, "2 latent"]:
    """Return the two directions along which classes lie apart the most for how wide each is (Rao 1948)."""
    within, between = np.eye(codes.shape[1]) * 1e-6, np.zeros((codes.shape[1],) * 2)
    for label in np.unique(labels):
        own = codes[labels == label].astype(float)
        shift = own.mean(0) - codes.mean(0)
        within += (own - own.mean(0)).T @ (own - own.mean(0))
        between += len(own) * np.outer(shift, shift)
    _, vectors = eigh(between, within)
    best: np.ndarray[Any, Any] = vectors[:, -1:-3:-1].T
    return np.asarray(best / np.linalg.norm(best, axis=1, keepdims=True))


def _evaluations(found: Mapping[str, Source]) -> dict[str, Any]:
    """Return what the page shows of evaluations, by family."""
    measured = {}
    for family, source in found.items():
        if document := source.evaluation:
            samples = document.samples
            measured[family] = {
                "num": samples.num,
                "frechet": msgspec.to_builtins(samples.images.frechet),
                "real": samples.real.frechet.value,
                "sharpness": (document.sharpness.images, document.sharpness.real),
                "guidance_sweep": msgspec.to_builtins(document.guidance_sweep),
            }
    return measured


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
