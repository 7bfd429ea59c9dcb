"""The page "Your own": its examples are run, one after another, and so are the ways in which they fail."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from torch import Tensor, nn

import genmnist as library
from conftest import Command, Finished, one_sentence, picture
from genmnist import registry
from genmnist.cli.app import build
from genmnist.diffusion import samplers
from genmnist.diffusion.schedules import CLEAN
from genmnist.errors import GenmnistError, InterruptedRunError, UsageError
from genmnist.models import Diffusion, Generator
from genmnist.registry import DATASETS, FAMILIES, NETWORKS, SAMPLERS, SCHEDULES, Registry
from genmnist.runs.folder import Run

PAGE = Path(__file__).parents[1] / "docs" / "your-own.md"
TEXT = PAGE.read_text("utf-8")
REGISTRIES: list[Registry[Any]] = [value for value in vars(registry).values() if isinstance(value, Registry)]


def blocks(language: str) -> list[str]:
    """Return the page's code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


PLUGIN = "\n\n".join(blocks("python"))
COMMANDS = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
# So few images that a step takes no time, and no pictures on the way.
QUICK = {
    "train": "--sample-every 0 --device cpu",
    "sample": "--device cpu",
    "evaluate": "--num 60 --device cpu",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's plugin, to be in; what is registered meanwhile is forgotten afterwards."""
    (tmp_path / "my_models.py").write_text(PLUGIN, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for parts in REGISTRIES:
        monkeypatch.setattr(parts, "_entries", dict(parts._entries))
    monkeypatch.setattr(registry, "_loaded", set(registry._loaded))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if name.startswith("genmnist_plugin_") or str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", "")
        ):
            del sys.modules[name]


def write(folder: Path, name: str, code: str) -> str:
    (folder / name).write_text(code, "utf-8")
    return name


def run_line(genmnist: Command, line: str) -> Finished:
    """Run a command of the page, but shorter."""
    words = shlex.split(line.replace("--steps 500", "--steps 30"))
    assert words.pop(0) == "genmnist"
    if words[0] == "train":
        for option, value in (("--steps", "30"), ("--dataset", "stripes")):
            words += [option, value] if option not in words else []
        words += ["--width", "4"] if words[1] == "classifier" else []
    done = genmnist(*words, *QUICK.get(words[0], "").split())
    assert done.status == 0, (line, done.err)
    return done


def sentence(error: type[GenmnistError], action: Callable[[], object]) -> str:
    """Return the sentence with which something fails."""
    with pytest.raises(error) as raised:
        action()
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_network_is_as_short_as_promised() -> None:
    for block, most in zip(blocks("python"), (46, 9, 10, 10, 8), strict=False):
        assert len([line for line in block.splitlines() if line]) <= most


@pytest.mark.slow
def test_every_command_of_the_page_exists(folder: Path) -> None:
    library.plugin("my_models.py")
    for line in COMMANDS:
        words = shlex.split(line)[1:]
        command: Any = typer.main.get_command(build())
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, line


@pytest.mark.slow
def test_the_page_on_the_command_line(genmnist: Command, tmp_path: Path) -> None:
    """Run every command of the page in order; then do without the plugin."""
    write(tmp_path, "my_models.py", PLUGIN)
    for line in COMMANDS:
        run_line(genmnist, line)
    for name in ("ddpm-samples.png", "euler.png", "vae-traversal.png", "dae.png"):
        picture(tmp_path / name)
    assert Run(tmp_path / "runs/dae").evaluation_file.exists()

    # Each is recorded with where it came from, which `info` tells without plugins.
    parts = {"plain": "network plain", "even": "noise schedule even", "dae": "family dae"}
    for name, part in parts.items():
        done = genmnist("info", f"runs/{name}", "--json")
        assert done.status == 0, done.err
        assert done.json["sources"][part] == "my_models.py"
    assert done.json["training"]["dataset_source"] == "my_models.py"

    said = one_sentence(genmnist("sample", "ddpm", "--model", "runs/plain"), 2)
    assert "runs/plain/model.safetensors needs the network 'plain' from my_models.py" in said
    assert said.endswith("give it as --plugin")
    said = one_sentence(genmnist("sample", "ddpm", "--model", "runs/even"), 2)
    assert "needs the noise schedule 'even' from my_models.py: give it as --plugin" in said
    said = one_sentence(genmnist("sample", "dae", "--model", "runs/dae"), 2)
    assert "there is no family 'dae'" in said
    assert "--plugin" in said
    said = one_sentence(genmnist("sample", "ddpm", "--sampler", "euler"), 2)
    assert "there is no sampler 'euler'; choose one of dpm-solver, heun, ddim, consistency, ancestral" in said
    assert "--plugin" in said
    said = one_sentence(genmnist("train", "vae", "--dataset", "stripes"), 2)
    assert "there is no data set 'stripes'; choose one of mnist, " in said

    # A run that stopped needs its plugin too. With it, it goes on.
    (tmp_path / "runs/plain/summary.json").unlink()
    said = one_sentence(genmnist("train", "ddpm", "--resume", "runs/plain"), 2)
    assert "from my_models.py: give it as --plugin" in said
    done = genmnist("train", "ddpm", "--resume", "runs/plain", "--plugin", "my_models.py", "--device", "cpu")
    assert done.status == 0, done.err


def test_each_part_from_python(folder: Path) -> None:
    library.plugin("my_models.py")
    tiny: dict[str, Any] = {"recipe": {"batch_size": 64}, "steps": 30, "device": "cpu", "sample_every": 0}
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("ddpm", "network", {"options": {"network": "plain", "width": 8}, "dataset": "stripes"}),
        ("cfg", "labels", {"options": {"network": "plain", "width": 8}, "dataset": "stripes"}),
        ("ddpm", "schedule", {"options": {"noise_schedule": "even", "size": "tiny"}, "dataset": "stripes"}),
        ("vae", "autoencoder", {"options": {"network": "shallow"}, "dataset": "stripes"}),
        ("dae", "family", {"options": {"hidden": 32}, "dataset": "stripes"}),
    ]
    for family, name, given in cases:
        run = library.train(family, out=name, **tiny | given)
        assert run.metrics[-1].step == 30
        assert run.metrics[-1].train_loss < run.metrics[0].train_loss
        how: dict[str, Any] = {"steps": 4, "sampler": "euler"} if family in ("ddpm", "cfg") else {}
        model = library.load(None, run, device="cpu")
        assert isinstance(model, Generator)
        images = model.sample(6, seed=1, batch_size=4, **how)
        assert images.shape == (6, 16, 16)
        torch.testing.assert_close(images[4:].int(), model.sample(6, seed=1, **how)[4:].int(), atol=1, rtol=0)
        with pytest.raises(UsageError, match="there is no option 'stepz'"):
            model.sample(1, stepz=3)
        if family != "cfg":
            with pytest.raises(UsageError, match="takes no `labels`"):
                model.sample(1, labels=[1])


