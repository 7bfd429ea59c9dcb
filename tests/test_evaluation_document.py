"""What an evaluation leaves on disk: read as it was written, and never believed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from genmnist.errors import GenmnistError
from genmnist.evaluation import document
from genmnist.evaluation.document import Bounds, EvaluationDocument, Exact, Walk, is_sound, read, write
from genmnist.report import claims
from genmnist.runs.find import WEIGHTS

FAMILIES = ("vae", "ddpm", "cfg")


def bundled(family: str) -> EvaluationDocument:
    return read(WEIGHTS / f"{family}.json")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_written_before_is_read_and_written_alike(family: str, tmp_path: Path) -> None:
    found, source = bundled(family), WEIGHTS / f"{family}.json"
    assert found.command == f"evaluate {family}"
    assert found.num == 10_000
    assert found.samples.features == "genmnist-classifier-1"
    assert "temperature" in found.options
    assert found.undefined == ()
    write(tmp_path / "evaluation.json", found)
    ours, theirs = (path.read_text("utf-8").splitlines() for path in (tmp_path / "evaluation.json", source))
    assert [line.partition(":")[0] for line in ours] == [line.partition(":")[0] for line in theirs]
    assert found.asdict() == json.loads(source.read_bytes())


def test_each_family_says_what_applies_to_it() -> None:
    vae, ddpm, cfg = map(bundled, FAMILIES)
    assert vae.vae is not None
    assert vae.vae.negative_elbo == vae.vae.reconstruction + vae.vae.kl
    assert vae.likelihood is None
    assert ddpm.coarse_before_fine is not None
    assert ddpm.likelihood is not None
    assert len(ddpm.likelihood.bound.levels) == 100
    assert [row.strength for row in cfg.guidance_sweep] == [0, 1, 3, 8]
    assert cfg.walks is not None
    assert cfg.walks.latent.middle == (cfg.walks.latent.confidence[5], cfg.walks.latent.distance[5])


def test_what_another_version_says_is_kept(tmp_path: Path) -> None:
    later = bundled("vae").asdict() | {"novelty": {"of": [1, 2]}, "samples": None}
    later["samples"] = bundled("vae").asdict()["samples"] | {"beauty": 0.5}
    (tmp_path / "later.json").write_text(json.dumps(later))
    found = read(tmp_path / "later.json")
    assert found.options == {"temperature": 1.0, "novelty": {"of": [1, 2]}}
    assert found.asdict()["novelty"] == {"of": [1, 2]}
    assert found.replace(options={"num": 3, "steps": 9}).asdict()["num"] == 10_000  # facts go before options


def changed(path: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    """Return what puts a value into a document, at a path of names and numbers; `DROP` takes it out."""

    def change(fields: dict[str, Any]) -> dict[str, Any]:
        *before, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        place: Any = fields
        for key in before:
            place = place[key]
        if value is DROP:
            del place[last]
        else:
            place[last] = value
        return fields

    return change


DROP = object()
DAMAGES = {
    "a list": lambda fields: [fields],
    "nothing": lambda fields: {},
    "no samples": changed("samples", DROP),
    "samples of nobody": changed("samples", None),
    "no sharpness": changed("sharpness", DROP),
    "a share above 1": changed("near_copies.share", 1.5),
    "a share below 0": changed("samples.images.manifold.precision", -0.1),
    "words for a number": changed("samples.images.frechet.value", "far"),
    "null for a number": changed("samples.images.kernel", None),
    "true for a number": changed("samples.images.kernel", True),
    "no images": changed("samples.num", 0),
    "half an image": changed("num", 0.5),
    "a large number": changed("num", 10**30),
    "walks of nothing": changed("walks.alphas", []),
    "a walk cut short": changed("walks.latent.distance", [1.0]),
    "a way back": changed("walks.alphas.3", 0.05),
    "a factor too few": changed("vae.latent", 19),
    "more active than there are": changed("vae.active_units", 21),
    "no mean gap": changed("vae.mutual_information_gap.mean", DROP),
    "an epoch without a distance": changed("by_epoch", {"num": 1000, "data": "mnist", "distances": [[1]]}),
    "versions that are none": changed("versions", ["torch"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_documents_end_in_one_sentence(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(DAMAGES[damage](bundled("vae").asdict())))
    with pytest.raises(GenmnistError, match=r"is damaged: `genmnist evaluate` writes it again"):
        read(path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("likelihood.bound.levels.0.width", 0.0),
        ("likelihood.exact.error", -1.0),
        ("coarse_before_fine.half_settled", [1.0]),
        ("coarse_before_fine.shares", []),
        ("coarse_before_fine.bands", []),
        ("coarse_before_fine.shares.0", [1.0]),
        ("guidance_sweep.0.recall", 2.0),
    ],
)
def test_damaged_measures_of_diffusion_do_too(path: str, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(changed(path, value)(bundled("cfg").asdict())))
    with pytest.raises(GenmnistError, match="is damaged"):
        read(file)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"null", b"[" * 200_000, b'{"samples": NaN}', b'{"num": 1e999}',
        b'{"a": "' + b"long" * (1 << 20) + b'"}',
    ],
)  # fmt: skip
def test_files_of_other_kinds_end_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    for path in (tmp_path / "x.json", tmp_path, tmp_path / "absent.json"):
        with pytest.raises(GenmnistError, match=r"`genmnist evaluate` writes it again|cannot read .*absent"):
            read(path)


def test_what_is_not_a_number_is_null(tmp_path: Path) -> None:
    ddpm = bundled("ddpm")
    assert ddpm.likelihood is not None
    assert ddpm.likelihood.exact is not None
    alone = msgspec.structs.replace(ddpm.likelihood.exact, images=1, error=math.nan)
    likelihood = msgspec.structs.replace(ddpm.likelihood, exact=alone)
    write(tmp_path / "x.json", ddpm.replace(likelihood=likelihood))
    assert json.loads((tmp_path / "x.json").read_text())["likelihood"]["exact"]["error"] is None
    found = read(tmp_path / "x.json").likelihood
    assert found is not None
    assert found.exact == Exact(1, alone.bits, None)


def test_a_part_is_sound_if_it_could_be_read_again() -> None:
    assert is_sound(Bounds(1, 1, 80.0, 20.0, 99.0))
    assert not is_sound(Bounds(1, 1, math.nan, 20.0, 99.0))
    assert not is_sound(Bounds(1, 1, 80.0, math.inf, 99.0))
    assert is_sound(Exact(1, 2.0, None))
    assert not is_sound(Walk((1.5,), (None,), (1.0,), (None,)))


def test_documents_need_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from genmnist.evaluation import document; "
        "from genmnist.report import claims; from genmnist.runs.find import WEIGHTS; "
        "print(len(claims.judge({'vae': document.read(WEIGHTS / 'vae.json')})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "2\n"


# The claims of the report


def test_claims_are_judged_by_the_numbers() -> None:
    found = {family: bundled(family) for family in FAMILIES}
    assert [claim.holds for claim in claims.judge(found)] == [True, False, True, True, False, True, True]
    assert claims.judge({}) == []
    assert claims.judge({"cfg": found["cfg"].replace(guidance_sweep=(), by_epoch=None)}) == []


def test_claims_turn_with_the_numbers() -> None:
    vae, ddpm, cfg = map(bundled, FAMILIES)
    assert vae.walks is not None
    assert ddpm.coarse_before_fine is not None
    replace = msgspec.structs.replace
    found = {
        "vae": vae.replace(
            walks=replace(vae.walks, latent=vae.walks.pixel), sharpness=document.Sharpness(0.9, 0.6)
        ),
        "ddpm": ddpm.replace(
            by_epoch=document.ByEpoch(1000, "mnist (test)", ((0, 0.1), (1, 0.3), (2, 0.2))),
            coarse_before_fine=replace(ddpm.coarse_before_fine, half_settled=(1.0, 2.0, 3.0, 4.0)),
        ),
        "cfg": cfg.replace(guidance_sweep=tuple(reversed(cfg.guidance_sweep)), by_epoch=None),
    }
    assert [claim.holds for claim in claims.judge(found)] == [False] * 6
    assert {claim.verdict for claim in claims.judge(found)} == {"does not hold"}
