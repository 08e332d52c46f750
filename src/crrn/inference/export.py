"""Networks as files for other programs: ONNX, torch.export, safetensors. Each file is checked before it is kept."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from crrn.errors import ConfigError, ExportError
from crrn.files import write_atomically
from crrn.inference.folding import fold_batch_norm
from crrn.layers import Layers
from crrn.nets import estimate, estimates_of, load_network, record_of
from crrn.nets.weights import METADATA, network_bytes
from crrn.private import any_size

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}
"""The formats and their files' suffixes."""

PRECISIONS = {"float32": None, "float16": torch.float16, "int8": torch.int8}
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "int8": 5e-2}
"""The largest difference of any value of any layer to the network's, on images of noise. For float16 and int8 our
choice: a trained CRRN of width 0.25 differed by 0.024 with int8, on photos by 0.003."""

TRACED_AT = (2, 96, 160)
CHECKED_AT = ((1, 37, 203), (2, 150, 100), (3, 64, 64), (1, 1, 1))
"""Batch, height and width that a graph is captured at, and others that it is checked at: with and without padding,
smaller than their padding, taller than wide."""

TORCHS_OWN = (
    (".isinstance.treespec, LeafSpec.. is deprecated", FutureWarning),
    ("The given buffer is not writable", UserWarning),
)
"""What torch 2.11 to 2.15 warns of inside its own exporter and loader."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Run = Callable[[Tensor], Sequence[Tensor]]


def export_network(network: nn.Module, path: Path, format: str, precision: str = "float32") -> dict[str, float]:
    """Write a network to a file, and check that the file computes the same. If it does not, no file is written.

    Args:
        network: the network; it is not changed.
        path: the file to write.
        format: "onnx" and "torch_export" hold the computation, for any batch, height and width >= 1, with batch
            normalisation folded. The input is `mixture` (N, 3, H, W) in [0, 1], float32. The outputs are the layers of
            `crrn.nets.estimates_of`, in the order of `Layers`. "safetensors" holds the weights, for `crrn.load`.
        precision: "float32". safetensors can also have "float16" or "int8", which store the convolutions' weights in a
            half or a quarter of the space.

    Returns:
        The largest difference to the network's layers for each size checked, "NxHxW".

    Raises:
        ConfigError: the format or the precision is unknown, or a package is missing.
        ExportError: the differences exceed `TOLERANCES`, or torch cannot export the network.
        RunError: the place cannot be written to.
    """
    check_format(format, precision)
    network = network.to("cpu").eval()
    with warnings.catch_warnings(), write_atomically(path) as file:
        for message, category in TORCHS_OWN:
            warnings.filterwarnings("ignore", message, category)
        file.write(_ENCODERS[format](network, precision))
        file.flush()
        return check(network, _READERS[format](Path(file.name)), TOLERANCES[precision], path)


def check_format(format: str, precision: str) -> None:
    """Refuses what `export_network` cannot do, before any work is done; ConfigError as there."""
    if format not in SUFFIXES:
        raise ConfigError(f"format={format} is unknown: choose one of {', '.join(SUFFIXES)}.")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision} is unknown: choose one of {', '.join(PRECISIONS)}.")
    if precision != "float32" and format != "safetensors":
        raise ConfigError(f"precision={precision} is for format=safetensors only: {format} is written in float32.")
    missing = [name for name in PACKAGES if format == "onnx" and find_spec(name) is None]
    if missing:
        raise ConfigError(f"format=onnx needs {' and '.join(missing)}: pip install 'crrn[export]'.")


def check(network: nn.Module, run: Run, tolerance: float, path: Path) -> dict[str, float]:
    """Compare what a file computes with what the network computes, at `CHECKED_AT`; see `export_network`."""
    differences = {}
    generator = torch.Generator().manual_seed(0)
    for batch, height, width in CHECKED_AT:
        size = f"{batch}x{height}x{width}"
        mixture = torch.rand((batch, 3, height, width), generator=generator)
        with torch.inference_mode():
            expected = estimated(network, mixture)
            try:
                given = run(mixture)
            except Exception as error:  # a runtime's own errors, of many kinds
                reason = str(error).strip().splitlines()[0]
                raise ExportError(f"{path} is not written, as what was exported fails at {size}: {reason}") from error
        shapes = [tuple(layer.shape) for layer in given], [tuple(layer.shape) for layer in expected]
        if shapes[0] != shapes[1]:
            raise ExportError(f"{path} is not written: it gives the shapes {shapes[0]} at {size}, not {shapes[1]}.")
        difference = max(float((a - b).abs().max()) for a, b in zip(given, expected, strict=True))
        if not difference <= tolerance:  # also where it is not a number
            raise ExportError(
                f"{path} is not written: at {size} it differs from the network by {difference:.1e}, more than "
                f"{tolerance:g}."
            )
        differences[size] = difference
    return differences


def estimated(network: nn.Module, mixture: Tensor) -> tuple[Tensor, ...]:
    """The layers that a network estimates, without those that it does not."""
    return tuple(layer for layer in estimate(network, mixture) if layer is not None)


class _Estimated(nn.Module):
    """A network that gives only tensors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, mixture: Tensor) -> tuple[Tensor, ...]:
        return estimated(self.network, mixture)