def test_the_sampler_of_the_page_is_the_one_it_says(folder: Path) -> None:
    """Euler's method in sigma / alpha is DDIM (Song, Meng & Ermon 2021, section 4.3)."""
    library.plugin("my_models.py")
    torch.manual_seed(0)
    model = Diffusion()
    assert model.how(sampler="euler").steps == 24
    x, t = torch.randn(2, 1, 28, 28), [900.0, 500.0, 100.0, CLEAN]
    with torch.no_grad():
        ours = [*SAMPLERS["euler"](model.denoise, x, model.schedule, t)]
        theirs = [*samplers.ddim(model.denoise, x, model.schedule, t)]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.x, other.x)
    assert isinstance(SCHEDULES["even"](64).log_snrs, Tensor)


def test_the_python_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Run its blocks of Python in order, in one namespace, as somebody would who pastes them."""
    load: Any = library.load
    train, resume_ = library.train, library.resume
    small: dict[str, Any] = {"device": "cpu", "sample_every": 0, "recipe": {"batch_size": 20}}

    resumed = []

    def interrupt(event: Any, trainer: Any) -> None:
        if trainer.step == 3:
            signal.raise_signal(signal.SIGINT)

    def short(family: str, *, steps: int = 500, **more: Any) -> Run:
        stopped = {"listen": interrupt} if more["out"] == "runs/long" else {}
        return train(family, steps=steps // 20, **small | {"data": tiny_data()} | more | stopped)

    def resume(folder: str, **more: Any) -> Run:
        resumed.append(folder)
        return resume_(folder, "cpu", **more)

    monkeypatch.setattr(library, "train", short, raising=False)
    monkeypatch.setattr(library, "resume", resume, raising=False)
    monkeypatch.setattr(
        library, "load", lambda *given, **more: load(*given, device="cpu", **more), raising=False
    )
    names: dict[str, Any] = {"genmnist": library}
    for block in blocks("py"):
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["images"].shape == (300, 20, 20)
    assert resumed == ["runs/long"]
    assert Run("runs/long").finished
    assert Run("runs/by-name").config.options["network"] == "plain"
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) > 1
    assert re.match(r"1 \d+\.\d+", lines[0])


def tiny_data(side: int = 12, classes: int = 3) -> tuple[Any, Any]:
    source = np.random.default_rng(5)
    return source.integers(0, 256, (60, side, side), dtype=np.uint8), np.arange(60) % classes


class Small(nn.Module):
    """A network with a buffer that its checkpoint keeps, and one that it does not."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.first, self.last = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        self.register_buffer("scale", torch.linspace(0.5, 1, width)[:, None, None], persistent=False)
        self.scale: Tensor

    def forward(self, x: Tensor, log_snr: Tensor, labels: Tensor | None = None) -> Tensor:
        answer: Tensor = self.last(self.norm(self.first(x)).relu() * self.scale)
        return answer


