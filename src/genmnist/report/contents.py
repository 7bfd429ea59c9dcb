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
from genmnist.evaluation import tables
from genmnist.figures import grid
from genmnist.registry import FAMILIES
from genmnist.report import measured
from genmnist.report.glossary import GLOSSARY
from genmnist.report.page import Page, Picture, Section
from genmnist.report.sources import Subject


@dataclass(frozen=True)
class Exhibit:
    """A figure of the page: the command that draws it, the same in Python, and what is to be said of it.

    Args:
        words: the command, but for the program's name, the model, the seed and the file.
        draw: what the command draws; None for what its training left behind.
        facts: of what it says of the drawing.
        shows: what a student may learn from it, in a sentence or two.
        measured: lines of the evaluation that belong to it.
        number: in the reference report.
        suits: whether a model has what it shows.
    """

    words: tuple[str, ...]
    file: str
    caption: str
    shows: str
    alt: str
    number: int | None = None
    draw: Callable[[Subject], Drawing] | None = None
    facts: Callable[[Mapping[str, Any]], dict[str, str]] = lambda facts: {}
    measured: tuple[str, ...] = ()
    suits: Callable[[Any], bool] = lambda model: True

    @property
    def family(self) -> str:
        """Return whose model it shows."""
        return self.words[1]

    def command(self, subject: Subject, data: Sequence[str]) -> str:
        """Return the whole command, as people type it."""
        asked = ",".join(map(str, labels(subject.model)))
        words = [asked if word == _LABELS else word for word in self.words]
        words += ["--model", subject.source.model, "--seed", str(subject.seed), "--out", self.file]
        data = data if self.words[0] in ("traverse", "interpolate", "reconstruct") else ()
        return shlex.join(["genmnist", *words, *data])


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
    return drawing.interpolation(model, request, subject.test, space=space, path=path)


def _traversal(subject: Subject, view: str = "factors") -> Drawing:
    return drawing.traversal(subject.model, cast("Dataset", subject.test), subject.seed, view=view)


def _reconstructions(subject: Subject) -> Drawing:
    return drawing.reconstructions(subject.model, cast("Dataset", subject.test), subject.seed)


def _is_plane(model: Any) -> bool:
    return bool(model.options.latent == 2)


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
        "Both fall and stay close together: the model learns what digits have in common, and does not learn "
        "the training images by heart.",
        "Two falling curves, close to one another.",
        1,
        measured=("negative ELBO", "reconstruction, KL"),
    ),
    Exhibit(
        ("sample", "vae"),
        "figure-2.png",
        "64 samples from the prior.",
        "New digits that nobody wrote. They are varied but blurred: where the decoder is not sure, it draws "
        "the mean of what might be there.",
        "A grid of 8 by 8 digits, most of them readable, all a little blurred.",
        2,
        measured=(tables.HEADLINE, "precision", "recall", "sharpness"),
        draw=_samples,
    ),
    Exhibit(
        ("traverse", "vae", "--view", "factors"),
        "figure-3.png",
        "Latent traversals: a row a factor, the most used first, five samples each from −2 to +2.",
        "Turning one latent number at a time. The factors at the top change slant, width or the digit "
        "itself; those at the bottom change little.",
        "Rows of five digits that change from left to right.",
        3,
        facts=_active,
        draw=_traversal,
    ),
    Exhibit(
        ("interpolate", "vae", "--space", "latent"),
        "figure-4.png",
        "Interpolation in latent space: every point between two codes is decoded.",
        "On the way from one digit to another all images are digits, or nearly: latent space has hardly any "
        "gaps.",
        "Rows of digits that turn into one another.",
        4,
        measured=("half-way, latent: to a real image",),
        draw=lambda subject: _walks(subject, "latent", "lerp"),
    ),
    Exhibit(
        ("interpolate", "vae", "--space", "pixel"),
        "figure-5.png",
        "Interpolation in pixel space, between the same end points.",
        "Mixing the pixels instead gives a fade, two digits on top of one another, which nobody would write.",
        "Rows of digits that fade into one another.",
        5,
        measured=("half-way, pixel: to a real image",),
        draw=lambda subject: _walks(subject, "pixel", "lerp"),
    ),
    Exhibit(
        ("train", "ddpm"),
        "figure-6.png",
        "The same nine points of noise after so many epochs.",
        "The longer the model trains, the cleaner the digits that it finds in one and the same noise.",
        "Rows of nine digits, noise at first, then ever clearer.",
        6,
        measured=(tables.HEADLINE, "precision", "recall", "sharpness"),
    ),
    Exhibit(
        ("reverse-trace", "ddpm", "--show-x0"),
        "figure-7.png",
        "The reverse process: four samples at eight timesteps, and under each the clean image that the model "
        "expects.",
        "Sampling takes noise away step by step. Which digit it will be is decided early, while hardly "
        "anything is to be seen; strokes and edges come last.",
        "Rows that begin as noise and end as digits; the expected images begin as blurs.",
        7,
        facts=_steps,
        measured=("half settled, coarse to fine",),
        draw=_trace,
    ),
    Exhibit(
        ("train", "cfg"),
        "figure-8.png",
        "Guided samples after so many epochs: a column a digit, each from the same noise.",
        "This model is told which digit to draw, and guidance makes it insist: after the first epochs each "
        "column is the digit that it should be.",
        "Rows of the digits 0 to 9, noise at first, then ever clearer.",
        8,
        measured=("label kept", tables.HEADLINE, "precision", "recall"),
    ),
    Exhibit(
        ("reconstruct", "vae"),
        "reconstructions.png",
        "Test images above what the VAE makes of them.",
        "A code of a few numbers keeps which digit it is and how it leans, and loses the edges.",
        "Ten digits, and under each the same, blurred.",
        draw=_reconstructions,
    ),
    Exhibit(
        ("traverse", "vae", "--view", "plane"),
        "plane.png",
        "What the VAE decodes all over the plane of its two factors.",
        "Neighbours look alike: each digit has a region, and between two regions lie digits that "
        "are a little of both.",
        "A grid of digits that change gradually in both directions.",
        draw=lambda subject: _traversal(subject, "plane"),
        suits=_is_plane,
    ),
    Exhibit(
        ("traverse", "vae", "--view", "codes"),
        "codes.png",
        "Where test images lie on that plane, each as its label.",
        "Nobody told the model which digit is which, yet most have a place of their own.",
        "A cloud of small digits, of one colour a kind, the kinds partly apart.",
        draw=lambda subject: _traversal(subject, "codes"),
        suits=_is_plane,
    ),
    Exhibit(
        ("reverse-trace", "ddpm", "--num", "9", "--steps", "40", "--spacing", "trailing"),
        "reverse-trace.gif",
        "The reverse process in motion.",
        "What figure 7 shows, in forty steps.",
        "Nine digits coming out of noise.",
        facts=_steps,
        draw=_motion,
    ),
    Exhibit(
        ("sample", "ddpm", "--num", "100"),
        "ddpm-samples.png",
        "100 samples of the diffusion model.",
        "Beside those of the VAE they are sharp: each is one decision, not a mean of several.",
        "A grid of digits.",
        facts=_steps,
        draw=lambda subject: _samples(subject, 100),
    ),
    Exhibit(
        ("sample", "cfg", "--guidance-sweep", "-1,0,1,3,8"),
        "cfg-sweep.png",
        "The same noise under growing guidance w: −1 knows no label, 0 is the model as it was trained.",
        "More guidance makes each digit more typical of its kind, and all of a kind more alike.",
        "Five rows of ten digits; in the first they are any, further down ever more typical.",
        facts=_steps,
        draw=_sweep,
    ),
    Exhibit(
        ("interpolate", "cfg", "--label", _LABELS, "--space", "label"),
        "cfg-interpolation.png",
        "From one label to another, by the same noise.",
        "The handwriting stays, the digit changes: style is in the noise, the kind of digit in the label.",
        "Rows of threes that turn into eights.",
        draw=lambda subject: _walks(subject, "label", "slerp", labels(subject.model)),
    ),
)


