"""What an evaluation says, as lines and tables of text, for terminals and pages. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from genmnist.evaluation.document import Basis, EvaluationDocument, Interval

HEADLINE = "Fréchet distance"
_ENOUGH = 1_000  # samples; a distance of fewer says more about their number than about the model


class Line(NamedTuple):
    """A measure, its value, that of real images beside it, and of how many images they are, if it varies."""

    name: str
    value: str
    real: str = ""
    num: int | None = None

    @property
    def title(self) -> str:
        """Return the name, with the number of images."""
        return f"{self.name} (n = {self.num:,})" if self.num else self.name


def lines(document: EvaluationDocument) -> Iterator[Line]:
    """Yield what was measured, the headline first."""
    found = document.samples
    ours, real, num = found.images, found.real, found.num
    fewer = f", n = {found.real_num:,}" if found.real_num not in (None, num) else ""
    yield Line(HEADLINE, interval(ours.frechet), interval(real.frechet) + fewer, num)
    yield Line("kernel distance", f"{ours.kernel:.5f}", f"{real.kernel:.5f}", num)
    for name in ("precision", "recall", "density", "coverage"):
        share, theirs = (f"{getattr(manifold, name):.3f}" for manifold in (ours.manifold, real.manifold))
        yield Line(name, share, theirs, min(num, found.test_num or num))
    yield Line("class imbalance", f"{found.imbalance:.3f}", "", num)
    if found.label_agreement is not None:
        yield Line("label kept", f"{found.label_agreement:.2%}", "", num)
    yield Line(
        "near-copies", f"{document.near_copies.share:.2%}", f"{document.near_copies.expected:.0%}", num
    )
    yield Line("sharpness", f"{document.sharpness.images:.3f}", f"{document.sharpness.real:.3f}", num)
    if vae := document.vae:
        images = vae.images
        yield Line("negative ELBO", f"{vae.negative_elbo:.2f} nats", "", images)
        yield Line("reconstruction, KL", f"{vae.reconstruction:.2f}, {vae.kl:.2f} nats", "", images)
        yield Line(f"bound of {vae.samples} samples", f"{vae.importance_weighted:.2f} nats", "", images)
        yield Line("active units", f"{vae.active_units} of {vae.latent}", "", images)
        yield Line("mutual information gap", f"{vae.mutual_information_gap['mean']:.3f}", "", images)
    if likelihood := document.likelihood:
        bound, exact, chain = likelihood.bound, likelihood.exact, likelihood.chain
        yield Line("bits per dimension, bound", with_error(bound.bits, bound.error), "", bound.images)
        if exact:
            yield Line("bits per dimension, exact", with_error(exact.bits, exact.error), "", exact.images)
        if chain:
            name = f"more in a chain of {chain.steps} steps"
            yield Line(name, with_error(chain.gap, chain.gap_error), "", chain.images)
    for row in document.guidance_sweep:
        kept = f"{row.label_agreement:.1%}, {row.precision:.2f}, {row.recall:.2f}"
        yield Line(f"w = {row.strength:g}: label kept, precision, recall", kept)
    if walks := document.walks:
        for space, walk in (("latent", walks.latent), ("pixel", walks.pixel)):
            confidence, distance = walk.middle
            text = f"{distance:.2f} ± {walk.middle_error:.2f}"
            yield Line(f"half-way, {space}: to a real image", text, "", walks.pairs)
            yield Line(
                f"half-way, {space}: the classifier's confidence", f"{confidence:.3f}", "", walks.pairs
            )
    if settled := document.coarse_before_fine:
        times = ", ".join(f"{t:.0f}" for t in settled.half_settled)
        yield Line("half settled, coarse to fine", f"t = {times}")
    for name in document.undefined:
        yield Line(name, "not a finite number")


def with_error(bits: float, error: float | None, digits: int = 3) -> str:
    """Say a number with its standard error, if it has one."""
    return f"{bits:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def rows(document: EvaluationDocument) -> tuple[list[tuple[str, str, str]], tuple[str, str, str]]:
    """Return a table of what was measured: its rows and its heads."""
    cells = [(line.title, line.value, line.real) for line in lines(document)]
    return cells, ("", "measured", "real images")


def comparison(found: Mapping[str, EvaluationDocument]) -> tuple[list[str], list[list[str]]]:
    """Return a table of what was measured of several models on one basis, by name: its heads and its rows."""
    columns: dict[str, dict[str, str]] = {}
    real: dict[str, str] = {}
    for model, document in found.items():
        columns[model] = {line.title: line.value for line in lines(document)}
        real |= {line.title: line.real for line in lines(document) if line.real}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    cells = [[name, *(column.get(name, "—") for column in (*columns.values(), real))] for name in names]
    return ["measure", *columns, "real images"], cells


def by_basis(found: Mapping[str, EvaluationDocument]) -> dict[Basis, dict[str, EvaluationDocument]]:
    """Part what can be compared from what cannot: evaluations by the data, features and number of samples."""
    groups: dict[Basis, dict[str, EvaluationDocument]] = {}
    for name, document in found.items():
        groups.setdefault(document.basis, {})[name] = document
    return groups


def headline(document: EvaluationDocument) -> str:
    """Return the one number by which a model is quoted, wherever it is: its Fréchet distance."""
    found = document.samples
    return f"{interval(found.images.frechet)}, n = {found.num:,}; real images {interval(found.real.frechet)}"


def caveats(document: EvaluationDocument) -> list[str]:
    """Return sentences on what these numbers cannot tell."""
    found = document.samples
    counts = {
        "samples": found.num,
        "test images": found.test_num,
        "training images beside them": found.real_num,
    }
    few = [f"{count:,} {name}" for name, count in counts.items() if count and count < _ENOUGH]
    if not few:
        return []
    return [
        f"{' and '.join(few)} are few for a distance: below {_ENOUGH:,} it says more about their "
        "number than about the model; compare it with that of real images beside it alone"
    ]


def interval(found: Interval) -> str:
    """Say a number with its interval."""
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def number(value: float) -> str:
    """Say a number by three digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
