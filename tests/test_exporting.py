"""Models as ONNX: the same answers by onnxruntime alone, and all that it takes to sample."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

import genmnist as library
from conftest import Command, one_sentence, slow
from genmnist import exporting
from genmnist.cli.app import build
from genmnist.data import Splits
from genmnist.exporting import KEY, Exported, runtime
from genmnist.families.cfg import ConditionalOptions
from genmnist.models import ConditionalDiffusion, Diffusion, Model
from genmnist.models.few import FewSteps
from genmnist.nn.unet import Size, UNet

LEAST = Size((4,), condition=8, attention=False)


def answers(model: Model, name: str, path: Path, inputs: list[torch.Tensor]) -> float:
    """Return how far onnxruntime is from torch on these inputs, at most."""
    graph, found = model.graphs()[name], runtime(path, model.family)
    by_name = {port.name: value.numpy() for port, value in zip(graph.inputs, inputs, strict=True)}
    with torch.no_grad():
        wanted = graph.module(*inputs)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    got = found(**by_name)
    assert [*got] == [port.name for port in graph.outputs]
    for port in graph.outputs:
        assert got[port.name].shape == (len(inputs[0]), *port.shape)
        assert got[port.name].dtype == np.float32
    return max(
        float(np.abs(got[port.name] - value.numpy()).max())
        for port, value in zip(graph.outputs, wanted, strict=True)
    )


class Written(NamedTuple):
    folder: Path
    said: dict[str, Any]


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write the bundled vae by the command; tracing is slow, so that it is done once."""
    folder = tmp_path_factory.mktemp("exported")
    words = ["export", "vae", "--model", "bundled", "--half", "--out", str(folder), "--json"]
    done = CliRunner().invoke(build(words), words, prog_name="genmnist")
    assert done.exit_code == 0, done.output
    return Written(folder, msgspec.json.decode(done.stdout))


def test_a_vae_answers_as_in_torch(vae: Written, mnist: Splits) -> None:
    model = library.load("vae", device="cpu")
    pixels = mnist.test.images[:7, None] / 255
    assert answers(model, "encoder", vae.folder / "vae-encoder.onnx", [pixels]) < 1e-4
    codes = model.embed(mnist.test.images[:3])
    assert answers(model, "decoder", vae.folder / "vae-decoder.onnx", [codes]) < 1e-4


def test_a_file_says_what_it_is_and_the_document_beside_it_says_the_same(vae: Written) -> None:
    model = library.load("vae", device="cpu")
    beside = msgspec.json.decode((vae.folder / "vae.json").read_bytes(), type=Exported)
    described = msgspec.json.encode(exporting.describe(model, half=True))
    assert beside == msgspec.json.decode(described, type=Exported)
    for graph in beside.graphs.values():
        proto = onnx.load(vae.folder / graph.file)
        assert {entry.domain: entry.version for entry in proto.opset_import} == {"": exporting.OPSET}
        (said,) = (entry.value for entry in proto.metadata_props if entry.key == KEY)
        assert msgspec.json.decode(said, type=Exported) == beside
        kinds = {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in proto.graph.initializer}
        assert "FLOAT16" in kinds
        assert (vae.folder / graph.file).stat().st_size < 0.75e6  # of 324,000 weights


@pytest.mark.parametrize("target", ["flow", *slow("categorical")])
def test_a_network_with_labels_answers_as_in_torch(target: str, tmp_path: Path, mnist: Splits) -> None:
    options = ConditionalOptions(
        shape=(1, 8, 9), target=target, values=5, noise_schedule="straight", timesteps=100, width=4
    )
    torch.manual_seed(0)
    network = UNet(LEAST, options.classes, options.inputs, options.outputs)
    torch.nn.init.normal_(network.head.weight)
    model = ConditionalDiffusion(options, network).eval()
    model.train().precision = "bfloat16"
    document = library.export(model, tmp_path)
    assert model.training  # it is as it was
    assert model.precision == "bfloat16"
    model.eval()
    small = mnist.test.images[:11, None, 8:16, 8:17] / 255
    x, log_snr = 2 * small - 1 + 0.1 * torch.randn(small.shape), torch.linspace(-5, 5, 11)
    assert answers(model, "network", tmp_path / "cfg.onnx", [x, log_snr, torch.arange(11)]) < 1e-4

    denoising = document.denoising
    assert denoising is not None
    assert denoising.null_label == 10
    assert denoising.target == target
    assert denoising.schedule.log_snrs == tuple(model.schedule.log_snrs.tolist())
    assert denoising.schedule.straight
    assert denoising.default == "ddim"
    way = denoising.ways["ddim"]
    assert way.options == model.how().asdict()
    assert way.timesteps == tuple(model.timesteps(model.how()))
    assert "ancestral" not in denoising.ways  # it would take more steps than there are


