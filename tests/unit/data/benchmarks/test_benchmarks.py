"""Each benchmark's tree, made small, becomes the cases that its release describes; what is wrong with it is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crrn.data import benchmarks
from crrn.data.benchmarks import Benchmark, inspect, refuse_problems
from crrn.data.benchmarks.berkeley import REAL20
from crrn.errors import DataError


def write(path: Path, value: int = 0, height: int = 12, width: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)


def kinds(benchmark: Benchmark) -> dict[str, int]:
    return dict(Counter(problem.kind for problem in inspect(benchmark).problems))


def raw_sir2(root: Path) -> None:
    for role in "mgr":
        for kind, number in (("Focus", 11), ("Focus", 32), ("Thickness", 3)):
            for k in (1, 2):
                folder = root / "Postcard Dataset/Postcard Dataset" / kind / "12" / str(number)
                write(folder / f"12-{k}-{role}-{number}.png", k * 7 + number)
        for kind, number in (("Focus", 22), ("Thickness", 10)):
            write(root / f"SolidObjectDataset/SolidObjectDataset/4/{kind}/{number}/{role}.jpg", number)
        for scene in ("7", "8s"):
            write(root / f"Wildscene/Wildscene/{scene}/{role}.jpg", len(scene))


def test_raw_sir2_has_its_subsets_apertures_and_thicknesses(tmp_path: Path) -> None:
    raw_sir2(tmp_path)
    found = benchmarks.sir2(tmp_path)
    assert found.counts() == {"postcard": 6, "solidobject": 2, "wildscene": 2}
    assert all(case.background and case.reflection for case in found.cases)
    assert len({case.name for case in found.cases}) == 10
    categories = Counter(tuple(case.categories.items()) for case in found.cases)
    assert categories == {
        (("aperture", "11"),): 2,
        (("aperture", "32"),): 2,
        (("thickness", "3"),): 2,
        (("aperture", "22"),): 1,
        (("thickness", "10"),): 1,
        (): 2,
    }
    scenes = Counter(case.scene for case in found.cases)
    assert scenes == {"postcard/12": 6, "solidobject/4": 2, "": 2} and found.scenes() == 4
    for case in found.cases:  # the three layers are of one scene and one setting
        assert case.background is not None and case.mixture.parent == case.background.parent
        assert case.mixture.stem.replace("m", "g") == case.background.stem
    assert kinds(found) == {"count": 3}  # 199, 200 and 55, 100 or 101 are published
    assert benchmarks.sir2(tmp_path, subsets=["wildscene"]).counts() == {"wildscene": 2}


def test_sir2_repacked_matches_equal_and_role_names(tmp_path: Path) -> None:
    for n in range(3):
        for folder in ("blended", "transmission_layer"):
            write(tmp_path / "equal/SIR2/WildSceneDataset/withgt" / folder / f"{n}.png", n)
        for folder, role in (("blended", "m"), ("transmission_layer", "g"), ("reflection_layer", "r")):
            write(tmp_path / "roles/PostcardDataset" / folder / f"12-{n}-{role}-11.png", n)
    equal, roles = benchmarks.sir2(tmp_path / "equal"), benchmarks.sir2(tmp_path / "roles")
    assert equal.counts() == {"wildscene": 3} and all(case.reflection is None for case in equal.cases)
    assert roles.counts() == {"postcard": 3} and all(case.reflection for case in roles.cases)


def test_sir2_with_its_published_counts_has_no_problem(tmp_path: Path) -> None:
    for subset, count in (("SolidObjectDataset", 200), ("PostcardDataset", 199), ("WildSceneDataset", 55)):
        for n in range(count):
            for folder in ("blended", "transmission_layer"):
                write(tmp_path / subset / folder / f"{n}.bmp", n % 250, 4, 4)
    found = inspect(benchmarks.sir2(tmp_path))
    assert len(found.cases) == 454 and not found.problems


def test_real20_takes_the_test_pairs_of_all_109(tmp_path: Path) -> None:
    for n in range(1, 111):
        for folder in ("blended", "transmission_layer"):
            write(tmp_path / "real" / folder / f"{n}.jpg", n)
    found = inspect(benchmarks.real20(tmp_path))
    assert {case.name for case in found.cases} == REAL20 and len(REAL20) == 20
    assert not found.problems


def test_nature20_pairs_testb_with_testa1(tmp_path: Path) -> None:
    for n in range(20):
        for folder in ("testA1", "testB"):
            write(tmp_path / folder / f"{n}.png", n)
    found = inspect(benchmarks.nature20(tmp_path))
    assert len(found.cases) == 20 and not found.problems
    assert found.cases[3].mixture == (tmp_path / "testB/3.png").resolve()
    assert found.cases[3].background == (tmp_path / "testA1/3.png").resolve()


def test_ceilnet_has_its_layers(tmp_path: Path) -> None:
    for n in range(23):
        for role in ("input", "label1", "label2"):
            write(tmp_path / "synthetic" / f"smooth-{n}-{role}.png", n)
    for n in range(45):
        write(tmp_path / "real" / f"{n}-input.jpg", n)
    synthetic = inspect(benchmarks.ceilnet_synthetic(tmp_path / "synthetic"))
    assert synthetic.counts() == {"synthetic": 23} and not synthetic.problems
    assert [case.name for case in synthetic.cases][9:11] == ["smooth-9", "smooth-10"]
    layers = synthetic.cases[0].files()
    assert {role: path.name for role, path in layers.items()} == {
        "mixture": "smooth-0-input.png",
        "background": "smooth-0-label1.png",
        "reflection": "smooth-0-label2.png",
    }
    real = inspect(benchmarks.ceilnet_real(tmp_path / "real"))
    assert real.counts() == {"real": 45} and real.cases[0].background is None and not real.problems


def test_cdr_reads_its_annotation(tmp_path: Path) -> None:
    for name in ("C1/5532", "C1/5533"):
        for role in "MTR":
            write(tmp_path / f"{name}_{role}.png", ord(role))
    rows = ["name,type,reflection,ghost,motion,split", "C1/5532,BRSR,strong,0,0,2", "C1/5533,SRST,weak,1,0,0"]
    (tmp_path / "annotation.csv").write_text("\n".join(rows))
    everything, test = benchmarks.cdr(tmp_path), benchmarks.cdr(tmp_path, split="test")
    assert [case.categories["type"] for case in everything.cases] == ["BRSR", "SRST"]
    assert [case.name for case in test.cases] == ["C1/5532"] and test.cases[0].reflection is not None


def test_openrr_and_rrw(tmp_path: Path) -> None:
    for n in range(3):
        for folder in ("val_3_blended", "val_3_transmission", "test_3_blended"):
            write(tmp_path / "openrr" / folder / f"{n}.jpg", n)
        for folder in ("blended", "transmission_layer"):
            write(tmp_path / "rrw" / "part1" / folder / f"{n}.jpg", n)
    assert kinds(benchmarks.openrr(tmp_path / "openrr", split="val_3")) == {}
    assert benchmarks.openrr(tmp_path / "openrr", split="test_3").cases[0].background is None
    assert len(benchmarks.rrw(tmp_path / "rrw").cases) == 3
    with pytest.raises(DataError, match="val_300_blended"):
        benchmarks.openrr(tmp_path / "openrr")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three pairs."""
    for n in range(3):
        for folder in ("blended", "transmission_layer"):
            write(tmp_path / folder / f"{n}.png", n)
    return tmp_path