def train_own(out: str, network: nn.Module | None = None, **more: Any) -> Run:
    recipe = {"batch_size": 16, "optimizer": "adam"}
    given: dict[str, Any] = {
        "data": tiny_data(),
        "device": "cpu",
        "sample_every": 0,
        "recipe": recipe,
        "steps": 6,
    }
    return library.train("ddpm", network=network, out=out, **given | more)


def test_a_network_given_from_python_is_asked_for_again(genmnist: Command, folder: Path) -> None:
    given = Small()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    run = train_own("run", given)
    for name, value in given.state_dict().items():
        assert torch.equal(value, before[name]), "a copy is trained"
    said = sentence(UsageError, lambda: library.load("ddpm", run))
    assert f"{__name__}.Small" in said
    assert "load it by genmnist.load" in said
    assert "Small: load it by genmnist.load" in one_sentence(genmnist("sample", "ddpm", "--model", "run"), 2)
    assert genmnist("info", "run", "--json").json["options"]["network"] == "own"
    model = library.load("ddpm", run, device="cpu", network=Small())
    assert model.sample(3, seed=0, sampler="ddim", steps=3).shape == (3, 12, 12)
    wrong = sentence(UsageError, lambda: library.load("ddpm", run, network=Small(5)))
    assert "the `network` given is not the one of run/model.safetensors" in wrong
    assert "network.first.bias is float32[4] where the model has float32[5]" in wrong
    said = sentence(UsageError, lambda: library.load("ddpm", "bundled", network=Small()))
    assert "leave `network` out" in said


def test_an_interrupted_run_asks_for_what_it_was_given(genmnist: Command, folder: Path) -> None:
    def interrupt(event: Any, trainer: Any) -> None:
        if trainer.step == 3:
            signal.raise_signal(signal.SIGINT)

    whole = train_own("whole", Small())
    with pytest.raises(InterruptedRunError):
        train_own("run", Small(), listen=interrupt)
    said = sentence(UsageError, lambda: library.resume("run", network=Small()))
    assert "`data`" in said
    said = sentence(UsageError, lambda: library.resume("run", data=tiny_data()))
    assert "network" in said
    other = tiny_data(classes=2)
    said = sentence(GenmnistError, lambda: library.resume("run", data=other, network=Small()))
    assert "the data of run have changed" in said
    assert "`data` given from Python" in one_sentence(genmnist("train", "ddpm", "--resume", "run"), 2)
    library.resume("run", data=tiny_data(), network=Small())
    ours, theirs = (library.info(run.model_file)[1] for run in (Run("run"), whole))
    # The network started from other weights, but for the seed of those that it was given.
    assert ours.keys() == theirs.keys()
    said = one_sentence(genmnist("evaluate", "ddpm", "--model", "whole"), 2)
    assert "has a network of its owner's" in said


def test_a_run_of_arrays_does_not_know_where_they_are(genmnist: Command, folder: Path) -> None:
    library.train(
        "vae", data=tiny_data(), steps=2, out="run", device="cpu", options={"hidden": 8}, sample_every=0
    )
    done = genmnist("evaluate", "vae", "--model", "run")
    assert "the model was trained on data 'own': name a --dataset or a --data-dir" in one_sentence(done, 2)


