"""From samples to batches, and from those to mixtures on the device.

A batch holds uint8 photos, or, where the device keeps the photos, what is to be cut out of them (`Cuts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crrn.data.device import Cut, Cuts, DevicePhotos, joined, stacked_cuts
from crrn.data.tone import exposed
from crrn.errors import ConfigError, DataError, kind_of
from crrn.image.picture import Pixels
from crrn.mixing import Mixture
from crrn.mixing.model import Drawn


class TwoPhotos(NamedTuple):
    """A mixture to be: two photos, uint8 (H, W, 3) or cuts, and the formation model's parameters."""

    background: Pixels | Cut
    reflection: Pixels | Cut
    parameters: Drawn


class TakenPair(NamedTuple):
    """A real pair to be.

    Attributes:
        mixture: uint8 (H, W, 3), or a cut.
        background: likewise.
        reflection: likewise; None where it is unknown.
        gains: what each channel's linear light of all photos is multiplied by, (3,).
    """

    mixture: Pixels | Cut
    background: Pixels | Cut
    reflection: Pixels | Cut | None
    gains: NDArray[np.float32]


class Sample(NamedTuple):
    """One row of a batch.

    Attributes:
        content: what the row shows.
        k: its number within its epoch.
        skipped: the corrupt photos that were replaced.
    """

    content: TwoPhotos | TakenPair
    k: int
    skipped: list[str]


class PhotoBatch(NamedTuple):
    """Mixtures to be.

    Attributes:
        background: uint8 (N, 3, H, W), in channels-last memory, or cuts.
        reflection: likewise.
        parameters: the formation model's parameters: float32 tensors (N, ...), and choices as int64 arrays (N,), which
            stay on the host.
    """

    background: Tensor | Cuts
    reflection: Tensor | Cuts
    parameters: dict[str, Tensor | NDArray[np.int64]]


class PairBatch(NamedTuple):
    """Real pairs.

    Attributes:
        mixture: uint8 (N, 3, H, W), in channels-last memory, or cuts.
        background: likewise.
        reflection: likewise; anything where it is unknown.
        known: bool (N,), whether the reflection is known.
        gains: float32 (N, 3), see `TakenPair`; None where all are 1.
    """

    mixture: Tensor | Cuts
    background: Tensor | Cuts
    reflection: Tensor | Cuts
    known: Tensor
    gains: Tensor | None


class Batch(NamedTuple):
    """A batch on its way to the device.

    Attributes:
        photos: its rows that are mixtures; None where there are none.
        pairs: its rows that are real pairs; None where there are none.
        order: int64 (N,): row i of the batch is row order[i] of the mixtures with the pairs behind them.
        k: the rows' numbers within their epoch, int64 (N,).
        skipped: the corrupt photos that were replaced.
    """

    photos: PhotoBatch | None
    pairs: PairBatch | None
    order: Tensor
    k: Tensor
    skipped: list[str]


def collate(samples: Sequence[Sample | DataError]) -> Batch | DataError:
    """Stack samples to a batch; where one is an error, give that error."""
    sound: list[Sample] = []
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
        sound.append(sample)
    photos = [sample.content for sample in sound if isinstance(sample.content, TwoPhotos)]
    pairs = [sample.content for sample in sound if isinstance(sample.content, TakenPair)]
    is_pair = np.array([isinstance(sample.content, TakenPair) for sample in sound])
    return Batch(
        photos=_photo_batch(photos) if photos else None,
        pairs=_pair_batch(pairs) if pairs else None,
        order=torch.from_numpy(np.argsort(np.argsort(is_pair, kind="stable"), kind="stable")),
        k=torch.tensor([sample.k for sample in sound]),
        skipped=[file for sample in sound for file in sample.skipped],
    )


def form(batch: Batch, mixing: Callable[..., Any], kept: DevicePhotos | None = None) -> Mixture:
    """Form a batch's mixtures and put its rows in order, on the device on which it lies.

    Args:
        batch: on the device.
        mixing: the formation model.
        kept: the photos from which the batch's cuts are taken; None: the batch has none.

    Raises:
        ConfigError: the formation model returns no `Mixture`.
    """
    photos, pairs = batch.photos, batch.pairs
    images = _images([*(photos[:2] if photos else ()), *(pairs[:3] if pairs else ())], kept)
    taken = None if pairs is None else _taken(pairs, *images[-3:])
    if photos is None:
        assert taken is not None  # a batch has rows
        return taken
    formed = mixing(*images[:2], photos.parameters)
    if not isinstance(formed, Mixture):
        name = type(mixing).__name__
        raise ConfigError(f"The formation model {name} returns {kind_of(formed)}: return a crrn.mixing.Mixture.")
    if pairs is None or taken is None:
        return formed
    known = formed.mixture.new_ones(len(formed.mixture), dtype=torch.bool)
    formation = formed.formation
    if formation is not None:
        formation = torch.cat((formation, formation.new_full((len(taken.mixture), 2), torch.nan)))[batch.order]
    mixture, background, reflection = (
        torch.cat(layers)[batch.order] for layers in zip(formed[:3], taken[:3], strict=True)
    )
    return Mixture(mixture, background, reflection, torch.cat((known, pairs.known))[batch.order], formation)


def _images(stacks: Sequence[Any], kept: DevicePhotos | None) -> Sequence[Tensor]:
    """Stacks of uint8 photos, or of cuts, as floats in [0, 1]."""
    if not isinstance(stacks[0], Cuts):
        return [_unit(stack) for stack in stacks]
    assert kept is not None
    # At once: a device takes hardly longer for all of them than for one.
    return kept.cut(joined(stacks)).split([len(stack.table) for stack in stacks])


def _taken(pairs: PairBatch, mixture: Tensor, background: Tensor, reflection: Tensor) -> Mixture:
    reflection = torch.where(pairs.known[:, None, None, None], reflection, 0.0)
    if pairs.gains is not None:
        mixture, background, reflection = (exposed(layer, pairs.gains) for layer in (mixture, background, reflection))
    return Mixture(mixture, background, reflection, pairs.known)


def _photo_batch(rows: Sequence[TwoPhotos]) -> PhotoBatch:
    return PhotoBatch(
        background=_stacked([row.background for row in rows]),
        reflection=_stacked([row.reflection for row in rows]),
        parameters={name: _column([row.parameters[name] for row in rows]) for name in rows[0].parameters},
    )


def _column(values: Sequence[float | int | NDArray[np.float32]]) -> Tensor | NDArray[np.int64]:
    if isinstance(values[0], int):
        return np.array(values, dtype=np.int64)
    return torch.from_numpy(np.array(values, dtype=np.float32))


def _pair_batch(rows: Sequence[TakenPair]) -> PairBatch:
    gains = np.stack([row.gains for row in rows])
    return PairBatch(
        mixture=_stacked([row.mixture for row in rows]),
        background=_stacked([row.background for row in rows]),
        reflection=_stacked([row.mixture if row.reflection is None else row.reflection for row in rows]),
        known=torch.tensor([row.reflection is not None for row in rows]),
        gains=torch.from_numpy(gains) if (gains != 1).any() else None,
    )


def _stacked(pictures: Sequence[Any]) -> Tensor | Cuts:
    if isinstance(pictures[0], Cut):
        return stacked_cuts(pictures)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _unit(photos: Tensor) -> Tensor:
    """Turn uint8 photos to floats in [0, 1], contiguous: which memory format to compute in is the network's choice."""
    return photos.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
