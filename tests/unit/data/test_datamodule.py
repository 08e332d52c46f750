import logging
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.trainer import at

from crrn.data import Batches, Loading, MixtureDataModule, PhotoSource, Sources, Validation, folder
from crrn.data.batch import Batch, PhotoBatch
from crrn.errors import ConfigError, DataError
from crrn.mixing import Mixture, PaperMixing

MakePhotos = Callable[..., list[Path]]
MakeData = Callable[..., MixtureDataModule]

# Python 3.12 warns of any fork in a process with threads; torch's loader forks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def make_data(make_photos: MakePhotos, tmp_path: Path) -> MakeData:
    make_photos("b", 30)
    make_photos("r", 20)

    def make(**changes: Any) -> MixtureDataModule:
        settings: dict[str, Any] = {
            "background": tmp_path / "b",
            "reflection": str(tmp_path / "r"),
            "mixing": PaperMixing(),
            "seed": 7,
        }
        blocks: dict[str, dict[str, Any]] = {
            "sources": {"held_out": 0.2},
            "batches": {"batch_size": 4, "sizes": ["32x40", "48x56"], "samples_per_epoch": 18},
            "validation": {"mixtures": 6, "size": "40x48"},
            "loading": {"num_workers": 0},
        }
        for name, value in changes.items():
            if isinstance(value, dict):
                blocks[name] |= value
            else:
                settings[name] = value
        kinds = {"sources": Sources, "batches": Batches, "validation": Validation, "loading": Loading}
        return MixtureDataModule(**settings, **{name: kinds[name](**block) for name, block in blocks.items()})

    return make


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.k, b.k)
        assert torch.equal(a.order, b.order)
        assert (a.photos is None) == (b.photos is None)
        assert (a.pairs is None) == (b.pairs is None)
        if a.photos is not None and b.photos is not None:
            assert torch.equal(a.photos.background, b.photos.background)
            assert torch.equal(a.photos.reflection, b.photos.reflection)
            for name in a.photos.parameters:
                assert np.array_equal(*(np.asarray(batch.photos.parameters[name]) for batch in (a, b)))
        if a.pairs is not None and b.pairs is not None:
            assert all(torch.equal(*layers) for layers in zip(a.pairs, b.pairs, strict=True))


def train(data: MixtureDataModule) -> list[Batch]:
    return list(data.train_dataloader())


def test_batches_are_uint8_photos_at_one_of_the_sizes(make_data: MakeData) -> None:
    batches = train(make_data(seed=9))
    assert len(batches) == 5
    assert {tuple(batch.photos.background.shape) for batch in batches} == {(4, 3, 32, 40), (4, 3, 48, 56)}
    for batch in batches:
        assert batch.photos.background.dtype == batch.photos.reflection.dtype == torch.uint8
        assert batch.photos.background.is_contiguous(memory_format=torch.channels_last)
        assert batch.photos.background.shape == batch.photos.reflection.shape
        assert ((batch.photos.parameters["alpha"] >= 0.8) & (batch.photos.parameters["alpha"] <= 1)).all()
        assert ((batch.photos.parameters["beta"] >= 0.1) & (batch.photos.parameters["beta"] <= 0.5)).all()
        assert batch.skipped == []
    assert torch.cat([batch.k for batch in batches]).tolist() == list(range(20))


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_and_the_cache_give_the_same_bits(make_data: MakeData, workers: int, cache: bool) -> None:
    plain = at(make_data())
    other = at(make_data(loading={"num_workers": workers, "cache": cache}))
    plain_loader, other_loader = plain.train_dataloader(), other.train_dataloader()
    for batch in (0, 5, 7):  # two epochs and a start in the middle, with the same persistent workers
        at(plain, batch), at(other, batch)
        assert_same(list(plain_loader), list(other_loader))


def test_cache_without_workers_gives_the_same_bits_twice(make_data: MakeData) -> None:
    cached = make_data(loading={"cache": True}).train_dataloader()
    plain = train(make_data())
    assert_same(list(cached), plain)
    assert_same(list(cached), plain)


