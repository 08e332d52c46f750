"""Which remover serves where none is named."""

from __future__ import annotations

from pathlib import Path

from crrn.removers import RemoverName

FALLBACK = "yl19"
"""The fast solver: it needs no weights."""


def default_remover(folder: Path = Path(__file__).parents[1] / "weights") -> RemoverName:
    """The trained network that the package ships in crrn/weights, the last by name; YL19 where it ships none."""
    return str(max(folder.glob("*.safetensors"), default=FALLBACK))
