"""The notebook: its cells run one after the other, and no output is kept in it."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.integration.conftest import ROOT

NOTEBOOK = json.loads((ROOT / "notebooks/crrn.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

SHORT = ["width=0.05", "stages.gin.epochs=1", "stages.joint.epochs=1", "data.batches.samples_per_epoch=4"]
SHORT += ["data.batches.sizes=[32x48]", "data.validation.mixtures=2", "data.validation.size=32x48"]
"""What makes the training a matter of seconds."""


def shown(cell: str, names: dict[str, Any]) -> Any:
    """Runs a cell as IPython would, and gives the value of its last line; "%pip" is left out, as crrn is installed."""
    if cell.startswith("%pip install "):
        return None
    if cell.startswith("!crrn "):
        short = {setting.partition("=")[0] for setting in SHORT}
        words = [word for word in shlex.split(cell[1:]) if word.partition("=")[0] not in short]
        done = subprocess.run([sys.executable, "-m", *words, *SHORT], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return None
    tree = ast.parse(cell)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(cell, names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_no_output_is_kept() -> None:
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert NOTEBOOK["nbformat"] == 4 and NOTEBOOK["cells"][0]["cell_type"] == "markdown"
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    assert CODE[0].startswith("%pip install ")


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}")
    names: dict[str, Any] = {}
    pictures = [shown(cell, names) for cell in CODE]

    pictures = [picture for picture in pictures if picture is not None]
    assert len(pictures) == 6 and all(isinstance(picture, Image.Image) for picture in pictures)
    before, compared, reflection, classical, _, own = (
        np.asarray(picture.convert("RGB"), float) for picture in pictures
    )
    height, width = before.shape[:2]
    assert reflection.shape == before.shape
    for picture in (compared, classical, own):
        assert picture.shape == (height + 4, 2 * (width + 4), 3)
        np.testing.assert_array_equal(picture[2:-2, 2 : width + 2], before)
    assert np.abs(compared[2:-2, width + 6 : -2] - before).mean() > 1  # something was removed
    assert (tmp_path / "runs/notebook/summary.md").is_file()
