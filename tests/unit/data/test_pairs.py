from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.trainer import at

from crrn.data import Batches, Loading, MixtureDataModule, PairSource, RealPair, Sources, Validation
from crrn.data.batch import Batch
from crrn.data.pairs import find_pairs
from crrn.data.photos import read_photo
from crrn.data.plan import PairPlan
from crrn.data.resize import crop_window, fitted
from crrn.data.sampler import pair_rows
from crrn.data.tone import matched, reflection_above, scaled
from crrn.errors import ConfigError, DataError
from crrn.mixing import Mixture, PaperMixing

MakePhotos = Callable[..., list[Path]]
MakeData = Callable[..., MixtureDataModule]


def write_pair(root: Path, name: str, seed: int, size: tuple[int, int] = (60, 80), layer: bool = False) -> None:
    """A photo through glass, its background and perhaps its reflection, as PNG: exact."""
    rng = np.random.default_rng(seed)
    coarse = (Image.fromarray(rng.integers(0, high, (6, 8, 3), dtype=np.uint8)) for high in (180, 70))
    background, reflection = (np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)) for image in coarse)
    layers = {"blended": background + reflection, "transmission_layer": background}
    if layer:
        layers["reflection_layer"] = reflection
    for folder, picture in layers.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / folder / f"{name}.png")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    root = tmp_path / "pairs"
    for scene in range(4):
        for photo in range(1 + 2 * scene):
            write_pair(root, f"windows_{scene}_{photo}", 10 * scene + photo, layer=scene == 3)
    return root


@pytest.fixture
def make_data(make_photos: MakePhotos, tmp_path: Path, pairs: Path) -> MakeData:
    make_photos("b", 20)
    make_photos("r", 12)

    def make(**changes: Any) -> MixtureDataModule:
        blocks: dict[str, dict[str, Any]] = {
            "sources": {"held_out": 0.2, "pairs": [pairs], "pair_share": 0.5},
            "batches": {"batch_size": 4, "sizes": ["32x40", "48x56"], "samples_per_epoch": 16},
            "validation": {"mixtures": 6, "size": "40x48", "pair_scenes": ["windows_2"]},
            "loading": {"num_workers": 0},
        }
        for name, block in changes.items():
            if name in blocks:
                blocks[name] |= block
        kinds = {"sources": Sources, "batches": Batches, "validation": Validation, "loading": Loading}
        return MixtureDataModule(
            tmp_path / "b",
            tmp_path / "r",
            changes.get("mixing", PaperMixing()),
            seed=changes.get("seed", 7),
            **{name: kinds[name](**block) for name, block in blocks.items()},
        )

    return make


def formed(data: MixtureDataModule, loader: Any = None) -> list[Mixture]:
    return [data.on_after_batch_transfer(batch, 0) for batch in loader or data.train_dataloader()]


def same(first: list[Mixture], second: list[Mixture]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one[:4], other[:4], strict=True)
    )


def test_pairs_are_grouped_by_scene(pairs: Path) -> None:
    source = find_pairs([pairs])
    assert len(source.pairs) == 1 + 3 + 5 + 7
    assert source.scenes() == [f"windows_{scene}" for scene in range(4)]
    assert {pair.scene for pair in source.pairs if pair.reflection} == {"windows_3"}
    assert find_pairs([pairs], r"(windows)").scenes() == ["windows"]
    assert len(find_pairs([pairs], r"(nothing)").scenes()) == 16


def test_a_source_of_pairs_stands_beside_folders_with_scenes_of_its_own(pairs: Path, tmp_path: Path) -> None:
    write_pair(tmp_path / "more", "a", 99)
    pair = RealPair(tmp_path / "more/blended/a.png", tmp_path / "more/transmission_layer/a.png", None, "porch")
    source = find_pairs([pairs, PairSource((pair,))])
    assert len(source.pairs) == 17 and source.scenes() == ["porch", *(f"windows_{scene}" for scene in range(4))]
    assert source.pairs[0] == pair


def test_what_is_no_source_is_refused(make_data: MakeData) -> None:
    with pytest.raises(ConfigError, match=r"data\.sources\.pairs has a dict: give folders, or as _target_"):
        find_pairs([{"root": "pairs"}])
    with pytest.raises(ConfigError, match=r"data\.sources\.pairs=PairSource.* is not a list"):
        Sources(pairs=PairSource(()))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"mixing=<class .* is not a formation model"):
        make_data(mixing=PaperMixing)
    with pytest.raises(
        ConfigError, match=r"data\.background is a list: give a folder, or in data\.background\._target_"
    ):
        MixtureDataModule([], "r", PaperMixing(), seed=0)  # type: ignore[arg-type]