def without_partner(root: Path) -> None:
    (root / "transmission_layer/1.png").unlink()


def of_two_sizes(root: Path) -> None:
    write(root / "transmission_layer/1.png", height=12, width=17)


def torn(root: Path) -> None:
    (root / "blended/1.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")


def twice(root: Path) -> None:
    write(root / "blended/1.jpg")


@pytest.mark.parametrize(
    ("harm", "kind"),
    [(without_partner, "unmatched"), (of_two_sizes, "size"), (torn, "unreadable"), (twice, "ambiguous")],
)
def test_a_spoilt_pair_is_named_counted_and_left_out(pairs: Path, harm: Callable[[Path], None], kind: str) -> None:
    harm(pairs)
    found = inspect(benchmarks.paired_folder(pairs))
    assert [(problem.kind, problem.where) for problem in found.problems] == [(kind, "1")]
    assert [case.name for case in found.cases] == ["0", "2"]
    with pytest.raises(DataError, match=f"1 x {kind}; the first: 1: .*strict=false"):
        refuse_problems(found)


def test_a_paired_folder_of_unexpected_count_or_without_masks(pairs: Path, tmp_path: Path) -> None:
    assert kinds(benchmarks.paired_folder(pairs, count=4)) == {"count": 1}
    assert kinds(benchmarks.paired_folder(pairs, count=3)) == {}
    write(tmp_path / "masks/0.png")
    found = benchmarks.paired_folder(pairs, masks=tmp_path / "masks")
    assert found.cases[0].mask == tmp_path / "masks/0.png" and kinds(found) == {"mask": 2}


@pytest.mark.parametrize("adapter", ["sir2", "real20", "nature20", "ceilnet_synthetic", "cdr", "rrw", "paired_folder"])
def test_a_place_with_nothing_in_it_is_refused(adapter: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        getattr(benchmarks, adapter)(tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path}/missing"):
        getattr(benchmarks, adapter)(tmp_path / "missing")


def test_the_fingerprint_follows_the_images_not_their_place(pairs: Path, tmp_path: Path) -> None:
    before = inspect(benchmarks.paired_folder(pairs)).fingerprint
    moved = pairs / "elsewhere"
    for folder in ("blended", "transmission_layer"):
        (moved / folder).parent.mkdir(exist_ok=True)
        (pairs / folder).rename(moved / folder)
    assert inspect(benchmarks.paired_folder(moved)).fingerprint == before
    write(moved / "blended/2.png", 9)
    assert inspect(benchmarks.paired_folder(moved)).fingerprint != before