def capture(network: nn.Module) -> torch.export.ExportedProgram:
    """The computation of a network for any batch, height and width, batch normalisation folded where its class says
    that it can be.
    """
    if getattr(network, "folds_batch_norm", False):
        network = fold_batch_norm(network)
    example = torch.rand((TRACED_AT[0], 3, *TRACED_AT[1:]), generator=torch.Generator().manual_seed(0))
    anything = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    try:
        with torch.no_grad(), any_size():
            program = torch.export.export(_Estimated(network).eval(), (example,), dynamic_shapes=(anything,))
    except Exception as error:  # the exporter's own errors, of many kinds
        raise ExportError(f"torch.export cannot capture this network: {str(error).splitlines()[0]}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine that exports
    return program


def _encode_onnx(network: nn.Module, precision: str) -> bytes:
    program = capture(network)
    estimates = estimates_of(network)
    names = [name for name in Layers._fields if name in estimates]
    try:
        exported = torch.onnx.export(
            program, (), dynamo=True, input_names=["mixture"], output_names=names, verbose=False
        )
    except Exception as error:
        raise ExportError(f"torch.onnx cannot export this network: {str(error).splitlines()[0]}") from error
    assert exported is not None
    model = exported.model_proto
    for value in (*model.graph.input, *model.graph.output):
        for place, name in {0: "batch", 2: "height", 3: "width"}.items():
            value.type.tensor_type.shape.dim[place].dim_param = name
    for noted in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph):
        del noted.metadata_props[:]  # where in the source each step comes from
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps({"net": record_of(network), "estimates": names})
    content: bytes = model.SerializeToString()
    return content


def _encode_torch_export(network: nn.Module, precision: str) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(capture(network), buffer)
    return buffer.getvalue()


def _encode_safetensors(network: nn.Module, precision: str) -> bytes:
    return network_bytes(network, PRECISIONS[precision])


def _read_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised, too
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda mixture: [torch.from_numpy(layer) for layer in session.run(None, {"mixture": mixture.numpy()})]


def _read_torch_export(path: Path) -> Run:
    run: Run = torch.export.load(io.BytesIO(path.read_bytes())).module()
    return run


def _read_safetensors(path: Path) -> Run:
    network = load_network(path)
    return lambda mixture: estimated(network, mixture)


_ENCODERS: dict[str, Callable[[nn.Module, str], bytes]] = {
    "onnx": _encode_onnx,
    "torch_export": _encode_torch_export,
    "safetensors": _encode_safetensors,
}
_READERS: dict[str, Callable[[Path], Run]] = {
    "onnx": _read_onnx,
    "torch_export": _read_torch_export,
    "safetensors": _read_safetensors,
}
