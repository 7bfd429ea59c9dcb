"""Samples, traversals, walks and reverse traces: a model goes in, a picture and its facts come out.

The command line, the report and notebooks all draw by these.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int64, UInt8
from PIL import Image
from torch import Tensor

from genmnist import notebook
from genmnist.data import Dataset
from genmnist.data.facts import class_name
from genmnist.distributed import ALONE, Ranks
from genmnist.errors import UsageError
from genmnist.families.sampling import RESAMPLE, STRENGTH
from genmnist.figures import animation, export, grid, latent, reverse
from genmnist.figures.curves import Chart, Cloud
from genmnist.figures.style import LOOK, SUFFIXES, Figure, Look
from genmnist.models import VAE, Diffusion, Generator, Latent, Request
from genmnist.models.request import unwatched

Watch = Callable[[int], None]  # called with how much is done, in images, walks or steps

_LOOKED_AT = (999, 899, 499, 199, 99, 49, 19, 0)  # timesteps of 1000, as the reference report shows them
_FRAMES = 60  # of an animation, besides those asked for
_HIDDEN = 96  # the grey of hidden pixels
_CODES = 3000  # images at most whose codes are shown
_TOGETHER = {"both": ("latent", "pixel"), "all": ("latent", "label", "pixel")}


@dataclass(frozen=True)
class Drawing:
    """A figure, the same in motion, and what is to be said of it.

    Args:
        figure: to be written as PNG, PDF or SVG.
        frames: to be written as GIF.
        facts: plain values, for scripts and captions.
        seconds: how long the frames take, without the rest at their end.
        bounce: run the frames backwards too, unless asked otherwise.
    """

    figure: Figure
    frames: Sequence[grid.Tiles] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 2.0
    bounce: bool = False

    @property
    def picture(self) -> Image.Image:
        """Return the figure in pixels, as it looks by default."""
        return self.figure.image()

    def save(self, path: Path, about: Mapping[str, str], look: Look = LOOK) -> None:
        """Write the figure, or the animation if the name ends in .gif; `about` goes into its metadata.

        Raises:
            UsageError: the figure has no motion.
            GenmnistError: the file cannot be written.
        """
        if path.suffix == ".gif":
            if not self.frames:
                raise UsageError(f"this figure does not move: `out` takes {', '.join(SUFFIXES)} here")
            bounce = self.bounce if look.bounce is None else look.bounce
            animation.save(self.frames, path, self.seconds, bounce, about, look)
        else:
            self.figure.save(path, about, look)

    def _repr_png_(self) -> bytes:
        """Show it in a notebook."""
        return notebook.png(self.picture)


class Animation(Drawing):
    """A drawing that is looked at in motion."""

    def _repr_html_(self) -> str:
        """Show it in a notebook, where it moves."""
        return notebook.picture(animation.gif(self.frames, self.seconds, self.bounce), "gif")


@dataclass(frozen=True)
class Samples:
    """Images to be drawn: a row of them that a request asks for, drawn when they are first looked at.

    Args:
        model: what draws.
        request: what is asked of it.
        num: how many.
        batch_size: at a time.
        ranks: the processes that draw together; the first one writes.
    """

    model: Generator
    request: Request
    num: int
    batch_size: int = 64
    ranks: Ranks = ALONE

    @functools.cached_property
    def images(self) -> UInt8[Tensor, "num h w *rgb"]:
        """Return the images, as bytes."""
        with notebook.bar("sampling", self.num) as watch:
            return torch.cat([*self.batches(watch)])

    @property
    def labels(self) -> Int64[Tensor, " num"] | None:
        """Return the label of each that was asked for; None where there are none."""
        return self.request.sequence(0, self.num)

    def _tiles(self, images: UInt8[Tensor, "num h w *rgb"], title: str = "") -> grid.Tiles:
        """Lay their images out as they are laid out by default."""
        return grid.grid(images, self.columns, self.heads(self.columns), title)

    def grid(self, columns: int | None = None, title: str = "") -> grid.Tiles:
        """Return a grid of them: a column a label, or a square, unless `columns` says otherwise."""
        if columns in (None, self.columns):
            return self._tiles(self.images, title)
        return grid.grid(self.images, columns, title=title)

    def _repr_png_(self) -> bytes:
        """Show them in a notebook."""
        return self.grid()._repr_png_()

    def __len__(self) -> int:
        return self.num

    @property
    def columns(self) -> int | None:
        """Return how wide a grid of them is; None for a square one."""
        turns = len(self.request.turns)
        return turns if 1 < turns <= self.num else None

    def heads(self, columns: int | None) -> list[str]:
        """Return what stands above the columns of a grid: their labels, if each has one."""
        labels = self.request.sequence(0, columns or 0)
        names = self.request.names
        return [] if labels is None else [class_name(names, label) for label in labels.tolist()]

    def batches(self, watch: Watch, before: int = 0) -> Iterator[Tensor]:
        """Draw, and tell `watch` of it as `before` and as many images as the steps taken come to."""
        done, turn = 0, self.batch_size * self.ranks.size

        def step(share: float) -> None:
            watch(before + done + int(share * min(turn, self.num - done)))

        request = replace(self.request, watch=step)
        for batch in self.model.sample_batches(request, self.num, self.batch_size, self.ranks):
            done += len(batch)
            watch(before + done)
            yield batch

    def draw(self, watch: Watch = unwatched) -> Drawing:
        """Draw a grid of them."""
        return Drawing(self._tiles(torch.cat([*self.batches(watch)])), (), self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """Return how they are drawn, as plain values."""
        return {"num": self.num, **_facts(self.request)}

    def write(
        self,
        out: str | Path,
        about: Mapping[str, str] | None = None,
        watch: Watch = unwatched,
        look: Look = LOOK,
    ) -> Image.Image | None:
        """Draw into a file or a folder, as its name asks, and return the picture if it is one.

        Of several processes the first one writes. How images come about it draws alone.

        Raises:
            GenmnistError: it cannot be written.
        """
        out, about = Path(out), about or {}
        if not self.ranks.leads:
            for _ in self.batches(watch) if out.suffix != ".gif" else ():
                pass  # its share is all that it is here for
            return None
        if out.suffix == ".npz":
            export.npz(self.batches(watch), self.num, out, self.labels)
            return None
        if out.suffix == "":
            export.folder(self.batches(watch), self.num, out, about)
            return None
        drawn = self.animate(watch) if out.suffix == ".gif" else self.draw(watch)
        drawn.save(out, about, look)
        return drawn.picture

    def animate(self, watch: Watch | None = None) -> Animation:
        """Draw how they come about."""
        with notebook.bar("drawing", self.num) as shown:
            tell = watch or shown
            request = replace(self.request, watch=lambda share: tell(int(share * self.num)))
            frames = self.model.frames(request, self.num)
            pictures = [self._tiles(frame.images, frame.moment) for frame in frames]
        return Animation(pictures[-1], pictures, self.facts, seconds=4.0)

    def sweep(self, ways: Mapping[str, Any], watch: Watch = unwatched) -> Drawing:
        """Draw the same noise in several ways: a row for each, by its name."""
        rows = [
            torch.cat([*replace(self, request=replace(self.request, how=how)).batches(watch, k * self.num)])
            for k, how in enumerate(ways.values())
        ]
        names = [name.replace("-", "−") for name in ways]
        return Drawing(grid.Tiles(torch.stack(rows), names, self.heads(self.num)), (), self.facts)


def _facts(request: Request) -> dict[str, Any]:
    labels = {"labels": [*request.turns]} if request.turns else {}
    return {**request.how.asdict(), **labels}


def traversal(
    model: VAE,
    data: Dataset,
    seed: int = 0,
    *,
    view: str | None = None,
    steps: int | None = None,
    span: float = 2.0,
    from_digit: int | str | None = None,
    from_prior: bool = False,
    watch: Watch = unwatched,
) -> Drawing:
    """Draw what the latent factors do (figure 3 of the reference report), or where images lie among them.

    Args:
        model: whose factors.
        data: over which their use is measured, and where real digits come from.
        seed: chooses the digit to start from (by its number, among all or those of its label), or the point.
        view: `factors`, a row each, the most used first; `plane`, what is decoded all over the plane of the
            two most used; `codes`, where the images lie on it. None: `factors`, of a model with two `plane`.
        steps: values of each factor. None: 5, or of a plane 15.
        span: each factor is set from minus this to plus this.
        from_digit: start from a digit of this label, by number or name.
        from_prior: start from a point of the prior instead of a digit.
        watch: called with how many images are measured.

    Raises:
        UsageError: the data have no such digit, or the model has no plane.
    """
    view = view or ("plane" if model.options.latent == 2 else "factors")
    if view != "factors" and model.options.latent < 2:
        raise UsageError(f"`view` {view} needs two latent factors: this model has one")
    if from_digit is not None:
        from_digit = data.number(from_digit)
    if from_prior:
        base = model.prior(seed)[0]
    else:
        start = data.images[seed % len(data)] if from_digit is None else data.first(from_digit, seed)
        base = model.embed(start[None])[0]
    for usage in model.usage(data):
        watch(usage.images)
    first, second = sorted(usage.order()[:2]) if view != "factors" else (0, 0)
    values = torch.linspace(-span, span, steps or (15 if view == "plane" else 5))
    figure: Figure
    frames: Sequence[grid.Tiles] = ()
    if view == "factors":
        figure, frames = latent.traversal(model.traverse(base, values), values, usage.kl, usage.active)
    elif view == "plane":
        figure = latent.plane(model.plane(base, values, (first, second)), values, (first, second))
    else:
        codes = torch.cat([model.embed(images) for images in data.images[:_CODES].split(1000)])
        x, y = codes[:, first].tolist(), codes[:, second].tolist()
        classes = data.labels[:_CODES].tolist()
        names = [class_name(data.class_names, label) for label in range(max(classes) + 1)]
        figure = Chart([[Cloud(x, y, classes, names, *map(latent.factor_name, (first, second)))]], 5, 5)
    factors = [
        {"factor": factor, "kl": round(usage.kl[factor].item(), 4), "active": bool(usage.active[factor])}
        for factor in usage.order()
    ]
    facts = {
        "view": view,
        "from_digit": from_digit,
        "from_prior": from_prior,
        "active_units": int(usage.active.sum()),
        "kl": round(usage.kl.sum().item(), 4),
        "factors": factors,
    }
    return Drawing(figure, frames, facts, bounce=True)


def reconstructions(
    model: VAE, data: Dataset, seed: int = 0, num: int | None = None, *, labels: Sequence[int | str] = ()
) -> Drawing:
    """Draw images above what the model makes of their codes, of each label in turn.

    Args:
        model: what encodes and decodes.
        data: where the images come from.
        seed: which of each label.
        num: how many. None: one of each label, of ten at most.
        labels: which, by number or name; none are all.

    Raises:
        UsageError: the data have not so many of a label.
    """
    turns = [data.number(label) for label in labels] or data.labels.unique().tolist()
    num = num or min(len(turns), 10)
    shown = [turns[k % len(turns)] for k in range(num)]
    images = torch.stack([data.first(label, seed + k // len(turns)) for k, label in enumerate(shown)])
    with torch.inference_mode():
        decoded = model.decode(model.embed(images))
    figure = latent.reconstructions(images, decoded, [class_name(data.class_names, k) for k in shown])
    return Drawing(figure, (), {"num": num, "labels": shown})


def interpolation(
    model: Latent,
    request: Request,
    data: Dataset | None = None,
    *,
    space: str = "both",
    pairs: int = 4,
    points: int = 11,
    path: str = "lerp",
    from_digits: tuple[int | str, int | str] | None = None,
    watch: Watch = unwatched,
) -> Drawing:
    """Draw walks from one image to another (figures 4 and 5 of the reference report).

    Args:
        model: through whose latent space.
        request: chooses the end points; how to sample, without noise on the way; two labels to walk between,
            or one to keep.
        data: where the end points come from; None: they are points of the prior.
        space: `latent`, `pixel`, `both` under one another; in models with labels `label` or `all` too.
        pairs: of end points.
        points: on the way, both ends included.
        path: `lerp` or `slerp`.
        from_digits: walk between digits of these labels, by number or name, not between any two.
        watch: called with how many walks are done, one for the end points included.

    Raises:
        UsageError: the data have no such digit, the model no such label.
    """
    seed, count = request.seed, 2 * pairs
    if from_digits and data is None:
        raise UsageError("walks `from_digits` need `data` to take them from")
    z, images = model.prior(seed, count), None
    if data is not None:
        if from_digits:
            from_digits = own = (data.number(from_digits[0]), data.number(from_digits[1]))
            images = torch.stack([data.first(digit, seed + k) for k in range(pairs) for digit in own])
        else:
            numbers = (torch.arange(count) + seed * count) % len(data)
            images, own = data.images[numbers], tuple(data.labels[numbers].tolist())
        if request.classes and not request.labels:
            request = replace(request, labels=own)
    labels = model.condition(request, 0, count, images)  # of each pair its first end, then its second
    if images is not None:
        z = model.embed(images, labels if request.guide is None else None)
    ends = None if labels is None else (labels[0::2], labels[1::2])
    watch(1)
    alphas = torch.linspace(0, 1, points)
    through = _TOGETHER.get(space, (space,))
    walks = []
    for place in through:
        walks.append(model.interpolate(z[0::2], z[1::2], alphas, place, path, labels=ends, request=request))
        watch(1 + len(walks))
    picture, frames = latent.interpolation(walks, through, alphas)
    facts: dict[str, Any] = {
        "from_digits": from_digits,
        "from_prior": data is None,
        "space": space,
        "path": path,
        "pairs": pairs,
        "points": points,
    }
    if hasattr(request.how, "deterministic"):  # or else the end points alone say what lies between them
        facts |= request.how.asdict()
    if labels is not None and request.classes:
        facts["labels"] = labels.view(-1, 2).tolist()
    return Drawing(picture, frames, facts, bounce=True)


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
        return Drawing(frames[-1], frames, facts, seconds=4.0)
    chosen = [step for t in visit for step in kept if step.t == t]
    return Drawing(reverse.picture(chosen, show_x0), (), facts)


def completions(
    model: Diffusion,
    request: Request,
    image: UInt8[Tensor, "h w *rgb"],
    hidden: Bool[Tensor, "h w"],
    *,
    num: int = 8,
    resample: int = RESAMPLE,
    watch: Watch = unwatched,
) -> Changes:
    """Draw what is hidden of an image, `num` times: a row a label asked for.

    Args:
        model: what draws.
        request: the seed, how to sample, and the labels, if any.
        image: bytes, of the model's shape.
        hidden: which pixels to draw.
        num: how many a row.
        resample: see `Diffusion.complete`.
        watch: called with how many images are done.

    Raises:
        UsageError: see `Diffusion.complete`.
    """
    shown = image.clone()
    shown[hidden] = _HIDDEN
    draw = functools.partial(model.complete, image, hidden, num, request.seed, resample=resample)
    facts = {"resample": resample, "hidden": int(hidden.sum())}
    return _changes(request, draw, [image, shown], ["digit", "known"], num, facts, watch)


def edits(
    model: Diffusion,
    request: Request,
    image: UInt8[Tensor, "h w *rgb"],
    *,
    strength: float = STRENGTH,
    num: int = 8,
    watch: Watch = unwatched,
) -> Changes:
    """Draw images like one that is given, `num` times: a row a label asked for.

    Args:
        model: what draws.
        request: the seed, how to sample, and the labels, if any.
        image: bytes, of the model's shape.
        strength: see `Diffusion.edit`.
        num: how many a row.
        watch: called with how many images are done.

    Raises:
        UsageError: see `Diffusion.edit`.
    """
    draw = functools.partial(model.edit, image, strength, num, request.seed)
    return _changes(request, draw, [image], ["digit"], num, {"strength": strength}, watch)


@dataclass(frozen=True)
class Changes(Drawing):
    """Images made from one that was given.

    Args:
        images: all of them, in rows.
        labels: of each, if any were asked for.
    """

    images: UInt8[Tensor, "n h w *rgb"] = field(kw_only=True)
    labels: tuple[int, ...] = ()

    def save(self, path: Path, about: Mapping[str, str], look: Look = LOOK) -> None:
        """Write arrays if the name ends in .npz, else the figure. Raises GenmnistError if it cannot."""
        if path.suffix == ".npz":
            export.npz([self.images], len(self.images), path, self.labels or None)
        else:
            super().save(path, about, look)


def _changes(
    request: Request,
    draw: Callable[..., Tensor],
    before: Sequence[Tensor],
    heads: Sequence[str],
    num: int,
    facts: Mapping[str, Any],
    watch: Watch,
) -> Changes:
    """Draw a row for each label asked for, behind the images that it began with."""
    turns: Sequence[int | None] = request.labels or (None,)
    rows = []
    for number, label in enumerate(turns):

        def step(share: float, number: int = number) -> None:
            watch(int((number + share) * num))

        asked = {} if label is None else {"labels": label}
        rows.append(draw(how=request.how, guide=request.guide, watch=step, **asked))
    tiles = torch.stack([torch.cat((torch.stack([*before]), row)) for row in rows])
    named = [class_name(request.names, label) for label in request.labels]
    figure = grid.Tiles(tiles, named, [*heads, *[""] * num])
    labels = tuple(label for label in request.labels for _ in range(num))
    told = {"num": num, **request.how.asdict(), **facts}
    if request.labels:
        told["labels"] = [*request.labels]
    return Changes(figure, (), told, images=torch.cat(rows), labels=labels)
