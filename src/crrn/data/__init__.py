"""Photos and pairs, and how they become batches: sources, plans, the batch sampler, the DataModule, benchmarks.

The DataModule is imported on first use, because it imports Lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crrn.data.package_photos import demo_photos
from crrn.data.pairs import PairSource, RealPair
from crrn.data.settings import Batches, Loading, Sources, Validation
from crrn.data.sources import PhotoSource, coco, folder, rid, voc2012

if TYPE_CHECKING:
    from crrn.data.datamodule import MixtureDataModule

__all__ = [
    "Batches",
    "Loading",
    "MixtureDataModule",
    "PairSource",
    "PhotoSource",
    "RealPair",
    "Sources",
    "Validation",
    "coco",
    "demo_photos",
    "folder",
    "rid",
    "voc2012",
]


def __getattr__(name: str) -> Any:
    if name == "MixtureDataModule":
        from crrn.data.datamodule import MixtureDataModule

        return MixtureDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
