"""What the report page says: the eight figures of the reference report, and the numbers that go with them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from genmnist import drawing
from genmnist.data import Dataset
from genmnist.drawing import Drawing
from genmnist.evaluation.document import EvaluationDocument
from genmnist.figures import evaluated
from genmnist.registry import FAMILIES
from genmnist.report import claims
from genmnist.report.page import Page, Picture, Section, Table
from genmnist.report.sources import Source
from genmnist.runs.documents import ModelHeader


@dataclass(frozen=True)
class Subject:
    """What the figures of one family are drawn from."""

    model: Any
    seed: int
    test: Dataset | None = None  # where a figure is measured on real images


@dataclass(frozen=True)
class Exhibit:
    """A figure of the page: the command that draws it, the same in Python, and what is to be said of it.

    Args:
        words: the command, but for the program's name, the model, the seed and the file.
        draw: what the command draws; None for what its training left behind.
        facts: of what it says of the drawing.
        measured: lines of the evaluation that belong to it.
        number: in the reference report.
    """

    words: tuple[str, ...]
    file: str
    caption: str
    alt: str
    number: int | None = None
    draw: Callable[[Subject], Drawing] | None = None
    facts: Callable[[Mapping[str, Any]], dict[str, str]] = lambda facts: {}
    measured: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """Return whose model it shows."""
        return self.words[1]

    def command(self, source: Source, seed: int, labels: Sequence[int], data: Sequence[str]) -> str:
        """Return the whole command, as people type it."""
        words = [",".join(map(str, labels)) if word == _LABELS else word for word in self.words]
        data = data if self.words[0] == "traverse" else ()
        return shlex.join(
            ["genmnist", *words, "--model", source.model, "--seed", str(seed), "--out", self.file, *data]
        )


@dataclass(frozen=True)
class Drawn:
    """An exhibit that was drawn."""

    exhibit: Exhibit
    path: Path
    command: str
    facts: Mapping[str, Any]


def labels(model: Any) -> list[int]:
    """Return the two labels that the walk between labels joins: 3 and 8, or the first and the last."""
    return [3, 8] if model.classes > 8 else [0, max(model.classes - 1, 0)]


_LABELS = "<labels>"
_SWEEP = (-1.0, 0.0, 1.0, 3.0, 8.0)


def _samples(subject: Subject, num: int = 64, **changes: Any) -> Drawing:
    model = subject.model
    batch = FAMILIES[model.family].batch_size
    return drawing.Samples(model, model.request(subject.seed, **changes), num, batch).draw()


def _sweep(subject: Subject) -> Drawing:
    model = subject.model
    samples = drawing.Samples(model, model.request(subject.seed), 10)
    return samples.sweep({f"w = {w:g}": model.how(guidance=w) for w in _SWEEP})


def _walks(subject: Subject, space: str, path: str, asked: Sequence[int] = ()) -> Drawing:
    model = subject.model
    request = model.request(subject.seed, labels=asked, how=model.deterministic())
    return drawing.interpolation(model, request, space=space, path=path)


def _traversal(subject: Subject) -> Drawing:
    return drawing.traversal(subject.model, cast("Dataset", subject.test), subject.seed)


def _trace(subject: Subject) -> Drawing:
    return drawing.reverse_trace(subject.model, subject.model.request(subject.seed), show_x0=True)


def _motion(subject: Subject) -> Drawing:
    request = subject.model.request(subject.seed, steps=40, spacing="trailing")
    return drawing.reverse_trace(subject.model, request, num=9, animated=True)


def _active(facts: Mapping[str, Any]) -> dict[str, str]:
    return {"active factors": f"{facts['active_units']} of {len(facts['factors'])}"}


def _steps(facts: Mapping[str, Any]) -> dict[str, str]:
    return {"sampler": f"{facts['sampler']}, {facts['steps']} steps"}


EXHIBITS = (
    Exhibit(
        ("train", "vae"),
        "figure-1.png",
        "Training and validation loss, by epoch.",
        "Two falling curves, close to one another.",
        1,
        measured=("negative ELBO",),
    ),
    Exhibit(
        ("sample", "vae"),
        "figure-2.png",
        "64 samples from the prior.",
        "A grid of 8 by 8 digits, most of them readable, all a little blurred.",
        2,
        measured=("times the floor", "precision", "recall", "sharpness"),
        draw=_samples,
    ),
    Exhibit(
        ("traverse", "vae"),
        "figure-3.png",
        "Latent traversals: a row a factor, the most used first, five samples each from −2 to +2.",
        "Rows of five digits that change from left to right.",
        3,
        facts=_active,
        draw=_traversal,
    ),
    Exhibit(
        ("interpolate", "vae", "--space", "latent"),
        "figure-4.png",
        "Interpolation in latent space: every point between two codes is decoded.",
        "Rows of digits that turn into one another.",
        4,
        measured=("half-way, latent: to a real image",),
        draw=lambda subject: _walks(subject, "latent", "lerp"),
    ),
    Exhibit(
        ("interpolate", "vae", "--space", "pixel"),
        "figure-5.png",
        "Interpolation in pixel space, between the same end points.",
        "Rows of digits that fade into one another.",
        5,
        measured=("half-way, pixel: to a real image",),
        draw=lambda subject: _walks(subject, "pixel", "lerp"),
    ),
    Exhibit(
        ("train", "ddpm"),
        "figure-6.png",
        "The same nine points of noise after so many epochs.",
        "Squares of nine digits, noise at first, then ever clearer.",
        6,
        measured=("times the floor", "precision", "recall", "sharpness"),
    ),
    Exhibit(
        ("reverse-trace", "ddpm", "--show-x0"),
        "figure-7.png",
        "The reverse process: four samples at eight timesteps, and under each the clean image that the model "
        "expects.",
        "Rows that begin as noise and end as digits; the expected images begin as blurs.",
        7,
        facts=_steps,
        measured=("half settled, coarse to fine",),
        draw=_trace,
    ),
    Exhibit(
        ("reverse-trace", "ddpm", "--num", "9", "--steps", "40", "--spacing", "trailing"),
        "reverse-trace.gif",
        "The same process in motion.",
        "Nine digits coming out of noise.",
        facts=_steps,
        draw=_motion,
    ),
    Exhibit(
        ("sample", "ddpm", "--num", "100"),
        "ddpm-samples.png",
        "100 samples.",
        "A grid of digits.",
        facts=_steps,
        draw=lambda subject: _samples(subject, 100),
    ),
    Exhibit(
        ("train", "cfg"),
        "figure-8.png",
        "Guided samples after so many epochs: a column a digit, each from the same noise.",
        "Rows of the digits 0 to 9, noise at first, then ever clearer.",
        8,
        measured=("label kept", "times the floor", "precision", "recall"),
    ),
    Exhibit(
        ("sample", "cfg", "--guidance-sweep", "-1,0,1,3,8"),
        "cfg-sweep.png",
        "The same noise under growing guidance w: −1 knows no label, 0 is the model as it was trained.",
        "Five rows of ten digits; in the first they are any, further down ever more typical.",
        facts=_steps,
        draw=_sweep,
    ),
    Exhibit(
        ("interpolate", "cfg", "--label", _LABELS, "--space", "label"),
        "cfg-interpolation.png",
        "From one label to another, by the same noise.",
        "Rows of threes that turn into eights.",
        draw=lambda subject: _walks(subject, "label", "slerp", labels(subject.model)),
    ),
)


def page(
    sources: Mapping[str, Source],
    headers: Mapping[str, ModelHeader],
    parameters: Mapping[str, int],
    drawn: Sequence[Drawn],
    colophon: Mapping[str, str],
) -> Page:
    """Put the page together.

    Args:
        sources: where the model of each family comes from.
        headers: what their files say of themselves.
        parameters: how many each has.
        drawn: the figures.
        colophon: the machine and the versions.

    Raises:
        GenmnistError: the metrics or the evaluation of a run are damaged.
    """
    evaluations = {family: found for family in sources if (found := sources[family].evaluation)}
    lines = {
        family: {name: value for name, value, _ in evaluated.rows(evaluations[family])}
        if family in evaluations
        else {}
        for family in sources
    }
    sections = [_measured(sources, headers, parameters, evaluations)]
    for family in sources:
        described = FAMILIES[family]
        pictures = [
            Picture(
                one.exhibit.caption,
                one.exhibit.alt,
                one.path,
                one.command,
                (one.exhibit.facts(one.facts) if one.facts else {})
                | {name: lines[family][name] for name in one.exhibit.measured if name in lines[family]},
                one.exhibit.number,
            )
            for one in drawn
            if one.exhibit.family == family
        ]
        title = described.title[:1].upper() + described.title[1:]
        sections.append(Section(title, described.story, pictures))
    lead = (
        "Variational autoencoders, denoising diffusion and classifier-free guidance on MNIST: the figures of "
        "the reference report, a course report whose experiments genmnist repeats, each with the command "
        "behind it, and a number beside every claim."
    )
    return Page("Generative models of handwritten digits", lead, sections, colophon)


def _measured(
    sources: Mapping[str, Source],
    headers: Mapping[str, ModelHeader],
    parameters: Mapping[str, int],
    evaluations: Mapping[str, EvaluationDocument],
) -> Section:
    trained = [
        [
            family,
            f"{headers[family].preset} ({source.model})",
            f"{parameters[family]:,}",
            *(_number(headers[family].metrics.get(name)) for name in ("step", "seconds", "val_loss")),
        ]
        for family, source in sources.items()
    ]
    heads = ["family", "preset", "parameters", "steps", "seconds", "validation loss"]
    note = "Losses of the VAE are nats an image, those of diffusion squared errors a pixel."
    tables = [Table("What was trained.", heads, trained, note)]
    if evaluations:
        tables.append(_comparison(evaluations))
        tables.append(
            Table(
                "What the reference report claims, and what the numbers say.",
                ["claim", "measured", "verdict"],
                [[claim.text, claim.measured, claim.verdict] for claim in claims.judge(evaluations)],
            )
        )
    missing = [name for name, source in sources.items() if name not in evaluations and source.run]
    text = (
        "Distances are in the features of the classifier that ships with genmnist, real digits beside them."
    )
    if missing:
        asks = ", ".join(
            f"genmnist evaluate {name} --model {shlex.quote(sources[name].model)}" for name in missing
        )
        text += f"\n\nNot measured yet: {', '.join(missing)}. To have it here: {asks}."
    return Section("What was measured", text, tables)


def _number(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.5g}"


def _comparison(evaluations: Mapping[str, EvaluationDocument]) -> Table:
    amounts = ", ".join(f"{found.samples.num:,} of {family}" for family, found in evaluations.items())
    features = next(iter(evaluations.values())).samples.features
    caption = f"Samples ({amounts}) against the test digits, in the features {features}."
    return Table(caption, *evaluated.comparison(evaluations))
