"""The tables of the report page: how near to real images, all that was measured, and what was trained."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from genmnist.evaluation import document, published, tables
from genmnist.evaluation.document import EvaluationDocument
from genmnist.report import claims
from genmnist.report.page import Section, Table
from genmnist.report.sources import Subject, card_row
from genmnist.runs.documents import quoted_loss
from genmnist.runs.find import WEIGHTS

Evaluations = Mapping[str, EvaluationDocument]  # by family


def section(subjects: Mapping[str, Subject], found: Evaluations) -> Section:
    """Return what was measured; see `genmnist.report.contents.page`."""
    items = []
    if found:
        items = [_headlines(found), *_comparisons(found), _claims(found), *_likelihoods()]
    items.append(_trained(subjects))
    missing = {name: subject.source.model for name, subject in subjects.items() if name not in found}
    asks = (f"genmnist evaluate {name} --model {shlex.quote(model)}" for name, model in missing.items())
    text = f"Not measured yet: {', '.join(missing)}. To have it here: {', '.join(asks)}." if missing else ""
    return Section("What was measured", text, items)


def _headlines(found: Evaluations) -> Table:
    rows = []
    for family, one in found.items():
        samples, amounts = one.samples, (one.samples.images, one.samples.real)
        shares = (f"{part.manifold.precision:.2f}, {part.manifold.recall:.2f}" for part in amounts)
        rows.append(
            [family, *(tables.interval(part.frechet) for part in amounts), *shares, f"{samples.num:,}"]
        )
    heads = ["model", tables.HEADLINE, "of real images", "precision, recall", "of real images", "n"]
    note = "The nearer a model comes to the numbers of real images beside it, the better."
    if len(tables.by_basis(found)) > 1:
        note += " These were not all measured alike, so compare each with the real images beside it alone."
    return Table("How near the samples are to real images.", heads, rows, note)


def _comparisons(found: Evaluations) -> list[Table]:
    """Return a table for each basis: numbers of different data, features or n do not stand side by side."""
    return [
        Table(f"All that was measured of {', '.join(group)}: {basis}.", *tables.comparison(group))
        for basis, group in tables.by_basis(found).items()
    ]


def _likelihoods() -> list[Table]:
    """Return the bits of the bundled model that knows values, among published ones."""
    name = "ddpm-likelihood"
    own = document.read(WEIGHTS / f"{name}.json")
    rows = published.beside(own, "ddpm bundled:likelihood", card_row(name, "parameters"))
    note = "All but a probability of bytes can only be too high. Fewer bits are better."
    return [Table("How many bits a pixel of a test digit takes.", published.HEADS, rows, note)]


def _claims(found: Evaluations) -> Table:
    return Table(
        "What the reference report claims, and what the numbers say.",
        ["claim", "measured", "verdict"],
        [[claim.text, claim.measured, claim.verdict] for claim in claims.judge(found)],
    )


def _trained(subjects: Mapping[str, Subject]) -> Table:
    rows = []
    for family, subject in subjects.items():
        metrics, weights = subject.header.metrics, subject.model.parameters()
        kind, loss = quoted_loss(metrics)
        amounts = (_count(metrics.get(name)) for name in ("step", "seconds"))
        last = "—" if loss is None else f"{kind} {loss:.5g}"
        model = f"{subject.header.preset} ({subject.source.model})"
        rows.append([family, model, f"{sum(weight.numel() for weight in weights):,}", *amounts, last])
    heads = ["family", "preset", "parameters", "steps", "seconds", "in the end"]
    note = (
        "The negative ELBO is in nats an image; the validation loss of diffusion is a squared error a pixel."
    )
    return Table("What was trained.", heads, rows, note)


def _count(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f}"