def test_epochs_and_seeds_differ(make_data: MakeData) -> None:
    streams = [train(make_data()), train(at(make_data(), 5)), train(make_data(seed=8))]
    alphas = [torch.cat([batch.photos.parameters["alpha"] for batch in stream]) for stream in streams]
    assert not torch.isin(alphas[0], torch.cat(alphas[1:])).any()


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_give_the_batches_of_one(make_data: MakeData, world_size: int) -> None:
    ranks = [train(at(make_data(), 3, rank, world_size)) for rank in range(world_size)]
    joined = [
        Batch(
            PhotoBatch(
                background=torch.cat([part.photos.background for part in parts]),
                reflection=torch.cat([part.photos.reflection for part in parts]),
                parameters={
                    name: torch.cat([torch.as_tensor(part.photos.parameters[name]) for part in parts])
                    for name in ("alpha", "beta")
                },
            ),
            None,
            torch.arange(4),
            k=torch.cat([part.k for part in parts]),
            skipped=[],
        )
        for parts in zip(*ranks, strict=True)
    ]
    assert_same(joined, train(at(make_data(), 3)))


def test_starting_at_a_batch_gives_the_tail_of_the_stream(make_data: MakeData) -> None:
    stream = [batch for start in (0, 5, 10) for batch in train(at(make_data(), start))]
    for start in (1, 4, 5, 8):
        assert_same(train(at(make_data(), start)), stream[start : start + 5])


def test_a_later_stage_goes_on_with_fresh_mixtures(make_data: MakeData) -> None:
    later = make_data()
    later.first_epoch = 2
    assert_same(train(later), train(at(make_data(), 10)))
    assert_same(train(at(later, 2)), train(at(make_data(), 12)))


def test_loading_leaves_the_global_random_streams_alone(make_data: MakeData) -> None:
    torch_state, numpy_state = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    train(make_data())
    list(make_data().val_dataloader())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert numpy_state == str(np.random.get_state())  # noqa: NPY002


def test_the_mixture_is_formed_from_the_batch(make_data: MakeData) -> None:
    data = make_data()
    batch = next(iter(data.train_dataloader()))
    made = data.on_after_batch_transfer(batch, 0)
    assert isinstance(made, Mixture)
    assert all(layer.is_contiguous() and layer.dtype == torch.float32 for layer in made[:3])
    b, r = batch.photos.background.numpy() / 255, batch.photos.reflection.numpy() / 255
    alpha, beta = (batch.photos.parameters[name].numpy()[:, None, None, None] for name in ("alpha", "beta"))
    np.testing.assert_allclose(made.background, b, atol=1e-6)
    np.testing.assert_allclose(made.reflection, beta * r, atol=1e-6)
    np.testing.assert_allclose(made.mixture, np.minimum(alpha * b + beta * r, 1), atol=1e-6)


def test_validation_is_the_same_in_every_run(make_data: MakeData) -> None:
    first = list(make_data().val_dataloader())
    assert [tuple(batch.photos.background.shape) for batch in first] == [(3, 3, 40, 48)] * 2  # batches of 4 at most
    changed = make_data(
        seed=99,
        batches={"rotate": 3, "flip": False, "sizes": ["64x64"], "samples_per_epoch": 3},
        loading={"num_workers": 2, "cache": True},
    )
    again = changed.val_dataloader()
    assert_same(first, list(again))
    assert_same(first, list(again))


def test_validation_uses_held_out_photos_alone(make_data: MakeData, tmp_path: Path) -> None:
    data = make_data(validation={"mixtures": 40}, batches={"samples_per_epoch": 40})
    held_out = {role: set(folder(tmp_path / role).split(0.2)[1]) for role in "br"}
    read: list[Path] = []
    for loader, held in ((data.val_dataloader(), True), (data.train_dataloader(), False)):
        dataset: Any = loader.dataset
        read = [*dataset.background.files, *dataset.reflection.files]
        assert {file in held_out["b"] | held_out["r"] for file in read} == {held}
    assert data.summary()["background"] == {
        "source": "b",
        "training": 30 - len(held_out["b"]),
        "held_out": len(held_out["b"]),
        "left_out": 0,
    }


def test_validation_mixtures_are_shared_between_ranks(make_data: MakeData) -> None:
    whole = torch.cat([batch.photos.background for batch in make_data().val_dataloader()])
    batches = [[batch.photos.background for batch in at(make_data(), 0, rank, 2).val_dataloader()] for rank in range(2)]
    assert torch.equal(torch.cat([torch.cat(own) for own in batches]), whole)
    assert len({len(own) for own in batches}) == 1


