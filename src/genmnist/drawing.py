"""Samples, traversals, walks and reverse traces: a model goes in, a picture and its facts come out.

The command line, the report and notebooks all draw by these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from genmnist.data import Dataset
from genmnist.errors import UsageError
from genmnist.figures import animation, export, grid, latent, reverse
from genmnist.models import VAE, Diffusion, Generator, Latent, Request
from genmnist.models.request import unwatched
from genmnist.version import __version__

Watch = Callable[[int], None]  # called with how much is done, in images, walks or steps

_LOOKED_AT = (999, 899, 499, 199, 99, 49, 19, 0)  # timesteps of 1000, as the reference report shows them
_FRAMES = 60  # of an animation, besides those asked for
_TOGETHER = {"both": ("latent", "pixel"), "all": ("latent", "label", "pixel")}


@dataclass(frozen=True)
class Drawing:
    """A picture, the same in motion, and what is to be said of it.

    Args:
        picture: to be written as PNG.
        frames: to be written as GIF.
        facts: plain values, for scripts and captions.
        milliseconds: how long each frame is shown.
        bounce: run the frames backwards too.
    """

    picture: Image.Image
    frames: Sequence[Image.Image] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    milliseconds: int = 80
    bounce: bool = True

    def save(self, path: Path, about: Mapping[str, str]) -> None:
        """Write the picture, or the animation if the name ends in .gif; `about` goes into its metadata.

        Raises:
            GenmnistError: the file cannot be written.
        """
        if path.suffix == ".gif":
            animation.save(self.frames, path, self.milliseconds, self.bounce, about)
        else:
            grid.save(self.picture, path, about)


def about(command: str, model: str, seed: int) -> dict[str, str]:
    """Return what a picture's metadata says of how to make it again."""
    return {"Software": f"genmnist {__version__}", "Command": command, "Model": model, "Seed": str(seed)}


