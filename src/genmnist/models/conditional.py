"""Diffusion with labels, and with a null label for any (Ho & Salimans 2022)."""

from __future__ import annotations

from typing import ClassVar

from genmnist.families.cfg import ConditionalOptions
from genmnist.models.diffusion import Diffusion


class ConditionalDiffusion(Diffusion):
    """Diffusion with labels, and with a null label for any (Ho & Salimans 2022)."""

    family: ClassVar[str] = "cfg"
    options: ConditionalOptions
