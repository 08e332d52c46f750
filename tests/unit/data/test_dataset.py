import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from crrn.data.batch import Sample, TwoPhotos, collate
from crrn.data.dataset import SampleDataset
from crrn.data.loader import ahead
from crrn.data.photos import PhotoBank
from crrn.data.plan import MixingPlan
from crrn.data.sampler import Key
from crrn.errors import DataError
from crrn.mixing import PaperMixing

MakePhotos = Callable[..., list[Path]]


def dataset(files: list[Path], on_corrupt: str) -> SampleDataset:
    plan = MixingPlan(0, files, files, PaperMixing().draw, [(48, 64)])
    bank = PhotoBank(files, (48, 64))
    return SampleDataset(plan, bank, bank, on_corrupt=on_corrupt)


def test_a_replacement_is_never_the_photo_that_it_is_mixed_with(
    make_photos: MakePhotos, truncate: Callable[[Path], Path]
) -> None:
    files = make_photos("photos", 4)
    cut = truncate(files[1])
    data = dataset(files, "skip")
    replaced = 0
    for k in range(60):
        sample = data[Key(0, k, 48, 64)]
        assert isinstance(sample, Sample) and isinstance(sample.content, TwoPhotos)
        assert (sample.content.background != sample.content.reflection).any()
        assert set(sample.skipped) <= {str(cut)}
        replaced += len(sample.skipped)
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
    assert batch.photos is not None and batch.pairs is None
    assert batch.photos.background.shape == (5, 3, 24, 32)
    assert batch.photos.background.is_contiguous(memory_format=torch.channels_last)
    assert batch.k.tolist() == [0, 1, 2, 3, 4]
    assert {value.dtype for value in batch.photos.parameters.values()} == {torch.float32}


def counting(made: list[int], until: int) -> Iterator[int]:
    for number in range(until):
        assert threading.current_thread() is not threading.main_thread()
        made.append(number)
        yield number


def test_working_ahead_keeps_the_order_and_its_distance() -> None:
    made: list[int] = []
    taken = []
    for number in ahead(counting(made, 6), depth=2):
        taken.append(number)
        assert len(made) <= number + 3  # the one in use and two more
    assert taken == list(range(6))


def test_what_is_not_asked_for_is_dropped() -> None:
    made: list[int] = []
    coming = ahead(counting(made, 100), depth=2)
    next(coming)
    coming.close()
    assert len(made) <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("photos")]


def test_it_may_be_left_by_the_thread_itself() -> None:  # as garbage is collected in any thread
    may_leave, left = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield from (1, 2)
        may_leave.wait(10)
        coming.close()
        left.set()
        yield 3

    coming = ahead(items())
    assert next(coming) == 1
    may_leave.set()
    assert left.wait(10)


def test_an_error_while_working_ahead_comes_at_its_turn() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    coming = ahead(failing())
    assert next(coming) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(coming)
