"""How diffusion models are sampled: the options of every sampler, and the settings that suit each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from genmnist.errors import UsageError
from genmnist.options import Options, about, fields, named
from genmnist.registry import SAMPLERS, SPACINGS

_TIMESTEPS = "the timesteps of the model"
RESAMPLE = 8  # times that each step of a completion is taken
STRENGTH = 0.6  # of an edit
_ONLY_SOME_TAKE = ("eta", "variance")


class Sampling(Options, frozen=True, kw_only=True):
    """How a diffusion model is sampled. Build it by `choose`, which gives each sampler what suits it."""

    # The settings that a sampler takes in this kind of model, where they are not those of the registry.
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    default_sampler: ClassVar[str] = "dpm-solver"

    sampler: Annotated[str, named(SAMPLERS, "Sampler.")] = "dpm-solver"
    steps: Annotated[
        int,
        about(
            "Steps from noise to image, at most as many as the model has timesteps.", 1, 10_000, _TIMESTEPS
        ),
    ] = 16
    spacing: Annotated[
        str, named(SPACINGS, "Which timesteps, where shifted is denser where it is noisy.")
    ] = "shifted"
    last_timestep: Annotated[
        int,
        about(
            "Timestep from which the last step jumps to the image; 0: as the spacing has it.",
            0,
            10_000,
            _TIMESTEPS,
        ),
    ] = 0
    eta: Annotated[
        float, about("Share of the noise that ddim draws afresh; 1 is ancestral sampling.", 0, 1)
    ] = 0.0
    variance: Annotated[Literal["beta", "beta-tilde"], about("Variance of an ancestral step.")] = "beta"
    temperature: Annotated[float, about("Scales the deviation of all noise.", 0, 100)] = 1.0
    threshold: Annotated[Literal["static", "dynamic", "none"], about("Keep predicted images in range.")] = (
        "static"
    )
    guidance: Annotated[
        float,
        about(
            "Strength w of the guidance by clusters, if it knows any: 0 is none, -1 forgets them.", -1, 1000
        ),
    ] = 0.3
    autoguidance: Annotated[
        float,
        about("How far to go beyond what a weaker model says, in the same noise; 0: not at all.", 0, 100),
    ] = 0.0
    guide_above: Annotated[float, about("Guide only where the share of noise is above this.", 0, 1)] = 0.0
    guide_below: Annotated[float, about("Guide only where the share of noise is below this.", 0, 1)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        taken = SAMPLERS.parameters(self.sampler)
        for field in fields(Sampling):
            given = field.name in _ONLY_SOME_TAKE and getattr(self, field.name) != field.default
            if given and field.name not in taken:
                takers = [name for name in SAMPLERS.names() if field.name in SAMPLERS.parameters(name)]
                raise UsageError(
                    f"`{field.name}` is for the `sampler` {' or '.join(takers)}: {self.sampler} has none"
                )
        if self.guide_above >= self.guide_below:
            raise UsageError("`guide_above` must be less than `guide_below`: nothing lies between them")

    @classmethod
    def settings(cls, sampler: str) -> dict[str, Any]:
        """Return the settings that suit a sampler in this kind of model."""
        facts = {**SAMPLERS.facts(sampler), **cls.suited.get(sampler, {})}
        return {"sampler": sampler, **{f.name: facts[f.name] for f in fields(cls) if f.name in facts}}

    @classmethod
    def choose(cls, sampler: str | None = None, **changes: Any) -> Self:
        """Return how to sample: a sampler with the settings that suit it, but for those given.

        Without a sampler it is the one that suits the kind of model.

        Raises:
            UsageError: a setting makes no sense, or not with this sampler.
        """
        return cls.of(cls.settings(sampler or cls.default_sampler)).replace(changes)

    @classmethod
    def deterministic(cls, sampler: str | None = None, **changes: Any) -> Self:
        """Return how to follow the sampler's ODE, from given ends: by dpm-solver unless another is named.

        It is unguided unless asked: images that were embedded come back as they came.

        Raises:
            UsageError: the sampler draws noise on its way, so that its end is no function of its start, or a
                setting makes no sense.
        """
        how = cls.choose(sampler or "dpm-solver", eta=0.0, guidance=0.0).replace(changes)
        how.check_no_noise()
        if how.temperature != 1:
            raise UsageError(
                "`temperature` is not for interpolation, whose end points are given: leave it out"
            )
        return how

    @classmethod
    def completing(cls, sampler: str | None = None, **changes: Any) -> Self:
        """Return how to complete images: by ddim with fresh noise, unless another sampler is named.

        Raises:
            UsageError: a setting makes no sense, or not with this sampler.
        """
        settings = {"steps": 16, "eta": 1.0} if sampler in (None, "ddim") else {}
        return cls.choose(sampler or "ddim", **settings).replace(changes)

    @property
    def random(self) -> bool:
        """Tell whether the sampler draws noise on its way, so that its end is no function of its start."""
        taken = SAMPLERS.parameters(self.sampler)
        return "noise" in taken and ("eta" not in taken or self.eta > 0)

    def check_no_noise(self) -> None:
        """Raise UsageError if the sampler is `random`."""
        if self.random:
            raise UsageError(
                f"the `sampler` {self.sampler} draws noise on its way here: take one that does not, such as "
                "dpm-solver, heun, or ddim with `eta` 0"
            )


class GuidedSampling(Sampling, frozen=True, kw_only=True):
    """How a diffusion model with labels is sampled, and how far beyond its labels it is pushed."""

    # Fresh noise on the way mends what label and noise disagree about (docs/results.md).
    suited: ClassVar[Mapping[str, Mapping[str, Any]]] = {"ddim": {"steps": 16, "eta": 1.0}}
    default_sampler: ClassVar[str] = "ddim"

    guidance: Annotated[
        float,
        about(
            "Strength w of the guidance: 0 is the model with labels as it is, -1 the one without.", -1, 1000
        ),
    ] = 0.5