def test_a_formation_model_that_returns_no_mixture_is_refused(make_data: MakeData) -> None:
    class Sum(PaperMixing):
        def __call__(self, background, reflection, parameters):  # type: ignore[no-untyped-def]
            return background + reflection

    data = make_data(mixing=Sum())
    with pytest.raises(ConfigError, match=r"model Sum returns a Tensor .*: return a crrn\.mixing\.Mixture"):
        formed(data)


@pytest.mark.parametrize("names", [("blended", "transmission_layer"), ("testB", "testA1"), ("input", "gt")])
def test_trees_of_benchmarks_are_pairs_too(tmp_path: Path, names: tuple[str, str]) -> None:
    for folder in names:
        (tmp_path / "any" / folder).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "any" / folder / "1.png")
    (pair,) = find_pairs([tmp_path]).pairs
    assert (pair.mixture.parent.name, pair.background.parent.name, pair.scene) == (*names, "1")


def test_a_file_without_partner_is_named(pairs: Path) -> None:
    (pairs / "transmission_layer" / "windows_1_2.png").unlink()
    with pytest.raises(DataError, match=r"windows_1_2\.png .*data\.sources\.pairs"):
        find_pairs([pairs])


def test_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.sources\.pairs"):
        find_pairs([tmp_path / "absent"])
    with pytest.raises(DataError, match=r"data\.sources\.pairs"):
        find_pairs([tmp_path])


def test_photos_of_different_sizes(make_data: MakeData, pairs: Path) -> None:
    Image.new("RGB", (81, 60)).save(pairs / "transmission_layer" / "windows_1_2.png")
    with pytest.raises(DataError, match=r"windows_1_2\.png 60x80 and .*windows_1_2\.png 60x81"):
        make_data().setup()
    assert make_data(sources={"on_corrupt": "skip"}).summary()["pairs"]["training"] == 10


@pytest.mark.parametrize(
    ("count", "share", "held_out"), [(2, 0.2, 1), (4, 0.2, 1), (12, 0.2, 2), (50, 0.2, 10), (50, 0.05, 2), (3, 0.99, 2)]
)
def test_a_share_of_the_scenes_is_held_out_however_few_there_are(count: int, share: float, held_out: int) -> None:
    for word in "abcdef":  # a scene's name decides which; not how many
        names = [f"{word}_{number}" for number in range(count)]
        pairs = tuple(RealPair(Path(name), Path(name), None, name) for name in names for _ in range(3))
        training, kept = PairSource(pairs).split(share)
        assert len(kept.scenes()) == held_out
        assert sorted(training.scenes() + kept.scenes()) == sorted(names)
        assert PairSource(pairs[::-1]).split(share)[1].scenes() == kept.scenes()


def test_scenes_are_held_out_as_wholes(make_data: MakeData) -> None:
    counts = make_data().summary()["pairs"]
    assert counts == {"training": 11, "training scenes": 3, "held out": 5, "held-out scenes": 1}
    counts = make_data(validation={"pair_scenes": ["windows_2", "windows_3"], "pairs_per_scene": 2}).summary()["pairs"]
    assert (counts["training"], counts["held out"]) == (4, 4)
    by_hash = make_data(validation={"pair_scenes": None}).summary()["pairs"]
    assert by_hash["training scenes"] + by_hash["held-out scenes"] == 4 and by_hash["held-out scenes"] >= 1
    for wrong in (["absent"], [f"windows_{scene}" for scene in range(4)]):
        with pytest.raises(ConfigError, match=r"data\.validation\.pair_scenes"):
            make_data(validation={"pair_scenes": wrong}).setup()


@pytest.mark.parametrize(("share", "pairs"), [(0, 0), (0.4, 6), (0.5, 8), (1, 16), (0.03, 0), (0.04, 1)])
def test_a_fixed_number_of_pairs_in_every_batch_spread_over_the_ranks(share: float, pairs: int) -> None:
    rows = pair_rows(share, 16)
    assert len(rows) == 16 and sum(rows) == pairs
    halves = [sum(rows[:8]), sum(rows[8:])]
    assert abs(halves[0] - halves[1]) <= 1


def test_every_batch_has_its_pairs(make_data: MakeData) -> None:
    batches = list(make_data().train_dataloader())
    assert [len(batch.pairs.mixture) for batch in batches] == [2] * 4
    assert [len(batch.photos.background) for batch in batches] == [2] * 4
    assert torch.cat([batch.k for batch in batches]).tolist() == list(range(16))