def test_a_network_of_another_shape_or_signature_is_named(folder: Path) -> None:
    class Half(Small):
        def forward(self, x: Tensor, log_snr: Tensor, labels: Tensor | None = None) -> Tensor:
            return x[..., ::2]

    said = sentence(UsageError, lambda: train_own("run", Half()))
    assert "the `network` answers [2, 1, 12, 6] to images of [2, 1, 12, 12]" in said
    said = sentence(
        UsageError, lambda: library.train("classifier", network=Small(), data=tiny_data(), steps=1)
    )
    assert "a classifier takes no `network` of your own" in said
    said = sentence(UsageError, lambda: train_own("run", Pixels(), recipe={}))
    assert (
        "`optimizer` muon is for convolutions, and this network has none between hidden channels: take adamw"
        in said
    )


class Pixels(nn.Module):
    """A network of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, log_snr: Tensor, labels: Tensor | None = None) -> Tensor:
        return x * self.weight


HELD = """
import torch
from genmnist.registry import NETWORKS

class Held(torch.nn.Module):
    def __init__(self, options):
        super().__init__()
        self.conv = torch.nn.Conv2d(options.shape[0], options.shape[0], 3, padding=1)
        self.more = torch.nn.Conv2d(8, 8, 1)
        self.register_buffer("scale", torch.linspace(0.5, 1, 12), persistent=False)
        self.size = self.scale.sum().item()  # which no tensor without numbers could tell

    def forward(self, x, log_snr, labels=None):
        return self.conv(x) * self.scale / self.size

