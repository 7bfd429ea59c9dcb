"""Wrong use gets one sentence, at once: without torch, and with nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Finished, one_sentence

CASES: list[tuple[tuple[str, ...], str]] = [
    (("train", "vae", "--device", "tpu"), "no device 'tpu'"),
    (("train", "vae", "--precision", "int8"), "no precision 'int8'"),
    (("train", "vae", "--preset", "best"), "no preset 'best'"),
    (("train", "vae", "--lr", "-1"), "--lr must be"),
    (("train", "vae", "--lr", "nan"), "--lr must be"),
    (("train", "vae", "--lr", "fast"), "--lr"),
    (("train", "vae", "--epochs", "-3"), "--epochs must be"),
    (("train", "vae", "--epochs", "0"), "--epochs must be"),
    (("train", "vae", "--steps", "0"), "--steps"),
    (("train", "vae", "--budget", "soon"), "not a time"),
    (("train", "vae", "--budget", "10m", "--epochs", "3"), "give one of them"),
    (("train", "vae", "--latent", "0"), "--latent must be"),
    (("train", "vae", "--beta", "-1"), "--beta must be"),
    (("train", "vae", "--network", "gan"), "there is no autoencoder 'gan'; choose one of mlp, conv"),
    (("train", "vae", "--dataset", "imagenet"), "no data set 'imagenet'"),
    (("train", "vae", "--dataset", "kmnist", "--data-dir", "."), "two ways to say one thing"),
    (
        ("train", "vae", "--image-size", "32"),
        "--image-size is for the images of a folder: name one by --data-dir",
    ),
    (("train", "vae", "--grey"), "--grey is for the images of a folder"),
    (("train", "vae", "--colour"), "--colour is for the images of a folder"),
    (("train", "vae", "--image-size", "2", "--data-dir", "."), "--image-size"),
    (("train", "vae", "--data-dir", "absent"), "not a folder"),
    (("train", "vae", "--resume", "absent"), "not a run folder"),
    (("train", "vae", "--resume", "x", "--lr", "1"), "--lr cannot stand beside --resume"),
    (("train", "vae", "--resume", "x", "--compile"), "--compile cannot stand beside --resume"),
    (("train", "vae", "--resume", "x", "--deterministic"), "--deterministic cannot stand beside --resume"),
    (("train", "vae", "--budget", "9" * 400 + "h"), "not a time"),
    (("sample", "vae", "--out", ".png"), "nothing before its ending"),
    (("train", "vae", "--tint", "red"), "has no option --tint"),
    (("train", "gan"), "there is no family 'gan'; choose one of vae, ddpm, cfg, few, classifier"),
    (("train", "gan", "--help"), "give the --plugin that has it"),
    (("train", "vae", "--plugin", "absent.py"), "there is no file absent.py: --plugin takes a Python file"),
    (("--plugin=absent", "data"), "there is no module 'absent': --plugin takes"),
    (("train", "vae", "--threads", "0"), "--threads"),
    (("train", "vae", "--lr-schedule", "triangle"), "--lr-schedule must be one of constant, cosine, steps"),
    (("train", "vae", "--out", "/dev/null/x"), "cannot be written"),
    (("sample", "vae", "--num", "-5"), "--num"),
    (("sample", "vae", "--num", "many"), "--num"),
    (("sample", "vae", "--seed", "-1"), "--seed"),
    (("sample", "vae", "--temperature", "-1"), "--temperature"),
    (("sample", "vae", "--temperature", "nan"), "--temperature"),
    (("sample", "vae", "--out", "x.jpg"), "ends in .jpg"),
    (("sample", "vae", "--out", "/dev/null/x.png"), "cannot be written"),
    (("sample", "vae", "--num", "20000"), "do not fit into a picture"),
    (("sample", "vae", "--model", "absent"), "there is no absent"),
    (("sample", "vae", "--batch-size", "0"), "--batch-size"),
    (("traverse", "vae", "--from-digit", "-1"), "--from-digit"),
    (("traverse", "vae", "--from-digit", "6,1"), "--from-digit takes one label, such as 7, not '6,1'"),
    (("traverse", "vae", "--steps", "1"), "--steps"),
    (("traverse", "vae", "--span", "inf"), "--span"),
    (("interpolate", "vae", "--space", "fourier"), "--space must be one of latent, pixel, both"),
    (("interpolate", "vae", "--from-digits", "6"), "--from-digits"),
    (("info", "absent"), "there is no absent"),
    (("data", "--data-dir", "absent"), "not a folder"),
    (("frobnicate",), "No such command"),
    (
        ("sample", "ddpm", "--steps", "0"),
        "--steps must be a whole number between 1 and the timesteps of the model, not 0",
    ),
    (("sample", "ddpm", "--eta", "0.5"), "--eta is for the --sampler ddim: dpm-solver has none"),
    (
        ("sample", "cfg", "--variance", "beta-tilde"),
        "--variance is for the --sampler ancestral: ddim has none",
    ),
    (
        ("sample", "ddpm", "--sampler", "ddim", "--eta", "nan"),
        "--eta must be a number between 0 and 1, not nan",
    ),
    (("sample", "ddpm", "--sampler", "euler"), "there is no sampler 'euler'; choose one of dpm-solver"),
    (("sample", "ddpm", "--temperature", "-1"), "--temperature must be"),
    (("sample", "ddpm", "--spacing", "odd"), "there is no spacing 'odd'; choose one of shifted"),
    (("reverse-trace", "ddpm", "--timesteps", "999,x"), "--timesteps takes whole numbers"),
    (("reverse-trace", "ddpm", "--timesteps", "-5"), "--timesteps takes whole numbers"),
    (("reverse-trace", "ddpm", "--out", "x.npz"), "ends in .npz"),
    (
        ("interpolate", "ddpm", "--sampler", "ancestral"),
        "--sampler ancestral draws noise on its way here: take one that does not",
    ),
    (("train", "ddpm", "--size", "huge"), "--size must be one of"),
    (("train", "ddpm", "--patch", "3"), "--patch must be"),
    (
        ("train", "ddpm", "--noise", "quadratic"),
        "there is no noise schedule 'quadratic'; choose one of linear, cosine",
    ),
    (("train", "ddpm", "--timesteps", "1"), "--timesteps must be"),
    (("reverse-trace", "ddpm", "--timesteps", "9 9"), "--timesteps takes whole numbers"),
    (("interpolate", "ddpm", "--temperature", "0.5"), "--temperature is not for interpolation"),
    (("sample", "ddpm", "--num", "2000", "--out", "x.gif"), "do not fit into a picture"),
    (("train", "classifier", "--classes", "0"), "--classes must be"),
    (("interpolate", "ddpm", "--sampler", "ddim", "--eta", "0.5"), "ddim draws noise on its way here"),
    (("sample", "ddpm", "--model", "bundled:none"), "there is no bundled ddpm called 'none'"),
    (("sample", "classifier"), "sample is for vae, ddpm, cfg, few, not for classifier"),
    (("traverse", "ddpm"), "traverse is for vae, not for ddpm"),
    (("sample", "cfg", "--label", "9-0"), "--label counts upwards"),
    (("sample", "cfg", "--label", "0-999999999"), "not too far"),
    (("sample", "cfg", "--label", "-1"), "--label takes whole numbers"),
    (("sample", "cfg", "--guidance", "nan"), "--guidance must be a number between -1 and 1000, not nan"),
    (("sample", "cfg", "--guidance", "-2"), "--guidance must be"),
    (("sample", "cfg", "--guidance", "much"), "--guidance"),
    (("sample", "cfg", "--guidance-sweep", "0,x"), "--guidance-sweep takes numbers"),
    (("sample", "cfg", "--guidance-sweep", "0,inf"), "--guidance must be"),
    (("sample", "cfg", "--guidance-sweep", "0,1", "--guidance", "2"), "give one of them"),
    (("sample", "cfg", "--guidance-sweep", "0,1", "--out", "x.npz"), "writes .png, .pdf, .svg: choose"),
    (("sample", "cfg", "--per-class", "3", "--num", "3"), "give one of them"),
    (("sample", "cfg", "--per-class", "0"), "--per-class"),
    (("sample", "cfg", "--guide-above", "0.5", "--guide-below", "0.5"), "nothing lies between"),
    (("sample", "ddpm", "--label", "7"), "--label needs --classifier-guidance beside it"),
    (("sample", "ddpm", "--classifier", "bundled"), "--classifier needs --classifier-guidance"),
    (("sample", "ddpm", "--label", "7", "--classifier-guidance", "inf"), "--classifier-guidance"),
    (("sample", "ddpm", "--label", "7", "--classifier-guidance", "-1"), "--classifier-guidance"),
    (("sample", "vae", "--label", "7"), "--label is for cfg, few, ddpm"),
    (("interpolate", "cfg", "--label", "1,2,3"), "--label takes one label here, or two"),
    (
        ("interpolate", "cfg", "--sampler", "ancestral"),
        "--sampler ancestral draws noise on its way here: take one that does not",
    ),
    (("interpolate", "vae", "--space", "label"), "--space must be one of latent, pixel, both"),
    (("evaluate", "samples", "absent.npz"), "there is no file absent.npz"),
    (("evaluate", "cfg", "--num", "3"), "--num"),
    (("evaluate", "ddpm", "--steps", "0"), "--steps must be"),
    (("compare", "absent"), "not a run folder"),
    (("compare",), "Missing argument"),
    (("report", "absent"), "not a run folder"),
    (("report", "--out", "/dev/null/x"), "cannot be written"),
    (("train", "cfg", "--drop-label", "1.5"), "--drop-label must be a number between 0 and 1, not 1.5"),
    (("train", "cfg", "--classes", "257"), "--classes must be a whole number between 1 and 256, not 257"),
    (("evaluate", "vae", "--features", "absent"), "there is no absent"),
]

# All of them in one process, because starting it is what takes the time.
_EACH = """
import contextlib, io, json, sys
sys.modules["torch"] = None  # importing it is an error
from genmnist.cli import main
for words in json.load(sys.stdin):
    sys.argv = ["genmnist", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[Finished]:
    """Run every case in an empty folder, which stays empty."""
    folder: Path = tmp_path_factory.mktemp("empty")
    done = subprocess.run(
        [sys.executable, "-c", _EACH], input=json.dumps([words for words, _ in CASES]),
        cwd=folder, capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    assert not list(folder.iterdir())
    return [Finished(*json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda case: " ".join(CASES[case][0])[:60])
def test_wrong_use_gets_one_sentence(finished: list[Finished], case: int) -> None:
    done = finished[case]
    assert CASES[case][1] in one_sentence(done, 2)
    assert done.out == ""
