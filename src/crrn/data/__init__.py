"""Photos and how they become batches of mixtures: sources, the mixing plan, the batch sampler, the DataModule."""

from crrn.data.datamodule import MixtureDataModule
from crrn.data.demo import demo_photos
from crrn.data.sources import PhotoSource, coco, folder, rid, voc2012

__all__ = ["MixtureDataModule", "PhotoSource", "coco", "demo_photos", "folder", "rid", "voc2012"]
