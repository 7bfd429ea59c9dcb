"""What is measured on digits, held against strokes of known shape."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.functional import gaussian_blur

from genmnist.data import Splits
from genmnist.evaluation import factors

_FINE = 16  # places a pixel


def drawn(inside: torch.Tensor) -> torch.Tensor:
    """Return an image of what is inside, on a grid of fine places, as bytes."""
    grey = F.avg_pool2d(inside.float()[None], _FINE)
    return (255 * grey).round().to(torch.uint8)


def places() -> tuple[torch.Tensor, torch.Tensor]:
    """Return x to the right and y down, in pixels from the middle."""
    axis = (torch.arange(28 * _FINE) + 0.5) / _FINE - 14
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def bar(breadth: float, shear: float) -> torch.Tensor:
    x, y = places()
    return drawn(((x + shear * y - 1).abs() < breadth / 2) & ((y + 2).abs() < 9))


def stroke(breadth: float, degrees: float, length: float = 20) -> torch.Tensor:
    x, y = places()
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along, across = cosine * x + sine * y, cosine * y - sine * x
    return drawn((along.abs() < length / 2) & (across.abs() < breadth / 2))


@pytest.mark.parametrize("shear", [-0.5, 0.0, 0.3, 0.6])
@pytest.mark.parametrize("breadth", [2.0, 5.0])
def test_slant_is_the_shear_and_width_does_not_see_it(shear: float, breadth: float) -> None:
    image = bar(breadth, shear)
    assert factors.slant(image).item() == pytest.approx(shear, abs=0.01)
    pixels = (1 + shear**2) / 12  # where in its pixel the ink lies cannot be seen
    assert factors.width(image).square().item() == pytest.approx(breadth**2 / 12, abs=2.1 * pixels)


def test_a_slash_leans_to_the_right() -> None:
    assert factors.slant(torch.eye(28).flip(1).mul(255).to(torch.uint8)[None]).item() == pytest.approx(1)


@pytest.mark.parametrize("degrees", [0, 15, 45, 70, 90, 120])
@pytest.mark.parametrize(("breadth", "tolerance"), [(2.0, 0.13), (3.0, 0.05), (4.0, 0.05), (6.0, 0.05)])
def test_thickness_is_the_breadth_of_a_stroke(degrees: float, breadth: float, tolerance: float) -> None:
    expected = breadth * 20 / (20 + breadth)  # its ends are outline too
    assert factors.thickness(stroke(breadth, degrees)).item() == pytest.approx(expected, rel=tolerance)


def test_paleness_changes_neither_shape_nor_thickness(few: Splits) -> None:
    dark, pale = few.test.images // 2 * 2, few.test.images // 2
    for factor in (factors.slant, factors.width, factors.thickness):
        torch.testing.assert_close(factor(dark), factor(pale))
    torch.testing.assert_close(factors.sharpness(dark), 2 * factors.sharpness(pale))


@pytest.mark.parametrize("reach", [2, 3, 5])
def test_sharpness_is_one_over_the_reach_of_an_edge(reach: float) -> None:
    distance = torch.hypot(*places())
    disc = ((9 - distance) / reach + 0.5).clamp(0, 1)
    assert 1 / (reach + 1) < factors.sharpness(drawn(disc)).item() < 1 / reach


def test_nothing_is_sharper_than_a_square() -> None:
    square = torch.zeros(1, 28, 28, dtype=torch.uint8)
    square[:, 4:24, 4:24] = 255
    assert 0.98 < factors.sharpness(square).item() <= 1


def test_sharpness_falls_with_blur_and_hardly_differs_between_digits(few: Splits) -> None:
    images = few.test.images
    means = [factors.sharpness(images).mean().item()]
    means += [
        factors.sharpness(gaussian_blur(images[:, None], [9, 9], [sigma, sigma])[:, 0]).mean().item()
        for sigma in (0.5, 1.0, 2.0)
    ]
    assert means == sorted(means, reverse=True)
    assert means[0] > 2 * means[2]
    assert factors.sharpness(images).std() < 0.1 * means[0]


def test_images_without_ink_measure_nothing() -> None:
    one = torch.zeros(28, 28, dtype=torch.uint8)
    one[5, 3:9] = 200  # a line without height does not lean
    images = torch.stack((torch.zeros_like(one), one, torch.full_like(one, 255)))
    for factor in (factors.slant, factors.width, factors.thickness, factors.sharpness):
        assert factor(images).isfinite().all()
        assert factor(images)[0] == 0
        assert factor(images[:0]).shape == (0,)
    assert factors.slant(images).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert factors.width(images)[1].item() == pytest.approx(math.sqrt(35 / 12))
