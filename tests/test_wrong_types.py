"""What Python users pass by mistake gets a sentence. In a process of its own, whose types nobody checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Code, and what the sentence says.
CASES = {
    "model.sample(1, labels=True)": "`labels` must be whole numbers, or names of classes, such as 7 or",
    "model.sample(1, labels=[7.5])": "`labels` must be whole numbers",
    "model.sample(1, labels=[[7]])": "`labels` must be whole numbers",
    "model.sample(1, labels={7})": "`labels` must be whole numbers",
    "model.sample(1, labels='cat')": "there is no label 'cat': those of this model are 0, 1, 2",
    "model.sample(1, guide=3)": "`guide` must be a Guidance, such as ByClassifier, not 3",
    "model.sample(1, how=3)": "`how` must be what this model's own `how` returns, not 3",
    "model.sample(2.5)": "`num` must be a whole number of 1 or more, not 2.5",
    "model.sample('2')": "`num` must be a whole number of 1 or more, not '2'",
    "model.sample(1, seed=1.5)": "`seed` must be a whole number of 0 or more, not 1.5",
    "model.sample(1, seed=-1)": "`seed` must be a whole number of 0 or more, not -1",
    "model.sample(1, temprature=9)": "there is no option 'temprature' here",
    "genmnist.train('vae', steps=2.5, out='run')": "`steps` must be a whole number",
    "genmnist.train('vae', network=torch.nn.Linear, steps=1, out='run')": "`network` must be an nn.Module",
    "genmnist.train('ddpm', network=torch.nn.Conv2d(1, 1, 3), recipe={'optimizer': 'adamw'}, out='run')":
        "the `network` cannot be trained on these images: TypeError",
    "genmnist.train('ddpm', network='plain', out='run')":
        "`network` takes a module; choose a registered one by options={'network': 'plain'}",
    "genmnist.train('vae', dataset=(images, labels), out='run')":
        "a data set is chosen by its name, such as mnist: give arrays as `data`",
    "genmnist.train('cfg', data=(images, None), steps=1, out='run')":
        "a cfg is for two classes or more, and these data have one: give labels that differ",
    "diffusion(noise_schedule='tensor')": "the noise schedule tensor must return a Schedule, not Tensor",
    "diffusion(noise_schedule='list')":
        "the noise schedule list must be a tensor of float64 [timesteps], not list",
    "diffusion(noise_schedule='float32')":
        "the noise schedule float32 must be a tensor of float64 [timesteps], not torch.float32 [64]",
    "diffusion(noise_schedule='rising')":
        "the log-SNRs of the noise schedule rising must be finite and fall at every timestep",
    "diffusion(noise_schedule='infinite')":
        "the log-SNRs of the noise schedule infinite must be finite and fall at every timestep",
    "diffusion(network='none')": "the network none must be built as an nn.Module, not NoneType",
    "VAE(VAEOptions(network='none'))": "the autoencoder none must be built as an nn.Module, not NoneType",
    "diffusion(network='number')":
        "the `network` answers float to images of [1, 1, 28, 28]: it must answer in their shape",
    **{f"diffusion().sample(1, sampler='{name}')":
        f"the `sampler` {name} must be a generator that yields a Step, with images of [1, 1, 28, 28], for"
        for name in ("returns-none", "returns-image", "yields-none", "yields-image", "yields-nothing",
                     "cuts")},
    "FAMILIES['walker'].model_class": "the family walker lists interpolate, but its models have no prior()",
    "FAMILIES['settler'].model_class": "the family settler lists reverse, but its models have no trace()",
}  # fmt: skip

_PROGRAM = """
import json, sys, torch, genmnist
from genmnist.models import ConditionalDiffusion
from genmnist.families.cfg import ConditionalOptions
from dataclasses import replace
from genmnist.diffusion.samplers import Step
from genmnist.diffusion.schedules import Schedule
from genmnist.families.ddpm import DiffusionOptions
from genmnist.families.vae import VAEOptions
from genmnist.models import VAE, Diffusion
from genmnist.registry import AUTOENCODERS, FAMILIES, NETWORKS, SAMPLERS, SCHEDULES

model, said = ConditionalDiffusion(ConditionalOptions(size="tiny")), {}
images, labels = torch.randint(0, 256, (30, 8, 8), dtype=torch.uint8), torch.arange(30) % 3
falling = torch.linspace(9, -9, 64, dtype=torch.float64)
SCHEDULES.register("tensor")(lambda timesteps: falling)
SCHEDULES.register("list")(lambda timesteps: Schedule("list", falling.tolist()))
SCHEDULES.register("float32")(lambda timesteps: Schedule("float32", falling.float()))
SCHEDULES.register("rising")(lambda timesteps: Schedule("rising", -falling))
SCHEDULES.register("infinite")(lambda timesteps: Schedule("infinite", falling / 0))
for parts in (NETWORKS, AUTOENCODERS):
    parts.register("none")(lambda options: None)

@NETWORKS.register("number")
class Number(torch.nn.Module):
    def __init__(self, options):
        super().__init__()
    def forward(self, x, log_snr, labels=None):
        return 0.5

@SAMPLERS.register("returns-none")
def returns_none(denoise, x, schedule, timesteps):
    return None

@SAMPLERS.register("returns-image")
def returns_image(denoise, x, schedule, timesteps):
    return x

@SAMPLERS.register("yields-none")
def yields_none(denoise, x, schedule, timesteps):
    yield None

@SAMPLERS.register("yields-image")
def yields_image(denoise, x, schedule, timesteps):
    yield x

@SAMPLERS.register("yields-nothing")
def yields_nothing(denoise, x, schedule, timesteps):
    yield from ()

@SAMPLERS.register("cuts")
def cuts(denoise, x, schedule, timesteps):
    yield Step(0.0, x[..., 1:], x)

FAMILIES.register("walker")(replace(FAMILIES["classifier"], name="walker", commands={"interpolate": ""}))
FAMILIES.register("settler")(replace(FAMILIES["vae"], name="settler", measures=("reverse",)))

def diffusion(**options):
    model = Diffusion(DiffusionOptions(size="tiny", timesteps=64, **options)).eval()
    model.losses(torch.rand(1, 1, 28, 28), torch.zeros(1, dtype=torch.int64))
    return model

for code in json.load(sys.stdin):
    try:
        exec(code)
        said[code] = "nothing"
    except genmnist.UsageError as error:
        said[code] = str(error)
    except Exception as error:
        said[code] = repr(error)
print(json.dumps(said))
"""


def test_every_mistake_gets_its_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([*CASES]), cwd=tmp_path, capture_output=True, text=True, check=True, timeout=240,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert {code: said[code][: len(sentence)] for code, sentence in CASES.items()} == CASES
    assert not (tmp_path / "run").exists()
