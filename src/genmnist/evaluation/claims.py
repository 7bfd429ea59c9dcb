"""What the reference report claims by eye, held against numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Evaluations = Mapping[str, Mapping[str, Any]]  # what `Whole.document` says, by family


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
        edges = [part["sharpness"]["images"] for part in (vae, ddpm)]
        ratios = [part["samples"]["ratio"] for part in (vae, ddpm)]
        yield Claim(
            "Samples of the VAE are less sharp than those of diffusion.",
            f"sharpness of edges {edges[0]:.2f} and {edges[1]:.2f}, real {vae['sharpness']['real']:.2f}; "
            f"distance {ratios[0]:.0f} and {ratios[1]:.1f} times the floor",
            edges[0] < edges[1] and ratios[0] > ratios[1],
        )
    if vae and "vae" in vae:
        active, of = vae["vae"]["active_units"], vae["vae"]["latent"]
        yield Claim(
            "Most latent factors do next to nothing.", f"{active} of {of} factors are active", 2 * active < of
        )


def _latent(found: Evaluations) -> Iterator[Claim]:
    walks = found.get("vae", {}).get("walks")
    if walks:
        half = len(walks["alphas"]) // 2
        latent, pixel = (walks[space]["distance"][half] for space in ("latent", "pixel"))
        error = walks["latent"]["distance_error"][half] + walks["pixel"]["distance_error"][half]
        yield Claim(
            "Latent interpolation passes through real digits, pixel interpolation is a fade.",
            f"half-way a real digit is at {latent:.2f} through latent space, at {pixel:.2f} through pixels",
            pixel - latent > 2 * error,
        )


def _epochs(found: Evaluations) -> Iterator[Claim]:
    for family in ("ddpm", "cfg"):
        curve = found.get(family, {}).get("distance_by_epoch", [])
        if len(curve) > 2:
            epochs, values = torch.tensor(curve, dtype=torch.float64).T
            ranks = torch.stack((epochs.argsort().argsort(), values.argsort().argsort())).double()
            order = torch.corrcoef(ranks)[0, 1].item()
            yield Claim(
                f"Quality grows with the epochs ({family}).",
                f"distance from {values[0]:.1f} times the floor after epoch {epochs[0]:.0f} to "
                f"{values[-1]:.1f} after {epochs[-1]:.0f}; rank correlation {order:.2f}",
                order < -0.5,
            )


def _coarse(found: Evaluations) -> Iterator[Claim]:
    settled = found.get("ddpm", {}).get("coarse_before_fine")
    if settled:
        times = settled["half_settled"]
        listed = ", ".join(f"{t:.0f}" for t in times)
        yield Claim(
            "The reverse process settles the coarse before the fine.",
            f"from the coarsest band to the finest, half of it is final from t = {listed}",
            times == sorted(times, reverse=True) and times[0] > times[-1],
        )


def _guided(found: Evaluations) -> Iterator[Claim]:
    rows = found.get("cfg", {}).get("guidance_sweep", [])
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        yield Claim(
            "Guidance makes samples truer to their label and less diverse.",
            f"from w = {first['strength']:g} to {last['strength']:g} the label is kept by "
            f"{first['label_agreement']:.1%} and {last['label_agreement']:.1%}, recall is "
            f"{first['recall']:.2f} and {last['recall']:.2f}",
            last["label_agreement"] > first["label_agreement"] and last["recall"] < first["recall"],
        )
