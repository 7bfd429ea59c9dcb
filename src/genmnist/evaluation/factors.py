"""What can be measured on the image of a digit itself: how it leans, how wide, thick and sharp it is.

Ink is brightness: a pixel of 255 counts as 1, and grey ones as their share; of colours the luminance counts.
An image without ink measures 0. Images may have any sides, in bytes, grey or colour.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from genmnist.data import scale

Images = UInt8[Tensor, "n h w *rgb"]
Measured = Float[Tensor, " n"]

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
_LEAST = 1e-4  # of what is divided by; less is the rounding of nothing


def slant(images: Images) -> Measured:
    """Return how far each digit leans: pixels to the right for each pixel up; italics are positive.

    It is the shear -mu_11 / mu_02 by central second moments, with x to the right and y down, that makes a
    digit upright (LeCun et al. 1998, "Gradient-based learning applied to document recognition", section
    III.A, deslants by it).
    """
    _, mixed, vertical = _moments(images)
    return _ratio(-mixed, vertical)


def width(images: Images) -> Measured:
    """Return how wide each digit is once upright: the standard deviation of its ink along x, in pixels.

    Shearing a digit by its `slant` leaves mu_20 - mu_11^2 / mu_02 of the second moment, which is thus known
    without drawing it anew. A bar of b pixels measures about b / sqrt(12).
    """
    horizontal, mixed, vertical = _moments(images)
    return (horizontal - mixed * _ratio(mixed, vertical)).clamp_min(0).sqrt()


def thickness(images: Images) -> Measured:
    """Return the width of each digit's stroke in pixels: twice its ink over the length of its outline.

    The length of the outline is the total variation, as the coarea formula has it (Fleming & Rishel 1960),
    so that the paleness of a stroke cancels. The ends of a stroke are outline too: one of width w and length
    L measures w L / (L + w). From three pixels on it is within 5 % of that in any direction; of two pixels,
    it can seem an eighth thicker.
    """
    steepness = _steepness(images)
    return _ratio(2 * ink(images).sum((1, 2)), steepness.sum((1, 2)))


def sharpness(images: Images) -> Measured:
    """Return how steep the edges of each digit are, from 0 to 1: what is lost by blur.

    The edge energy over the length of the outline: the squared gradient summed over pixels, by the gradient
    summed over them. An edge from black to white within p pixels measures 1 / p, or 1 / (p + 1) where it
    slants across them, whatever its length, so that thick strokes and thin ones compare; a pale edge counts
    as a blurred one.
    """
    steepness = _steepness(images)
    return _ratio(steepness.square().sum((1, 2)), steepness.sum((1, 2)))


def ink(images: Images) -> Float[Tensor, "n h w"]:
    """Return the brightness of every pixel, from 0 to 1."""
    channels = scale(images)
    if channels.shape[1] == 1:
        return channels.squeeze(1)
    return torch.einsum("nchw,c->nhw", channels, channels.new_tensor(_LUMA))


def _moments(images: Images) -> tuple[Measured, Measured, Measured]:
    """Return the central second moments mu_20, mu_11 and mu_02, over the ink, in squared pixels."""
    light = ink(images)
    total = light.sum((1, 2))
    columns, rows = light.sum(1), light.sum(2)
    x, y = (_from_middle(profile, total) for profile in (columns, rows))
    mixed = torch.einsum("nyx,ny,nx->n", light, y, x)
    horizontal, vertical = (columns * x.square()).sum(1), (rows * y.square()).sum(1)
    return _ratio(horizontal, total), _ratio(mixed, total), _ratio(vertical, total)


def _from_middle(profile: Float[Tensor, "n side"], total: Measured) -> Float[Tensor, "n side"]:
    """Return how far each place is from the middle of the ink, in pixels."""
    places = torch.arange(profile.shape[1], dtype=profile.dtype, device=profile.device)
    return places - _ratio(profile @ places, total)[:, None]


def _steepness(images: Images) -> Float[Tensor, "n h+1 w+1"]:
    """Return the length of the gradient between each four pixels, black ones around the image included.

    Both differences are taken in the middle of the four (Roberts 1965), which treats directions alike.
    """
    padded = F.pad(ink(images), (1, 1, 1, 1))
    right, down = padded.diff(dim=2), padded.diff(dim=1)
    return torch.hypot(right[:, 1:] + right[:, :-1], down[:, :, 1:] + down[:, :, :-1]) / 2


def _ratio(above: Measured, below: Measured) -> Measured:
    return torch.where(below > _LEAST, above / below, 0)
