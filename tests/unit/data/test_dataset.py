from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from crrn.data.dataset import MixtureDataset, Pair, collate
from crrn.data.photos import PhotoBank
from crrn.data.plan import MixingPlan
from crrn.data.sampler import Key
from crrn.errors import ConfigError, DataError
from crrn.mixing import PaperMixing

MakePhotos = Callable[..., list[Path]]


def dataset(files: list[Path], on_corrupt: str) -> MixtureDataset:
    plan = MixingPlan(0, files, files, PaperMixing().draw, [(48, 64)])
    bank = PhotoBank(files, (48, 64))
    return MixtureDataset(plan, bank, bank, on_corrupt=on_corrupt)


def test_a_replacement_is_never_the_photo_that_it_is_mixed_with(
    make_photos: MakePhotos, truncate: Callable[[Path], Path]
) -> None:
    files = make_photos("photos", 4)
    cut = truncate(files[1])
    data = dataset(files, "skip")
    replaced = 0
    for k in range(60):
        pair = data[Key(0, k, 48, 64)]
        assert isinstance(pair, Pair)
        assert (pair.background != pair.reflection).any()
        assert set(pair.skipped) <= {str(cut)}
        replaced += len(pair.skipped)
    assert replaced == 30


def test_an_error_is_given_back_and_passes_through_the_batch(
    make_photos: MakePhotos, truncate: Callable[[Path], Path]
) -> None:
    files = make_photos("photos", 2)
    truncate(files[0])
    data = dataset(files, "error")
    sample = data[Key(0, 0, 48, 64)]
    assert isinstance(sample, DataError)
    assert collate([sample, sample]) is sample


def test_batch_memory(make_photos: MakePhotos) -> None:
    data = dataset(make_photos("photos", 3), "error")
    batch = collate([data[Key(0, k, 24, 32)] for k in range(5)])
    assert not isinstance(batch, DataError)
    assert batch.background.shape == (5, 3, 24, 32)
    assert batch.background.is_contiguous(memory_format=torch.channels_last)
    assert batch.k.tolist() == [0, 1, 2, 3, 4]
    assert {value.dtype for value in batch.parameters.values()} == {torch.float32}


def test_unknown_on_corrupt(make_photos: MakePhotos) -> None:
    with pytest.raises(ConfigError, match=r"data\.on_corrupt='ignore' is unknown"):
        dataset(make_photos("photos", 2), "ignore")
