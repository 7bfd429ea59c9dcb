"""Models as ONNX, for runtimes without torch: graphs, and a document of all that it takes to use them."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import torch
from msgspec import Meta, Struct
from torch import Tensor

from genmnist.errors import GenmnistError, UsageError
from genmnist.families.sampling import Sampling
from genmnist.files import read_bytes, write_bytes, write_document
from genmnist.models import Diffusion, Generator, Latent, Model
from genmnist.models.graphs import Graph, Port
from genmnist.registry import SAMPLERS, TARGETS
from genmnist.runs.documents import Values
from genmnist.text import first_line
from genmnist.version import __version__, versions

if TYPE_CHECKING:
    import onnx
    import onnxruntime

OPSET = 18
KEY = "genmnist"  # of the metadata in an ONNX file, under which the document stands as JSON

_MOST_BYTES = 1 << 31
_MEND = "take a file that `genmnist export` wrote"
_HALVED = 256  # numbers of a weight from which on it is worth storing in 16 bits


class Schedule(Struct, frozen=True, kw_only=True):
    """A noise schedule: `log_snrs[t]` is log(alpha^2 / sigma^2) of timestep t; between two it is linear.

    `straight` says that alpha + sigma = 1; otherwise alpha^2 + sigma^2 = 1. Timestep -1 is the clean image.
    """

    name: str
    timesteps: int
    straight: bool
    log_snrs: tuple[float, ...]


class Way(Struct, frozen=True, kw_only=True):
    """A way of sampling: all its options, and the timesteps that it visits, from noisy to clean."""

    options: Values
    timesteps: tuple[float, ...]


class Denoising(Struct, frozen=True, kw_only=True):
    """What samples of a diffusion model are drawn by.

    Attributes:
        target: what the network predicts, by name; `about_target` says what that is.
        null_label: the label that stands for any, in models with labels or clusters.
        clusters: the share of each cluster, in models with clusters.
        default: the sampler that suits the model.
        ways: the settings of each sampler.
    """

    target: str
    about_target: str
    schedule: Schedule
    null_label: int | None
    clusters: tuple[float, ...] = ()
    default: str
    ways: dict[str, Way]


class GraphDocument(Struct, frozen=True, kw_only=True):
    """An ONNX file, and what goes into it and comes out of it."""

    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Exported(Struct, frozen=True, kw_only=True):
    """What an exported model says of itself, beside its files and in the metadata of each.

    Attributes:
        model: which one it was, in words.
        shape: of its images: channels, height, width.
        half: whether the weights are stored in 16 bits; what is computed is float32 all the same.
        graphs: by name.
        denoising: of a diffusion model, how to sample.
        use: how to use the graphs, a sentence a step.
    """

    format: Annotated[int, Meta(ge=1, le=1)] = 1
    family: str
    model: str
    version: str
    opset: int
    half: bool
    options: Values
    shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...]
    graphs: dict[str, GraphDocument]
    denoising: Denoising | None = None
    use: tuple[str, ...] = ()
    versions: dict[str, str] = {}


def describe(model: Model, half: bool = False) -> Exported:
    """Return what an exported model says of itself. Raises UsageError if there is nothing to export."""
    family, found = model.family, _graphs(model)
    return Exported(
        family=family,
        model=model.origin,
        version=__version__,
        opset=OPSET,
        half=half,
        options=model.options.asdict(),
        shape=model.shape,
        classes=model.classes,
        class_names=model.class_names,
        graphs={
            name: GraphDocument(file=_file(family, name, len(found)), inputs=g.inputs, outputs=g.outputs)
            for name, g in found.items()
        },
        denoising=_denoising(model) if isinstance(model, Diffusion) else None,
        use=tuple(_use(model)),
        versions=versions(),
    )


def graphs(model: Model, half: bool = False) -> dict[str, bytes]:
    """Return the graphs of a model as ONNX files, by the names that `describe` gives them.

    Args:
        model: which one.
        half: store large weights in 16 bits, to be made float32 as the file is loaded.

    Raises:
        UsageError: there is nothing to export.
        GenmnistError: the packages for it are not installed, or a network of one's own cannot be exported.
    """
    with _packages():
        import onnx
    document, found = describe(model, half), {}
    embedded = msgspec.json.encode(document).decode()
    with _exportable(model):
        for name, graph in _graphs(model).items():
            proto = _traced(graph, name)
            if half:
                _halve(proto.graph)
            onnx.helper.set_model_props(proto, {KEY: embedded})
            onnx.checker.check_model(proto)
            found[name] = proto.SerializeToString()
    return found


def export(model: Model, out: str | Path, *, half: bool = False) -> Exported:
    """Write a model as ONNX into a folder, a file a graph, and beside them the document, as JSON.

    >>> import genmnist
    >>> genmnist.export(genmnist.load("vae", device="cpu"), "models")  # doctest: +SKIP

    Args:
        model: which one.
        out: the folder; what it holds of other families stays.
        half: see `graphs`.

    Returns:
        The document.

    Raises:
        UsageError, GenmnistError: see `graphs`; or the files cannot be written.
    """
    folder, document = Path(out), describe(model, half)
    for name, content in graphs(model, half).items():
        write_bytes(folder / document.graphs[name].file, content)
    write_document(folder / f"{model.family}.json", document)
    return document


@dataclass(frozen=True)
class Runtime:
    """An exported graph, run by onnxruntime alone.

    Args:
        document: what it says of itself.
        session: that of onnxruntime.
    """

    document: Exported
    session: onnxruntime.InferenceSession

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Return the outputs by name, as arrays."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs), strict=True))


def runtime(path: str | Path, family: str | None = None) -> Runtime:
    """Open a file that `export` wrote.

    Args:
        path: the file.
        family: which one it must be of; None is any.

    Raises:
        UsageError: it is of another family.
        GenmnistError: it is no such file.
    """
    with _packages():
        import onnxruntime
    path = Path(path)
    content = read_bytes(path, _MOST_BYTES, _MEND)
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many classes, none of them public
        raise GenmnistError(f"{path} is no ONNX file that can be run: {_MEND}") from error
    said = session.get_modelmeta().custom_metadata_map.get(KEY)
    if said is None:
        raise GenmnistError(f"{path} does not say what it is of: {_MEND}")
    try:
        document = msgspec.json.decode(said, type=Exported)
    except msgspec.MsgspecError as error:
        raise GenmnistError(f"{path} says what it is of in a form that is not known here: {_MEND}") from error
    if family is not None and document.family != family:
        raise UsageError(f"{path} is of the family {document.family:.40}, not {family}: name another file")
    return Runtime(document, session)


def _graphs(model: Model) -> Mapping[str, Graph]:
    found = model.graphs()
    if not found:
        raise UsageError(f"a {model.family} cannot be exported: its models have no graphs()")
    return found


def _file(family: str, name: str, count: int) -> str:
    return f"{family}.onnx" if count == 1 else f"{family}-{name}.onnx"


def _denoising(model: Diffusion) -> Denoising:
    schedule = model.schedule
    ways = {}
    for sampler in SAMPLERS.names():
        how: Sampling = model.how(sampler=sampler)
        with contextlib.suppress(UsageError):  # more steps than this model has timesteps
            ways[sampler] = Way(options=how.asdict(), timesteps=tuple(model.timesteps(how)))
    return Denoising(
        target=model.options.target,
        about_target=(TARGETS[model.options.target].__doc__ or "").strip().partition("\n")[0],
        schedule=Schedule(
            name=schedule.name,
            timesteps=len(schedule),
            straight=schedule.straight,
            log_snrs=tuple(schedule.log_snrs.tolist()),
        ),
        null_label=model.options.classes or None,
        clusters=() if model.clusters is None else tuple(model.clusters.shares.tolist()),
        default=model.how().sampler,
        ways=ways,
    )


def _use(model: Model) -> Iterator[str]:
    """Yield how to use what is exported."""
    if isinstance(model, Diffusion):
        yield from _USE
        yield _STRAIGHT if model.schedule.straight else _PRESERVING
        if model.clusters is not None:
            yield _CLUSTERED
        if model.options.classes:
            yield _GUIDED
    elif isinstance(model, Latent):
        yield "z = mean + exp(log_variance / 2) * noise; the points of the prior are standard normal."
        yield "A pixel's byte is round(255 p), where p is its mean."
    elif not isinstance(model, Generator):
        yield "The class is the largest logit's; the softmax of the logits says how likely each class is."


_USE = (
    "lambda(t) = schedule.log_snrs[t], linear between entries; at t = -1 alpha is 1 and sigma is 0.",
    "Start from x = sigma(T - 1) * noise, with standard normal noise.",
    "The network sees x / hypot(alpha, sigma), and log_snr = 2 log(alpha / sigma).",
    "The target is y = a x0 + b epsilon, where (a, b) is (0, 1) for epsilon, (1, 0) for x0 and categorical, "
    "(-sigma, alpha) for v, (-1, 1) for flow.",
    "With x = alpha x0 + sigma epsilon and d = alpha b - sigma a that makes x0 = (b x - sigma y) / d and "
    "epsilon = (alpha y - a x) / d.",
    "The threshold static clips x0 to [-1, 1], then epsilon = (x - alpha x0) / sigma; dynamic first divides "
    "x0 by the 0.995 quantile of its absolute pixels, where that is above 1.",
    "Step from each timestep of a way to the next; the last is -1, where x is the image.",
    "A pixel's byte is round(255 (x + 1) / 2), within 0 and 255.",
)
_STRAIGHT = "alpha(t) = sigmoid(lambda / 2), sigma(t) = sigmoid(-lambda / 2)."
_PRESERVING = "alpha(t) = sqrt(sigmoid(lambda)), sigma(t) = sqrt(sigmoid(-lambda))."
_CLUSTERED = "The label of a sample is a cluster, drawn by the shares in denoising.clusters."
_GUIDED = "Guided by w: (1 + w) of what is predicted with the label, less w of that with the null label."


@contextlib.contextmanager
def _packages() -> Iterator[None]:
    """Say in one sentence which packages are lacking."""
    try:
        yield
    except ImportError as error:
        raise GenmnistError(
            f"ONNX needs the package {error.name}: `pip install 'genmnist[export]'` has all that export needs"
        ) from error


@contextlib.contextmanager
def _exportable(model: Model) -> Iterator[None]:
    """Put a model on the CPU, in float32 and channels first, for as long as it is traced."""
    device, precision, training = model.device, model.precision, model.training
    try:
        model.eval().place(torch.device("cpu"), "float32").to(memory_format=torch.contiguous_format)
        yield
    finally:
        model.train(training).place(device, precision)


def _traced(graph: Graph, name: str) -> onnx.ModelProto:
    """Return the graph as torch's exporter writes it. Raises GenmnistError if it cannot."""
    with _packages():
        import onnxscript  # noqa: F401  what torch's exporter needs
        from onnx_ir.passes import common
    batch = torch.export.Dim("batch", min=1, max=65536)
    inputs: tuple[Tensor, ...] = tuple(port.example(2) for port in graph.inputs)
    sink = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            with _silent("torch.onnx", "onnxscript", "onnx_ir"), torch.no_grad():
                # Traced here: where it fails, torch.onnx would try ways that fix the size of the batch.
                traced = torch.export.export(
                    graph.module, inputs, strict=False, dynamic_shapes=tuple({0: batch} for _ in inputs)
                )
                program = torch.onnx.export(
                    traced,
                    dynamo=True,
                    opset_version=OPSET,
                    input_names=[port.name for port in graph.inputs],
                    output_names=[port.name for port in graph.outputs],
                    external_data=False,
                    verbose=False,
                )
                if program is None:
                    raise RuntimeError("torch's exporter has no answer")
                # Which line of the source each node came from is half of a small file; and some constants are
                # equal, such as the ones that normalisation multiplies by.
                common.ClearMetadataAndDocStringPass()(program.model)
                common.DeduplicateInitializersPass(_MOST_BYTES)(program.model)
    except Exception as error:  # a network may do whatever it likes
        raise GenmnistError(f"the {name} cannot be written as ONNX: {first_line(error):.200}") from error
    proto = program.model_proto
    del proto.graph.value_info[:]
    proto.producer_version = __version__
    return proto


@contextlib.contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Let some loggers say nothing."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _halve(graph: onnx.GraphProto) -> None:
    """Store large weights in 16 bits, with a cast to float32 before they are used."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _HALVED or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name, stored = tensor.name, f"{tensor.name}.half"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
