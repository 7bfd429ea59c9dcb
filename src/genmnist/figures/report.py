"""What the report page says: the eight figures of the reference report, and the numbers that go with them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmnist.errors import GenmnistError
from genmnist.evaluation import claims
from genmnist.figures import evaluated
from genmnist.figures.page import Page, Picture, Section, Table
from genmnist.runs import BY_EPOCH, EVALUATION, WEIGHTS, Run, read_metrics

FAMILIES = ("vae", "ddpm", "cfg")
Document = Mapping[str, Any]
_LABELS = "3,8"

_TITLES = {
    "vae": "Variational autoencoder",
    "ddpm": "Denoising diffusion",
    "cfg": "Classifier-free guidance",
}
_TEXTS = {
    "vae": "Digits are decoded from a few latent factors. Samples are varied but blurred; between two codes "
    "lie digits, between two images only a fade.",
    "ddpm": "Digits come out of noise in steps. The network learns at every level of noise what is image and "
    "what is not; the sampler walks from the one to the other.",
    "cfg": "The same, but the network is told which digit. Asking it with and without the label, and going "
    "beyond the difference, trades diversity for digits that are truer to their label.",
}


@dataclass(frozen=True)
class Source:
    """Where the model of a family comes from: a run, or the package."""

    family: str
    run: Run | None = None

    @property
    def model(self) -> str:
        """Return what `--model` takes."""
        return str(self.run.folder) if self.run else "bundled"

    @property
    def metrics(self) -> list[dict[str, float]]:
        """Return the metrics by epoch. Raises GenmnistError if they are damaged."""
        return self.run.metrics if self.run else read_metrics(WEIGHTS / f"{self.family}.jsonl")

    @property
    def by_epoch(self) -> Path:
        """Return the picture of samples by epoch; a run need not have one."""
        return self.run.folder / BY_EPOCH if self.run else WEIGHTS / f"{self.family}.png"

    @property
    def training(self) -> str:
        """Return the command that trained it. Raises GenmnistError if the run's configuration is damaged."""
        if self.run:
            words = self.run.config.get("command")
            return shlex.join(["genmnist", *map(str, words[1:])]) if isinstance(words, list) else ""
        card = (WEIGHTS / f"{self.family}.md").read_text("utf-8")
        return card.partition("| command | `")[2].partition("`")[0]

    @property
    def evaluation(self) -> dict[str, Any]:
        """Return what `genmnist evaluate` measured, {} if nothing. Raises GenmnistError if it is damaged."""
        folder, name = (self.run, EVALUATION) if self.run else (Run(WEIGHTS), f"{self.family}.json")
        document = folder.read(name)
        try:
            if document:
                claims.judge({self.family: document})
                list(evaluated.rows(document))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            path = folder.folder / name
            raise GenmnistError(f"{path} is damaged: `genmnist evaluate` writes it again") from error
        return document


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: the command that draws it, and what is to be said of it."""

    words: tuple[str, ...]
    file: str
    caption: str
    alt: str
    number: int | None = None
    facts: Callable[[Document], dict[str, str]] = lambda document: {}  # of what its command said
    measured: tuple[str, ...] = ()  # lines of the evaluation that belong to it

    @property
    def family(self) -> str:
        """Return whose model it shows."""
        return self.words[1]

    def command(self, source: Source, seed: int, classes: int = 10) -> list[str]:
        """Return the whole command, but for the name of the program, for a model of so many labels."""
        words = [f"0,{classes - 1}" if word == _LABELS and classes < 9 else word for word in self.words]
        return [*words, "--model", source.model, "--seed", str(seed), "--out", self.file]


def _active(document: Document) -> dict[str, str]:
    return {"active factors": f"{document['active_units']} of {len(document['factors'])}"}


def _steps(document: Document) -> dict[str, str]:
    return {"sampler": f"{document['sampler']}, {document['steps']} steps"}


DRAWINGS = (
    Drawing(
        ("train", "vae"),
        "figure-1.png",
        "Training and validation loss, by epoch.",
        "Two falling curves, close to one another.",
        1,
        measured=("negative ELBO",),
    ),
    Drawing(
        ("sample", "vae"),
        "figure-2.png",
        "64 samples from the prior.",
        "A grid of 8 by 8 digits, most of them readable, all a little blurred.",
        2,
        measured=("times the floor", "precision", "recall", "sharpness"),
    ),
    Drawing(
        ("traverse", "vae"),
        "figure-3.png",
        "Latent traversals: a row a factor, the most used first, five samples each from −2 to +2.",
        "Rows of five digits that change from left to right.",
        3,
        _active,
    ),
    Drawing(
        ("interpolate", "vae", "--space", "latent"),
        "figure-4.png",
        "Interpolation in latent space: every point between two codes is decoded.",
        "Rows of digits that turn into one another.",
        4,
        measured=("half-way, latent: to a real digit",),
    ),
    Drawing(
        ("interpolate", "vae", "--space", "pixel"),
        "figure-5.png",
        "Interpolation in pixel space, between the same end points.",
        "Rows of digits that fade into one another.",
        5,
        measured=("half-way, pixel: to a real digit",),
    ),
    Drawing(
        ("train", "ddpm"),
        "figure-6.png",
        "The same nine points of noise after so many epochs.",
        "Squares of nine digits, noise at first, then ever clearer.",
        6,
        measured=("times the floor", "precision", "recall", "sharpness"),
    ),
    Drawing(
        ("reverse-trace", "ddpm", "--show-x0"),
        "figure-7.png",
        "The reverse process: four samples at eight timesteps, and under each the clean image that the model "
        "expects.",
        "Rows that begin as noise and end as digits; the expected images begin as blurs.",
        7,
        _steps,
        measured=("half settled, coarse to fine",),
    ),
    Drawing(
        ("reverse-trace", "ddpm", "--num", "9", "--steps", "40", "--spacing", "trailing"),
        "reverse-trace.gif",
        "The same process in motion.",
        "Nine digits coming out of noise.",
        facts=_steps,
    ),
    Drawing(
        ("sample", "ddpm", "--num", "100"),
        "ddpm-samples.png",
        "100 samples.",
        "A grid of digits.",
        facts=_steps,
    ),
    Drawing(
        ("train", "cfg"),
        "figure-8.png",
        "Guided samples after so many epochs: a column a digit, each from the same noise.",
        "Rows of the digits 0 to 9, noise at first, then ever clearer.",
        8,
        measured=("label kept", "times the floor", "precision", "recall"),
    ),
    Drawing(
        ("sample", "cfg", "--guidance-sweep", "-1,0,1,3,8"),
        "cfg-sweep.png",
        "The same noise under growing guidance w: −1 knows no label, 0 is the model as it was trained.",
        "Five rows of ten digits; in the first they are any, further down ever more typical.",
        facts=_steps,
    ),
    Drawing(
        ("interpolate", "cfg", "--label", _LABELS, "--space", "label"),
        "cfg-interpolation.png",
        "From one label to another, by the same noise.",
        "Rows of threes that turn into eights.",
    ),
)


def page(
    sources: Mapping[str, Source],
    documents: Mapping[str, Document],
    drawn: Sequence[tuple[Drawing, Path, Document]],
    colophon: Mapping[str, str],
) -> Page:
    """Put the page together.

    Args:
        sources: where the model of each family comes from.
        documents: what their files say of themselves.
        drawn: the figures, where they are, and what their commands said; `line` is the command itself.
        colophon: the machine and the versions.

    Raises:
        GenmnistError: the metrics or the evaluation of a run are damaged.
    """
    evaluations = {family: found for family in FAMILIES if (found := sources[family].evaluation)}
    lines = {
        family: {name: value for name, value, _ in evaluated.rows(evaluations[family])}
        if family in evaluations
        else {}
        for family in FAMILIES
    }
    sections = [_measured(sources, documents, evaluations)]
    for family in FAMILIES:
        pictures = [
            Picture(
                drawing.caption,
                drawing.alt,
                path,
                said["line"] if said else sources[family].training,
                (drawing.facts(said) if said else {})
                | {name: lines[family][name] for name in drawing.measured if name in lines[family]},
                drawing.number,
            )
            for drawing, path, said in drawn
            if drawing.family == family
        ]
        sections.append(Section(_TITLES[family], _TEXTS[family], pictures))
    lead = (
        "Variational autoencoders, denoising diffusion and classifier-free guidance on MNIST: the figures of "
        "the reference report, each with the command behind it, and a number beside every claim."
    )
    return Page("Generative models of handwritten digits", lead, sections, colophon)


def _measured(
    sources: Mapping[str, Source], documents: Mapping[str, Document], evaluations: Mapping[str, Document]
) -> Section:
    trained = [
        [
            family,
            f"{documents[family]['preset']} ({sources[family].model})",
            f"{documents[family]['parameters']:,}",
            *(_number(documents[family]["metrics"].get(name)) for name in ("step", "seconds", "val_loss")),
        ]
        for family in FAMILIES
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
    missing = [name for name in FAMILIES if name not in evaluations and sources[name].run]
    text = (
        "Distances are in the features of the classifier that ships with genmnist, real digits beside them."
    )
    if missing:
        asks = ", ".join(
            f"genmnist evaluate {name} --model {shlex.quote(sources[name].model)}" for name in missing
        )
        text += f"\n\nNot measured yet: {', '.join(missing)}. To have it here: {asks}."
    return Section("What was measured", text, tables)


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "—"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.5g}"


def _comparison(evaluations: Mapping[str, Document]) -> Table:
    amounts = ", ".join(f"{found['samples']['num']:,} of {family}" for family, found in evaluations.items())
    features = next(iter(evaluations.values()))["samples"]["features"]
    caption = f"Samples ({amounts}) against the test digits, in the features {features}."
    return Table(caption, *evaluated.comparison(evaluations))