def test_one_source_for_both_never_mixes_a_photo_with_itself(make_photos: MakePhotos, make_data: MakeData) -> None:
    same = folder(make_photos("same", 12)[0].parent)
    data = make_data(
        background=same,
        reflection=same,
        sources={"held_out": 0.4},
        batches={"rotate": 0, "flip": False, "samples_per_epoch": 60},
    )
    assert data.summary()["background"]["held_out"] > 1
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            assert (batch.photos.background != batch.photos.reflection).flatten(1).any(1).all()


def test_summary_tells_the_same_photos_from_others(make_data: MakeData, make_photos: MakePhotos) -> None:
    before = make_data().summary()["fingerprint"]
    assert make_data(seed=1).summary()["fingerprint"] == before
    make_photos("r", 1, prefix="new")
    assert make_data().summary()["fingerprint"] != before


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_photo_arrives_as_one_plain_sentence(
    make_data: MakeData, truncate: Callable[[Path], Path], tmp_path: Path, workers: int
) -> None:
    data = make_data(loading={"num_workers": workers}, batches={"samples_per_epoch": 40})
    cut = truncate(folder(tmp_path / "b").split(0.2)[0][0])
    with pytest.raises(DataError) as caught:
        train(data)
    assert type(caught.value) is DataError
    assert str(caught.value).startswith(f"{cut} cannot be read as a photo (image file is truncated")
    assert "Traceback" not in str(caught.value)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_skip_replaces_counts_and_goes_on(
    make_data: MakeData,
    truncate: Callable[[Path], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    workers: int,
) -> None:
    settings = {"samples_per_epoch": 52, "rotate": 0, "flip": False, "sizes": ["48x64"]}
    data = make_data(loading={"num_workers": workers}, sources={"on_corrupt": "skip"}, batches=settings)
    files = folder(tmp_path / "b").split(0.2)[0]
    healthy = train(make_data(batches=settings))
    cut = truncate(files[3])
    batches = train(data)
    assert len(batches) == 13
    dataset: Any = data.train_dataloader().dataset
    for batch, before in zip(batches, healthy, strict=True):
        hit = [dataset.plan(0, int(k)).background == 3 for k in batch.k]
        assert batch.skipped == [str(cut)] * sum(hit)
        assert [
            not torch.equal(a, b) for a, b in zip(batch.photos.background, before.photos.background, strict=True)
        ] == hit
        assert torch.equal(batch.photos.reflection, before.photos.reflection)
    with caplog.at_level(logging.WARNING, logger="crrn"):
        for batch in batches:
            data.on_after_batch_transfer(batch, 0)
    assert data.skipped == {str(cut)}
    assert caplog.text.count(f"{cut} cannot be read and is replaced by another photo (1 so far)") == 1


def test_skip_gives_up_where_nothing_is_left(
    make_data: MakeData, truncate: Callable[[Path], Path], tmp_path: Path
) -> None:
    data = make_data(sources={"on_corrupt": "skip"})
    for file in folder(tmp_path / "r").files:
        truncate(file)
    with pytest.raises(DataError, match=r"\d+ photos from .*\.jpg"):
        train(data)


def test_unusable_photos_are_named_before_training(
    make_data: MakeData, make_photos: MakePhotos, tmp_path: Path
) -> None:
    (tmp_path / "b" / "bad.jpg").write_bytes(b"not a photo")
    with pytest.raises(DataError, match=r"b/bad\.jpg"):
        make_data().setup()
    make_photos("r", 1, height=20, prefix="tiny")
    with pytest.raises(DataError, match=r"\(2 of 52 "):
        make_data().setup()
    (tmp_path / "b" / "bad.jpg").unlink()
    with pytest.raises(DataError, match=r"tiny000\.jpg .*20x64 .* 32"):
        make_data().setup()
    make_data(sources={"min_side": 20}).setup()


def test_unusable_photos_are_left_out_and_counted(
    make_data: MakeData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b" / "bad.jpg").write_bytes(b"not a photo")
    data = make_data(sources={"on_corrupt": "skip"})
    with caplog.at_level(logging.INFO, logger="crrn"):
        assert data.summary()["background"]["left_out"] == 1
    assert "left out:" in caplog.text
    assert "background: source b, training" in caplog.text
    assert len(train(data)) == 5


def test_sources_that_disagree_on_what_is_held_out(make_data: MakeData, tmp_path: Path) -> None:
    files = folder(tmp_path / "b").files
    one, other = (PhotoSource("s", files, frozenset([files[number]])) for number in (0, 1))
    with pytest.raises(DataError, match=r"held out"):
        make_data(background=one, reflection=other).setup()


@pytest.mark.parametrize("role", ["background", "reflection"])
def test_a_missing_folder(make_data: MakeData, tmp_path: Path, role: str) -> None:
    with pytest.raises(DataError, match=rf"absent\b.*data\.{role}"):
        make_data(**{role: str(tmp_path / "absent")})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"batches": {"sizes": ["224"]}},
            r"data\.batches\.sizes: '224'",
        ),
        ({"batches": {"sizes": ["224x288x3"]}}, r"data\.batches\.sizes: '224x288x3'"),
        ({"batches": {"sizes": ["8x100"]}}, r"data\.batches\.sizes: 8x100 is too small"),
        ({"batches": {"sizes": "224x288"}}, r"data\.batches\.sizes='224x288'"),
        ({"batches": {"sizes": []}}, r"data\.batches\.sizes=\[\]"),
        ({"validation": {"size": "big"}}, r"data\.validation\.size: 'big'"),
        ({"validation": {"mixtures": 0}}, r"data\.validation\.mixtures=0"),
        (
            {"sources": {"on_corrupt": "ignore"}},
            r"data\.sources\.on_corrupt='ignore' is unknown",
        ),
        ({"batches": {"rotate": -3}}, r"data\.batches\.rotate=-3"),
        ({"loading": {"num_workers": -1}}, r"data\.loading\.num_workers=-1"),
        ({"sources": {"held_out": 2}}, r"data\.sources\.held_out=2"),
        ({"batches": {"samples_per_epoch": 0}}, r"data\.batches\.samples_per_epoch=0"),
    ],
)
def test_wrong_settings(make_data: MakeData, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_data(**setting).train_dataloader()


def test_a_batch_that_the_ranks_cannot_share(make_data: MakeData) -> None:
    data = at(make_data(), 0, 0, 3)
    with pytest.raises(ConfigError, match=r"data\.batches\.batch_size=4"):
        data.train_dataloader()


def test_workers_by_default(make_data: MakeData, monkeypatch: pytest.MonkeyPatch) -> None:
    data = at(make_data(loading={"num_workers": None}))
    assert data.train_dataloader().num_workers == 0
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    data.trainer.strategy.root_device = torch.device("cuda")  # type: ignore[union-attr, misc]
    data.trainer.num_devices = 4  # type: ignore[union-attr, misc]
    loader = data.train_dataloader()
    assert (loader.num_workers, loader.pin_memory, loader.persistent_workers) == (3, True, True)
    data.loading = replace(data.loading, cache=True)
    assert data.train_dataloader().num_workers == 3
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])  # as on Windows
    assert data.train_dataloader().num_workers == 0


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_a_real_trainer_resumes_in_the_middle_of_an_epoch(make_data: MakeData, tmp_path: Path) -> None:
    import lightning.pytorch as L

    class Watcher(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen: list[float] = []

        def training_step(self, batch: Mixture, batch_idx: int) -> torch.Tensor:
            self.seen.append(batch.mixture.double().sum().item())
            return (self.weight * batch.mixture).mean()

        def validation_step(self, batch: Mixture, batch_idx: int) -> None:
            assert not self.training

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    class StopAt(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step == 7:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    def fit(callbacks: list[L.Callback], checkpoint: Path | None) -> list[float]:
        trainer = L.Trainer(
            max_epochs=3,
            accelerator="cpu",
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
            default_root_dir=tmp_path,
        )
        module = Watcher()
        trainer.fit(module, datamodule=make_data(), ckpt_path=checkpoint)
        return module.seen

    whole = fit([StopAt()], None)
    assert len(whole) == len(set(whole)) == 15
    assert fit([], tmp_path / "middle.ckpt") == whole[7:]


def test_iterating_twice_reuses_the_loader(make_data: MakeData) -> None:
    loader = make_data(loading={"num_workers": 1}).train_dataloader()
    assert_same(list(islice(loader, 2)), list(islice(loader, 2)))
