import logging
from pathlib import Path

import pytest

from crrn.data import PhotoSource, coco, folder, rid, voc2012
from crrn.data.settings import Sources
from crrn.data.sources import fingerprint
from crrn.errors import ConfigError, DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(source: PhotoSource) -> list[str]:
    return [file.name for file in source.files]


def many(count: int) -> PhotoSource:
    return PhotoSource("many", tuple(Path(f"/photos/{number:04d}.jpg") for number in range(count)))


def test_folder_lists_photos_of_all_depths_sorted_without_hidden_and_other_files(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "sub/c.webp", "notes.txt", "._a.png", "d.jpeg")
    assert names(folder(tmp_path)) == ["a.png", "b.JPG", "d.jpeg", "c.webp"]


def test_missing_folder_says_where_and_which_setting(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\b.*data\.background .*data\.reflection"):
        folder(tmp_path / "absent")


def test_empty_folder_says_what_it_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"\.jpg, .*data\.background"):
        folder(tmp_path)


def test_voc_takes_all_jpeg_images(tmp_path: Path) -> None:
    touch(tmp_path, "VOCdevkit/VOC2012/JPEGImages/2.jpg", "VOCdevkit/VOC2012/JPEGImages/1.jpg")
    source = voc2012(tmp_path)
    assert (source.name, names(source)) == ("VOC2012", ["1.jpg", "2.jpg"])


def test_voc_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"JPEGImages\b.*data\.background\.download=true"):
        voc2012(tmp_path)


def test_voc_downloads_through_torchvision_only_when_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    def download(root: str, year: str, image_set: str, download: bool) -> None:
        calls.append((root, year, image_set, download))
        touch(Path(root), "VOCdevkit/VOC2012/JPEGImages/1.jpg")

    monkeypatch.setattr("torchvision.datasets.VOCDetection", download)
    root = tmp_path / "new"
    assert names(voc2012(root, download=True)) == ["1.jpg"]
    voc2012(root, download=True)
    assert calls == [(str(root), "2012", "trainval", True)]


def test_voc_download_failure_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.VOCDetection", fail)
    with pytest.raises(DataError, match=r"no route to host"):
        voc2012(tmp_path, download=True)


def test_coco_takes_train_and_val_of_one_year(tmp_path: Path) -> None:
    touch(tmp_path, "train2014/a.jpg", "val2014/b.jpg")
    assert (coco(tmp_path).name, names(coco(tmp_path))) == ("COCO2014", ["a.jpg", "b.jpg"])
    touch(tmp_path, "train2017/c.jpg")
    assert (coco(tmp_path).name, names(coco(tmp_path))) == ("COCO2017", ["c.jpg"])


def test_coco_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\{train,val\}\{2014,2017\}.*data\.background\.root"):
        coco(tmp_path)


def test_rid_warns_of_another_number_of_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "bright/1.jpg", "dark/deep/2.jpg")
    with caplog.at_level(logging.WARNING, logger="crrn"):
        assert names(rid(tmp_path)) == ["1.jpg", "2.jpg"]
    assert "RID has 3,250 photos, 2 below" in caplog.text


def test_rid_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"RID .*data\.reflection\.root"):
        rid(tmp_path / "absent")


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.5])
def test_split_is_disjoint_complete_and_of_about_the_asked_share(fraction: float) -> None:
    source = many(4000)
    training, held_out = source.split(fraction)
    assert not set(training) & set(held_out)
    assert sorted(training + held_out) == list(source.files)
    assert len(held_out) / 4000 == pytest.approx(fraction, rel=0.35)


def test_split_is_stable_when_files_come_go_or_move() -> None:
    training, held_out = many(500).split(0.05)
    more_training, more_held_out = many(700).split(0.05)
    assert set(training) <= set(more_training)
    assert set(held_out) <= set(more_held_out)
    moved = PhotoSource("moved", tuple(Path("/elsewhere", file.name) for file in many(500).files))
    assert [file.name for file in moved.split(0.05)[1]] == [file.name for file in held_out]


@pytest.mark.parametrize("fraction", [0.0001, 0.9999])
def test_split_leaves_a_photo_on_each_side(fraction: float) -> None:
    training, held_out = many(2).split(fraction)
    assert (len(training), len(held_out)) == (1, 1)


def test_split_keeps_a_fixed_held_out_set() -> None:
    files = many(10).files
    training, held_out = PhotoSource("fixed", files, frozenset(files[3:5])).split(0.5)
    assert held_out == list(files[3:5])
    assert training == [*files[:3], *files[5:]]


def test_split_of_too_few_photos() -> None:
    with pytest.raises(DataError, match=r"many\b.* 1 "):
        many(1).split(0.5)
    with pytest.raises(DataError, match="hold out"):
        PhotoSource("fixed", many(3).files, frozenset()).split(0.5)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 5])
def test_a_wrong_share(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.sources\.held_out="):
        Sources(held_out=fraction)


def test_fingerprint_tells_names_and_sizes_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    first = fingerprint([tmp_path / "a.jpg"])
    assert first == fingerprint([tmp_path / "a.jpg"])
    assert first != fingerprint([tmp_path / "b.jpg"])
    (tmp_path / "a.jpg").write_bytes(b"1")
    assert first != fingerprint([tmp_path / "a.jpg"])