def test_the_share_changes_over_the_stage(make_data: MakeData) -> None:
    data = make_data(sources={"pair_share": {0: 0, 0.5: 0.25, 0.75: 1}})
    data.first_epoch, data.epochs = 3, 2
    counts = []
    for start in (0, 4):
        for batch in at(data, start).train_dataloader():
            counts.append(0 if batch.pairs is None else len(batch.pairs.mixture))
    assert counts == [0, 0, 0, 0, 1, 1, 4, 4]


def test_a_pair_of_no_sample_is_refused(make_data: MakeData) -> None:
    with pytest.raises(ConfigError, match=r"data\.sources\.pair_share=0\.1"):
        make_data(sources={"pair_share": 0.1})


def test_both_photos_of_a_pair_get_the_same_geometry(make_data: MakeData) -> None:
    """In these pairs the photo minus the background is small and never negative: so it stays when both are moved."""
    for scale in (None, [0.5, 1]):
        data = make_data(sources={"pair_share": 1}, batches={"scale": scale, "samples_per_epoch": 40})
        for mixture in formed(data):
            difference = mixture.mixture - mixture.background
            assert difference.min() > -0.02 and difference.max() < 0.3
            known = mixture.reflection_known
            assert known is not None
            assert (mixture.reflection[~known] == 0).all()
            if known.any():
                assert (mixture.reflection[known] - difference[known]).abs().mean() < 0.01


def test_pairs_are_drawn_by_scene_then_by_photo() -> None:
    scenes = ["a"] * 90 + ["b"] * 9 + ["c"]
    for by_scene, expected in ((True, (1 / 3, 1 / 3, 1 / 3)), (False, (0.9, 0.09, 0.01))):
        plan = PairPlan(1, scenes, by_scene)
        drawn = [scenes[plan(0, k).pair] for k in range(6000)]
        for scene, share in zip("abc", expected, strict=True):
            assert drawn.count(scene) / 6000 == pytest.approx(share, abs=0.025)  # four standard deviations
        assert [plan(0, k).pair for k in range(50)] != [plan(1, k).pair for k in range(50)]


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_the_cache_ranks_and_resuming_change_no_pair(make_data: MakeData, cache: bool) -> None:
    changes: dict[str, Any] = {"batches": {"scale": [0.5, 1]}, "sources": {"pair_jitter": 0.1, "pair_tone": "match"}}
    whole = [mixture for start in (0, 4) for mixture in formed(at(make_data(**changes), start))]
    other = make_data(**changes, loading={"num_workers": 2, "cache": cache})
    assert same([mixture for start in (0, 4) for mixture in formed(at(other, start))], whole)
    assert same(formed(at(make_data(**changes), 3)), whole[3:7])
    ranks = [formed(at(make_data(**changes), 0, rank, 2)) for rank in range(2)]
    joined = [
        Mixture(*(torch.cat(fields) for fields in zip(*(part[:4] for part in parts), strict=True)))
        for parts in zip(*ranks, strict=True)
    ]
    assert same(joined, whole[:4])


def test_validation_gives_both_sets(make_data: MakeData) -> None:
    data = make_data(validation={"mixing": PaperMixing((1, 1), (0, 0))})
    mixtures, pairs = data.val_dataloader()
    assert sum(len(batch.k) for batch in mixtures) == 6
    rows: list[Batch] = list(pairs)
    assert sum(len(batch.pairs.mixture) for batch in rows) == 5 and all(batch.photos is None for batch in rows)
    expected = find_pairs(data.sources.pairs).only(["windows_2"]).pairs
    shown = torch.cat([batch.pairs.mixture for batch in rows])
    for picture, pair in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(picture.permute(1, 2, 0), read_photo(pair.mixture, (40, 48)))
    at(data).trainer.training = False  # type: ignore[union-attr]
    for mixture in formed(data, mixtures):  # the validation's own model adds no reflection
        assert torch.equal(mixture.mixture, mixture.background)


def test_a_torn_pair_is_named_or_replaced(make_data: MakeData, pairs: Path, truncate: Callable[[Path], Path]) -> None:
    data = make_data(sources={"pair_share": 1})
    data.setup()
    cut = truncate(pairs / "blended" / "windows_0_0.png")
    with pytest.raises(DataError, match=str(cut)):
        list(data.train_dataloader())
    data = make_data(sources={"pair_share": 1, "on_corrupt": "skip"})
    assert {file for batch in data.train_dataloader() for file in batch.skipped} == {str(cut)}