def test_a_few_step_model_says_in_which_steps() -> None:
    denoising = exporting.describe(FewSteps()).denoising
    assert denoising is not None
    assert denoising.default == "consistency"
    assert len(denoising.ways["consistency"].timesteps) == 3  # two steps, and the clean end
    assert denoising.null_label is None  # not tuned from a model with labels


class Untraceable(torch.nn.Module):
    def forward(self, x: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        return x * float(x.mean())


def test_a_network_that_cannot_be_exported_is_refused_in_one_sentence() -> None:
    with pytest.raises(library.GenmnistError, match="the network cannot be written as ONNX: "):
        exporting.graphs(Diffusion(network=Untraceable()))


def test_bad_files_are_refused_in_one_sentence(vae: Written, tmp_path: Path) -> None:
    with pytest.raises(library.UsageError, match="is of the family vae, not ddpm"):
        runtime(vae.folder / "vae-decoder.onnx", "ddpm")
    torn = tmp_path / "torn.onnx"
    torn.write_bytes((vae.folder / "vae-decoder.onnx").read_bytes()[:1000])
    with pytest.raises(library.GenmnistError, match="is no ONNX file that can be run"):
        runtime(torn)
    for content, said in (("", "does not say what it is of"), ("{}", "in a form that is not known here")):
        proto = onnx.load(vae.folder / "vae-decoder.onnx")
        onnx.helper.set_model_props(proto, {KEY: content} if content else {})
        onnx.save(proto, torn)
        with pytest.raises(library.GenmnistError, match=said):
            runtime(torn)
    with pytest.raises(library.GenmnistError, match="cannot read"):
        runtime(tmp_path / "absent.onnx")


def test_the_command_says_what_it_wrote(vae: Written) -> None:
    files = [vae.folder / "vae-encoder.onnx", vae.folder / "vae-decoder.onnx"]
    assert vae.said["files"] == [str(path) for path in files]
    assert vae.said["document"]["graphs"]["decoder"]["inputs"][0]["name"] == "z"
    assert vae.said["out"] == str(vae.folder / "vae.json")


def test_a_graph_is_no_model(genmnist: Command, vae: Written) -> None:
    refused = genmnist("sample", "vae", "--model", vae.folder / "vae-decoder.onnx", importing=False)
    assert "is a graph for other runtimes" in one_sentence(refused, 2)


def test_without_the_packages_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(library.GenmnistError, match=r"pip install 'genmnist\[export\]'"):
        exporting.graphs(library.load("vae", device="cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["classifier", "ddpm", "ddpm:likelihood", "cfg"])
def test_every_bundled_model_answers_as_in_torch(model: str, tmp_path: Path, mnist: Splits) -> None:
    family, _, name = model.partition(":")
    loaded = library.load(family, f"bundled:{name}" if name else "bundled", device="cpu")
    document = library.export(loaded, tmp_path)
    (graph,) = document.graphs.values()
    pixels, n = mnist.test.images[:20, None] / 255, 20
    if document.denoising is None:
        inputs = [pixels]
    else:
        log_snr = torch.linspace(-6, 8, n)
        alpha, sigma = (log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt())
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
        x = alpha[:, None, None, None] * (2 * pixels - 1) + sigma[:, None, None, None] * noise
        inputs = [x, log_snr, torch.arange(n) % 11][: len(graph.inputs)]
    assert answers(loaded.eval(), "network", tmp_path / graph.file, inputs) < 1e-4