@dataclass(frozen=True)
class Samples:
    """Images to be drawn.

    Args:
        model: what draws.
        request: what is asked of it.
        num: how many.
        batch_size: at a time.
    """

    model: Generator
    request: Request
    num: int
    batch_size: int = 64

    @property
    def columns(self) -> int | None:
        """Return how wide a grid of them is; None for a square one."""
        turns = len(self.request.turns)
        return turns if 1 < turns <= self.num else None

    def batches(self, watch: Watch, before: int = 0) -> Iterator[Tensor]:
        """Draw, and tell `watch` of it as `before` and as many images as the steps taken come to."""
        done = 0

        def step(share: float) -> None:
            watch(before + done + int(share * min(self.batch_size, self.num - done)))

        for batch in self.model.sample_batches(replace(self.request, watch=step), self.num, self.batch_size):
            done += len(batch)
            watch(before + done)
            yield batch

    def draw(self, watch: Watch = unwatched) -> Drawing:
        """Draw a grid of them."""
        return Drawing(grid.grid(torch.cat([*self.batches(watch)]), self.columns), (), self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """Return how they are drawn, as plain values."""
        return {"num": self.num, **_facts(self.request)}

    def write(self, out: Path, about: Mapping[str, str], watch: Watch) -> Image.Image | None:
        """Draw into a file or a folder, as its name asks, and return the picture if it is one.

        Raises:
            GenmnistError: it cannot be written.
        """
        if out.suffix == ".npz":
            labels = self.request.sequence(0, self.num)
            export.npz(self.batches(watch), self.num, out, None if labels is None else labels.tolist())
            return None
        if out.suffix == "":
            export.folder(self.batches(watch), self.num, out, about)
            return None
        drawn = self.draw(watch) if out.suffix == ".png" else self.animate(watch)
        drawn.save(out, about)
        return drawn.picture

    def animate(self, watch: Watch = unwatched) -> Drawing:
        """Draw how they come about."""
        request = replace(self.request, watch=lambda share: watch(int(share * self.num)))
        pictures = [grid.grid(frame, self.columns) for frame in self.model.frames(request, self.num)]
        return Drawing(pictures[-1], pictures, self.facts)

    def sweep(self, ways: Mapping[str, Any], watch: Watch = unwatched) -> Drawing:
        """Draw the same noise in several ways: a row for each, by its name."""
        rows = [
            torch.cat([*replace(self, request=replace(self.request, how=how)).batches(watch, k * self.num)])
            for k, how in enumerate(ways.values())
        ]
        return Drawing(grid.tiles(torch.stack(rows), list(ways)), (), self.facts)


def _facts(request: Request) -> dict[str, Any]:
    labels = {"labels": [*request.turns]} if request.turns else {}
    return {**request.how.asdict(), **labels}


def traversal(
    model: VAE,
    data: Dataset,
    seed: int = 0,
    *,
    steps: int = 5,
    span: float = 2.0,
    from_digit: int | None = None,
    watch: Watch = unwatched,
) -> Drawing:
    """Draw what each latent factor does, the most used first (figure 3 of the reference report).

    Args:
        model: whose factors.
        data: over which their use is measured, and where real digits come from.
        seed: chooses the point of the prior to start from, or which digit of its label.
        steps: values of each factor.
        span: each factor is set from minus this to plus this.
        from_digit: start from a digit of this label instead of a point of the prior.
        watch: called with how many images are measured.

    Raises:
        UsageError: the data have no such digit.
    """
    base = model.prior(seed)[0] if from_digit is None else model.embed(data.first(from_digit, seed)[None])[0]
    for usage in model.usage(data):
        watch(usage.images)
    values = torch.linspace(-span, span, steps)
    picture, frames = latent.traversal(model.traverse(base, values), values, usage.kl, usage.active)
    factors = [
        {"factor": factor, "kl": round(usage.kl[factor].item(), 4), "active": bool(usage.active[factor])}
        for factor in usage.order()
    ]
    facts = {
        "from_digit": from_digit,
        "active_units": int(usage.active.sum()),
        "kl": round(usage.kl.sum().item(), 4),
        "factors": factors,
    }
    return Drawing(picture, frames, facts, milliseconds=max(60, 1200 // steps))


def interpolation(
    model: Latent,
    request: Request,
    data: Dataset | None = None,
    *,
    space: str = "both",
    pairs: int = 4,
    points: int = 11,
    path: str = "lerp",
    from_digits: tuple[int, int] | None = None,
    watch: Watch = unwatched,
) -> Drawing:
    """Draw walks from one image to another (figures 4 and 5 of the reference report).

    Args:
        model: through whose latent space.
        request: chooses the end points; how to sample, without noise on the way; two labels to walk between,
            or one to keep.
        data: where real digits come from.
        space: `latent`, `pixel`, `both` under one another; in models with labels `label` or `all` too.
        pairs: of end points.
        points: on the way, both ends included.
        path: `lerp` or `slerp`.
        from_digits: walk between real digits of these labels, not between points of the prior.
        watch: called with how many walks are done, one for the end points included.

    Raises:
        UsageError: the data have no such digit, the model no such label.
    """
    seed = request.seed
    if from_digits and request.classes and not request.labels:
        request = replace(request, labels=from_digits)
    labels = request.sequence(0, 2 * pairs)  # of each pair its first end, then its second
    if from_digits is None:
        z = model.prior(seed, 2 * pairs)
    elif data is None:
        raise UsageError("walks `from_digits` need `data` to take them from")
    else:
        images = [data.first(digit, seed + k) for k in range(pairs) for digit in from_digits]
        z = model.embed(torch.stack(images), labels if model.classes else None)
    ends = None if labels is None else (labels[1::2], labels[0::2])
    watch(1)
    alphas = torch.linspace(0, 1, points)
    through = _TOGETHER.get(space, (space,))
    walks = []
    for place in through:
        walks.append(model.interpolate(z[1::2], z[0::2], alphas, place, path, labels=ends, request=request))
        watch(1 + len(walks))
    picture, frames = latent.interpolation(walks, through, alphas)
    facts: dict[str, Any] = {
        "from_digits": from_digits,
        "space": space,
        "path": path,
        "pairs": pairs,
        "points": points,
    }
    if hasattr(request.how, "deterministic"):  # or else the end points alone say what lies between them
        facts |= request.how.asdict()
    if labels is not None:
        facts["labels"] = labels.view(-1, 2).tolist()
    return Drawing(picture, frames, facts)


def reverse_trace(
    model: Diffusion,
    request: Request,
    *,
    num: int = 4,
    timesteps: Sequence[int] = (),
    show_x0: bool = False,
    animated: bool = False,
    watch: Watch = unwatched,
) -> Drawing:
    """Draw the reverse process, from noise to images (figure 7 of the reference report).

    Args:
        model: what denoises.
        request: what is asked of it.
        num: how many.
        timesteps: where to look; the sampler passes through each of them. None: as the report does.
        show_x0: show the clean image predicted at each of them too.
        animated: keep the frames of an animation.
        watch: called with how many steps are done.

    Raises:
        UsageError: there is no such timestep.
    """
    visit = [*timesteps] or [round(t * (len(model.schedule) - 1) / 999) for t in _LOOKED_AT]
    total = len(model.timesteps(request.how, visit))
    stride = -(-total // _FRAMES) if animated else total
    kept = []
    for number, step in enumerate(model.trace(request, num, visit), 1):
        if step.t in visit or number % stride == 0 or number == total:
            kept.append(step)
        watch(number)
    facts = {"num": num, "timesteps": visit, **_facts(request)}
    if animated:
        frames = reverse.frames(kept, show_x0)
        return Drawing(frames[-1], frames, facts, bounce=False)
    chosen = [step for t in visit for step in kept if step.t == t]
    return Drawing(reverse.picture(chosen, show_x0), (), facts)