@pytest.mark.parametrize(("full", "size"), [((60, 80), (32, 40)), ((80, 60), (32, 40)), ((33, 400), (32, 32))])
def test_a_crop_has_the_aspect_of_its_batch_and_lies_inside(full: tuple[int, int], size: tuple[int, int]) -> None:
    for scale in (0.3, 0.7, 1.0):
        for position in ((0, 0), (0.4, 0.9), (1, 1)):
            rows, columns = crop_window(full, size, scale, position)
            assert 0 <= rows.start < rows.stop <= full[0] and 0 <= columns.start < columns.stop <= full[1]
            height, width = rows.stop - rows.start, columns.stop - columns.start
            assert height / width == pytest.approx(size[0] / size[1], rel=0.1)
            largest = min(full[0] / size[0], full[1] / size[1])
            assert height == pytest.approx(scale * largest * size[0], abs=0.51)


def test_a_photo_that_keeps_its_aspect_covers_the_size() -> None:
    assert fitted((400, 300), (100, 100)) == (133, 100)
    assert fitted((400, 300), (500, 100)) == (400, 300)


def test_matched_tone_undoes_a_change_of_exposure() -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(20, 160, (64, 64, 3), dtype=np.uint8)
    gains = np.array([1.3, 1.0, 0.7], np.float32)
    brighter = scaled(scene, gains)
    expected = 255 * np.clip((scene / 255) ** 2.2 * gains, 0, 1) ** (1 / 2.2)
    assert np.abs(brighter - expected).max() <= 0.51
    assert np.abs(matched(scene, brighter).astype(int) - brighter).mean() < 1
    glare = brighter.copy()
    glare[:32] = np.clip(glare[:32].astype(int) + 60, 0, 255)  # a reflection over half of the photo moves it little
    assert np.abs(matched(scene, glare).astype(int) - brighter).mean() < 3


def test_the_reflection_above_a_background_is_their_difference_in_linear_light() -> None:
    rng = np.random.default_rng(1)
    background = rng.integers(0, 200, (8, 8, 3), dtype=np.uint8)
    mixture = (background + rng.integers(0, 50, (8, 8, 3))).astype(np.uint8)
    light = (mixture / 255) ** 2.2 - (background / 255) ** 2.2
    assert np.abs(reflection_above(mixture, background) - 255 * light ** (1 / 2.2)).max() <= 0.51
    assert (reflection_above(background, mixture) == 0).all()


class Taking(PaperMixing):
    """Takes the reflections of pairs."""

    needs_pairs = True

    def uses_pair(self, parameters: Any) -> bool:
        return True


def test_a_model_that_takes_the_reflections_of_pairs(make_data: MakeData) -> None:
    batches = {"rotate": 0, "flip": False, "sizes": ["48x56"]}
    data = make_data(mixing=Taking((1, 1), (1, 1)), sources={"pair_share": 0}, batches=batches)
    training, _ = find_pairs(data.sources.pairs).split(0.2, ["windows_2"])
    layers = [
        reflection_above(*(read_photo(file, (48, 56)) for file in (pair.mixture, pair.background)))
        if pair.reflection is None
        else read_photo(pair.reflection, (48, 56))
        for pair in training.pairs
    ]
    for batch in data.train_dataloader():
        for photo in batch.photos.reflection.permute(0, 2, 3, 1).numpy():
            assert any(np.array_equal(photo, layer) for layer in layers)
    with pytest.raises(ConfigError, match=r"data\.sources\.pairs"):
        make_data(mixing=Taking(), sources={"pairs": []})


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"pair_share": 1.5}, "pair_share"),
        ({"pair_share": {0.5: 0.2}}, "pair_share"),
        ({"pair_sampling": "any"}, "pair_sampling"),
        ({"pair_tone": "any"}, "pair_tone"),
        ({"pair_jitter": 1}, "pair_jitter"),
        ({"scene_pattern": "["}, "scene_pattern"),
        ({"scene_pattern": "scene"}, "scene_pattern"),
        ({"pairs": "folder"}, "pairs"),
    ],
)
def test_wrong_settings(setting: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.sources\.{name}"):
        Sources(**setting)


@pytest.mark.parametrize("scale", [[0.5], [1, 0.5], [0, 1], [0.5, 2]])
def test_wrong_scales(scale: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"data\.batches\.scale"):
        Batches(scale=scale)