NETWORKS.register("held")(Held)
"""


def test_what_a_network_keeps_out_of_its_checkpoint_is_there_after_loading(folder: Path) -> None:
    library.plugin(write(folder, "held.py", HELD))
    run = train_own("run", options={"network": "held"})
    random = torch.random.get_rng_state()
    model = library.load("ddpm", run, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), random)
    assert model.sample(2, sampler="ddim", steps=2).shape == (2, 12, 12)


def broken(folder: Path) -> list[tuple[str, int, str]]:
    taken = 'from genmnist.registry import {0}\n{0}.register("{1}")(lambda *given: None)\n'
    return [
        (write(folder, "raises.py", "\n\n1 / 0\n"), 1, "ZeroDivisionError: division by zero (line 3)"),
        (write(folder, "syntax.py", "def (\n"), 1, "SyntaxError: invalid syntax (syntax.py, line 1)"),
        (write(folder, "leaves.py", "raise SystemExit('bye')\n"), 1, "SystemExit: bye"),
        (write(folder, "lacks.py", "import no_such_module\n"), 1, "No module named 'no_such_module'"),
        (write(folder, "taken.py", taken.format("NETWORKS", "unet")), 2, "there is a network 'unet' already"),
        (
            write(folder, "sets.py", taken.format("DATASETS", "mnist")),
            2,
            "there is a data set 'mnist' already, of genmnist itself: take another name",
        ),
        ("absent.py", 2, "there is no file absent.py"),
        ("no.such.module", 2, "there is no module 'no.such.module'"),
    ]


def test_plugins_that_fail_are_answered_by_one_sentence(genmnist: Command, folder: Path) -> None:
    for name, status, words in broken(folder):
        error = UsageError if status == 2 else GenmnistError
        said = sentence(error, lambda name=name: library.plugin(name))  # type: ignore[misc]
        assert words in said
        assert status == 2 or f"the plugin {name} cannot be imported" in said
    for name, status, words in broken(folder)[::3]:
        assert words in one_sentence(genmnist("sample", "vae", "--plugin", name), status)
    said = one_sentence(genmnist("data", "--plugin", "absent.py"), 2)
    assert "--plugin takes a Python file or the name of a module" in said


def test_two_plugins_cannot_have_one_name(folder: Path) -> None:
    code = 'from genmnist.registry import SCHEDULES\nSCHEDULES.register("mine")(lambda timesteps: None)\n'
    library.plugin(write(folder, "one.py", code))
    said = sentence(UsageError, lambda: library.plugin(write(folder, "two.py", code)))
    assert "there is a noise schedule 'mine' already, of one.py: take another name" in said


def test_a_plugin_is_imported_once_however_it_is_named(folder: Path) -> None:
    code = "with open('log', 'a') as log: log.write('x')\n"
    write(folder, "once.py", code)
    for name in ("once.py", "./once.py", folder / "once.py", "once"):
        library.plugin(name)
    __import__("once")
    assert (folder / "log").read_text() == "x"
    # A file of a name that means another module is that file all the same.
    write(folder, "json.py", code)
    library.plugin("json.py")
    assert (folder / "log").read_text() == "xx"


def test_what_is_registered_again_from_the_same_place_is_replaced(folder: Path) -> None:
    """A cell of a notebook may be run twice."""
    for number in (1, 2):
        SCHEDULES.register("cell")(_schedules[number])
    assert SCHEDULES["cell"] is _schedules[2]
    assert SCHEDULES.origin("cell") == __name__


_schedules: dict[int, Callable[..., Any]] = {1: lambda timesteps: 1, 2: lambda timesteps: 2}


def test_a_file_alone_never_imports_code(genmnist: Command, folder: Path) -> None:
    """Its plugin would write a file as soon as it is imported."""
    write(folder, "writes.py", "open('written', 'w').close()\n" + HELD)
    library.plugin("writes.py")
    train_own("run", options={"network": "held"})
    assert Run("run").config.sources == {"network held": "writes.py"}
    (folder / "written").unlink()
    for words in (
        ("sample", "ddpm", "--model", "run"),
        ("evaluate", "ddpm", "--model", "run/model.safetensors"),
        ("reverse-trace", "ddpm", "--model", "run"),
    ):
        assert "from writes.py: give it as --plugin" in one_sentence(genmnist(*words), 2)
    for command in ("info", "compare"):
        assert genmnist(command, "run").status == 0
    (folder / "run" / "summary.json").unlink()
    one_sentence(genmnist("train", "ddpm", "--resume", "run"), 2)
    assert not (folder / "written").exists()


def test_the_plugin_of_a_data_set_is_named_too(genmnist: Command, folder: Path) -> None:
    library.plugin("my_models.py")
    run = library.train("vae", dataset="stripes", steps=2, out="run", device="cpu", sample_every=0)
    assert run.config.sources == {"data set stripes": "my_models.py"}
    said = one_sentence(genmnist("evaluate", "vae", "--model", "run"), 2)
    assert "the model was trained on data 'stripes' from my_models.py, to be given as --plugin" in said
    run.summary_file.unlink()
    said = one_sentence(genmnist("train", "vae", "--resume", "run"), 2)
    assert "run/config.json needs the data set 'stripes' from my_models.py: give it as --plugin" in said
    assert genmnist("sample", "vae", "--model", "run").status == 0  # which needs no data


def test_entry_points_of_installed_packages_are_looked_at_for_unknown_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = blocks("toml")
    group, name, module = re.findall(r"entry-points\.(\w+)\]\n([\w-]+) = \"(\w+)\"", snippet)[0]
    assert group == registry.ENTRY_POINTS
    site = folder / "site"
    (site / "my_models-1.dist-info").mkdir(parents=True)
    write(site, f"{module}.py", PLUGIN.replace("import torch\n", "import torch\nprint('imported')\n", 1))
    write(site, "my_models-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: my-models\nVersion: 1\n")
    write(site, "my_models-1.dist-info/entry_points.txt", f"[{group}]\n{name} = {module}\n")
    (folder / "my_models.py").unlink()
    environment = os.environ | {"PYTHONPATH": str(site), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> Finished:
        done = subprocess.run(
            [sys.executable, "-m", "genmnist", *words],
            env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    done = run("train", "dae", "--help")
    assert done.status == 0, done.err
    assert done.out.startswith("imported\n")
    assert "Deviation of the noise that it takes away" in done.out
    assert "imported" not in run("train", "vae", "--help").out

    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(registry, "_loaded", set())
    assert "plain" not in NETWORKS
    assert Diffusion(options_with("plain")).options.network == "plain"
    assert NETWORKS.origin("plain") == module
    assert DATASETS.origin("stripes") == FAMILIES.origin("dae") == module


def options_with(network: str) -> Any:
    return FAMILIES["ddpm"].options.of({"network": network})


def test_the_table_of_the_page_is_true() -> None:
    named = re.findall(r"`([A-Z]+)`", TEXT.partition("## A network")[0])
    assert {id(getattr(registry, name)) for name in named} == {id(parts) for parts in REGISTRIES}
