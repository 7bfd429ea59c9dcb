"""What Python users pass by mistake gets a sentence. In a process of its own, whose types nobody checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Code, and what the sentence says.
CASES = {
    "model.sample(1, labels=7)": "`labels` must be a list of whole numbers, such as [7], not 7",
    "model.sample(1, labels='7')": "`labels` must be a list of whole numbers",
    "model.sample(1, labels=[7.5])": "`labels` must be a list of whole numbers",
    "model.sample(1, labels=[[7]])": "`labels` must be a list of whole numbers",
    "model.sample(1, guide=3)": "`guide` must be a Guidance, such as ByClassifier, not 3",
    "model.sample(1, how=3)": "`how` must be what this model's own `how` returns, not 3",
    "model.sample(2.5)": "`num` must be a whole number of 1 or more, not 2.5",
    "model.sample('2')": "`num` must be a whole number of 1 or more, not '2'",
    "model.sample(1, seed=1.5)": "`seed` must be a whole number of 0 or more, not 1.5",
    "model.sample(1, seed=-1)": "`seed` must be a whole number of 0 or more, not -1",
    "model.sample(1, temprature=9)": "there is no option 'temprature' here",
    "genmnist.train('vae', steps=2.5, out='run')": "`steps` is not what it must be",
    "genmnist.train('vae', network=torch.nn.Linear, steps=1, out='run')": "`network` must be an nn.Module",
    "genmnist.train('ddpm', network=torch.nn.Conv2d(1, 1, 3), recipe={'optimizer': 'adamw'}, out='run')":
        "the `network` cannot be trained on these images: TypeError",
}  # fmt: skip

_PROGRAM = """
import json, sys, torch, genmnist
from genmnist.models import ConditionalDiffusion
from genmnist.families.cfg import ConditionalOptions
model, said = ConditionalDiffusion(ConditionalOptions(size="tiny")), {}
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