def strip(subject: Subject) -> Drawing:
    """Draw ten samples, by which the page begins."""
    return Drawing(grid.grid(subject.model.sample(10, subject.seed), columns=5))


def page(
    subjects: Mapping[str, Subject],
    strips: Mapping[str, Path],
    drawn: Sequence[Drawn],
    colophon: Mapping[str, str],
    explorer: str,
) -> Page:
    """Put the page together: pictures first, then numbers, then words.

    Args:
        subjects: the model of each family.
        strips: a few samples of each.
        drawn: the figures.
        colophon: the machine and the versions.
        explorer: the address of the page on which these models can be played with, if there is one.

    Raises:
        GenmnistError: the metrics or the evaluation of a run are damaged.
    """
    found = {family: one for family, subject in subjects.items() if (one := subject.source.evaluation)}
    lines = {family: {line.name: line for line in tables.lines(one)} for family, one in found.items()}

    def picture(one: Drawn) -> Picture:
        exhibit = one.exhibit
        known = lines.get(exhibit.family, {})
        facts = {known[name].title: known[name].value for name in exhibit.measured if name in known}
        facts |= exhibit.facts(one.facts) if one.facts else {}
        text = f"{exhibit.caption} {exhibit.shows}"
        return Picture(text, exhibit.alt, one.path, one.command, facts, exhibit.number)

    opening = [
        Picture(_capital(FAMILIES[family].title), f"Ten digits: {FAMILIES[family].title}.", path)
        for family, path in strips.items()
    ]
    sections = []
    for family in subjects:
        title, own = _capital(FAMILIES[family].title), [one for one in drawn if one.exhibit.family == family]
        pictures = [picture(one) for one in own if one.exhibit.number]
        sections.append(Section(title, FAMILIES[family].story, pictures))
    more = [picture(one) for one in drawn if not one.exhibit.number]
    sections.append(Section("More pictures", "", more))
    sections.append(measured.section(subjects, found))
    lead = (
        "Handwritten digits that no hand wrote, by three kinds of generative model that learned from MNIST. "
        "Below are the eight figures of the reference report, a course report whose experiments genmnist "
        "repeats, each with what it shows and the command behind it; then a number beside every claim."
    )
    runs = [subject.source.model for subject in subjects.values() if subject.source.run]
    command = shlex.join(["genmnist", "explore", *runs])
    words = "Play with these models in the explorer" if explorer else f"To play with these models: {command}"
    further = (words, explorer)
    return Page(
        "Generative models of handwritten digits", lead, opening, sections, GLOSSARY, colophon, further
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
