"""The export command from its first line to its last, and torch.hub."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

import crrn
from crrn.nets import save_network
from tests.integration.conftest import ROOT, Command, Outcome
from tests.networks import lively

Export = Callable[..., Outcome]


@pytest.fixture
def export(command: Command) -> Export:
    """Runs ``crrn-export`` in this process."""
    return partial(command, "export")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory, as far as an export looks into it."""
    folder = tmp_path / "runs" / "mine"
    save_network(lively("crrn"), folder / "weights.safetensors")
    record = {"config": {"seed": 77}, "data": {"fingerprint": "0123456789abcdef"}, "sessions": []}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.mark.slow
def test_onnx_gives_the_networks_output_at_other_sizes(export: Export, run: Path, tmp_path: Path) -> None:
    outcome = export("checkpoint=runs/mine", "license=mit")
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "exports/mine"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.onnx"]
    assert len(outcome.out.splitlines()) == 3 and not outcome.err  # no chatter of libraries
    assert "1x37x203, 2x150x100, 3x64x64, 1x1x1" in outcome.out

    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert not [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert str(ROOT).encode() not in (folder / "model.onnx").read_bytes()  # traces of this machine
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert [layer.name for layer in session.get_outputs()] == ["background", "reflection", "gradient"]
    network = crrn.load(run / "weights.safetensors")
    for shape in ((1, 3, 50, 70), (4, 3, 33, 128), (1, 3, 17, 300)):  # neither captured at nor checked by the command
        mixture = torch.rand(shape, generator=torch.Generator().manual_seed(3))
        with torch.inference_mode():
            expected = network(mixture)
        for given, layer in zip(session.run(None, {"mixture": mixture.numpy()}), expected, strict=True):
            assert (torch.from_numpy(given) - layer).abs().max() < 1e-4

    # a second format joins the first in the folder and on its card
    outcome = export("checkpoint=runs/mine", "format=safetensors", "precision=float16")
    assert outcome.status == 0, outcome.err
    card = (folder / "README.md").read_text()
    assert "| `model.onnx` |" in card and "| `model.safetensors` |" in card and "0123456789abcdef" in card
    with torch.inference_mode():
        assert (crrn.from_pretrained(folder)(mixture).background - expected.background).abs().max() < 1e-2


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("checkpoint=nothing.safetensors",), "nothing.safetensors"),
        (("checkpoint=nothing",), "nothing"),
        (("checkpoint=yl19",), "yl19"),
        (("checkpoint=runs/mine", "format=tflite"), "format=tflite"),
        (("checkpoint=runs/mine", "output=net.onnx", "format=torch_export"), "net.onnx"),
        (("checkpoint=runs/mine", "precision=float16"), "format=safetensors"),
        (("checkpoint=runs/mine", "output=mine"), "README.md"),
        (
            ("checkpoint=runs/mine", "format=safetensors", "output=runs/mine/weights.safetensors"),
            "runs/mine/weights.safetensors",
        ),
        (("checkpoint=runs/mine", "push=mine"), "push=mine"),
    ],
)
def test_wrong_input_is_one_sentence(
    export: Export, run: Path, tmp_path: Path, overrides: tuple[str, ...], said: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/README.md").write_text("# My own words")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outcome = export(*overrides)
    assert outcome.status == 1
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert said in outcome.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", ["export", "demo"])
def test_help_and_a_mistyped_key_are_light(command: str) -> None:
    for arguments, status, said in ((["--help"], 0, "Everyday:"), (["outptu=x"], 1, "outptu")):
        script = (
            f"import sys; sys.argv = ['x', *{arguments}]\n"
            f"from crrn.cli.{command} import main\n"
            "try: main()\n"
            "finally: assert not {'torch', 'gradio', 'onnx', 'huggingface_hub'} & sys.modules.keys()"
        )
        began = time.process_time()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert time.process_time() - began < 3
        assert done.returncode == status and said in done.stdout + done.stderr, done.stderr


def test_torch_hub(run: Path) -> None:
    network = torch.hub.load(ROOT, "crrn", source="local", weights=run / "weights.safetensors")
    mixture = torch.rand(1, 3, 20, 30)
    with torch.inference_mode():
        assert torch.equal(network(mixture).background, crrn.load(run / "weights.safetensors")(mixture).background)
        untrained = torch.hub.load(ROOT, "crrn", source="local", width=1 / 32)
        assert torch.equal(untrained(mixture).background, mixture)
