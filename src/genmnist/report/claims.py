"""What the reference report claims by eye, held against numbers. Needs no torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from genmnist.evaluation.document import EvaluationDocument

Evaluations = Mapping[str, EvaluationDocument]  # by family


@dataclass(frozen=True)
class Claim:
    """A claim of the report, what was measured of it, and whether it holds."""

    text: str
    measured: str
    holds: bool

    @property
    def verdict(self) -> str:
        """Return the verdict in words."""
        return "holds" if self.holds else "does not hold"


def judge(found: Evaluations) -> list[Claim]:
    """Return the claims on which these evaluations have something to say."""
    return [*_vae(found), *_latent(found), *_epochs(found), *_coarse(found), *_guided(found)]


def _vae(found: Evaluations) -> Iterator[Claim]:
    vae, ddpm = found.get("vae"), found.get("ddpm")
    if vae and ddpm:
        edges = [part.sharpness.images for part in (vae, ddpm)]
        yield Claim(
            "Samples of the VAE are less sharp than those of diffusion.",
            f"sharpness of edges {edges[0]:.2f} and {edges[1]:.2f}, real {vae.sharpness.real:.2f}",
            edges[0] < edges[1],
        )
    if vae and vae.vae:
        active, of = vae.vae.active_units, vae.vae.latent
        yield Claim(
            "Most latent factors do next to nothing.", f"{active} of {of} factors are active", 2 * active < of
        )


def _latent(found: Evaluations) -> Iterator[Claim]:
    vae = found.get("vae")
    if vae and vae.walks:
        latent, pixel = vae.walks.latent, vae.walks.pixel
        (_, near), (_, far) = latent.middle, pixel.middle
        yield Claim(
            "Latent interpolation passes through real digits, pixel interpolation is a fade.",
            f"half-way a real digit is at {near:.2f} through latent space, at {far:.2f} through pixels",
            far - near > 2 * (latent.middle_error + pixel.middle_error),
        )


def _epochs(found: Evaluations) -> Iterator[Claim]:
    for family in ("ddpm", "cfg"):
        curve = found[family].by_epoch if family in found else None
        if curve and len(curve.distances) > 2:
            epochs, values = zip(*curve.distances, strict=True)
            order = statistics.correlation(_ranks(epochs), _ranks(values))
            yield Claim(
                f"Quality grows with the epochs ({family}).",
                f"Fréchet distance to {curve.data} (n = {curve.num:,}) from {values[0]:.3g} after epoch "
                f"{epochs[0]:.0f} to {values[-1]:.3g} after {epochs[-1]:.0f}; rank correlation {order:.2f}",
                order < -0.5,
            )


def _coarse(found: Evaluations) -> Iterator[Claim]:
    settled = found["ddpm"].coarse_before_fine if "ddpm" in found else None
    if settled:
        times = settled.half_settled
        listed = ", ".join(f"{t:.0f}" for t in times)
        yield Claim(
            "The reverse process settles the coarse before the fine.",
            f"from the coarsest band to the finest, half of it is final from t = {listed}",
            list(times) == sorted(times, reverse=True) and times[0] > times[-1],
        )


def _guided(found: Evaluations) -> Iterator[Claim]:
    rows = found["cfg"].guidance_sweep if "cfg" in found else ()
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        yield Claim(
            "Guidance makes samples truer to their label and less diverse.",
            f"from w = {first.strength:g} to {last.strength:g} the label is kept by "
            f"{first.label_agreement:.1%} and {last.label_agreement:.1%}, recall is "
            f"{first.recall:.2f} and {last.recall:.2f}",
            last.label_agreement > first.label_agreement and last.recall < first.recall,
        )


def _ranks(values: Sequence[float | int]) -> list[int]:
    """Return the place of each value among all."""
    ranks = [0] * len(values)
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        ranks[place] = rank
    return ranks
