"""Trees as users have them: with folders around them, converted, in part, with masks; each gives the same cases."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crrn.data import benchmarks
from crrn.data.benchmarks import Benchmark, inspect
from crrn.errors import DataError


def write(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), value % 256, np.uint8)).save(path)


def layers(root: Path, *names: str, folders: tuple[str, ...] = ("blended", "transmission_layer")) -> None:
    for n, name in enumerate(names):
        for folder in folders:
            write(root / folder / name, n)


def problems(benchmark: Benchmark) -> list[tuple[str, str]]:
    return [(problem.kind, problem.where) for problem in inspect(benchmark).problems]


def raw_sir2(root: Path) -> None:
    for role in "mgr":
        write(root / f"Postcard Dataset/Postcard Dataset/Focus/12/11/12-1-{role}-11.png", 1)
        write(root / f"SolidObjectDataset/SolidObjectDataset/4/Thickness/10/{role}.jpg", 2)
        write(root / f"Wildscene/Wildscene/8s/{role}.jpg", 3)


def equal_names(root: Path) -> None:
    for subset in ("PostcardDataset", "SolidObjectDataset", "WildSceneDataset"):
        layers(root / subset, "1.png", "2.png")


def openrr(root: Path) -> None:
    layers(root, "1.jpg", folders=("val_1_blended", "val_1_transmission"))


def openrr_split(root: Path) -> None:
    layers(root / "val_1", "1.jpg")


def ceilnet(root: Path) -> None:
    for role in ("input", "label1", "label2"):
        write(root / f"smooth-1-{role}.png")


def cdr(root: Path) -> None:
    for role in "MTR":
        write(root / f"C1/7_{role}_0.png")


@pytest.mark.parametrize(
    ("make", "adapter"),
    [
        (raw_sir2, benchmarks.sir2),
        (equal_names, benchmarks.sir2),
        (openrr, lambda root: benchmarks.openrr(root, "val_1")),
        (openrr_split, lambda root: benchmarks.openrr(root, "val_1")),
        (ceilnet, benchmarks.ceilnet_synthetic),
        (cdr, benchmarks.cdr),
        (lambda root: layers(root / "part", "1.jpg"), benchmarks.rrw),
        (lambda root: layers(root, "1.jpg"), benchmarks.rrw),
        (lambda root: layers(root, "1.jpg", folders=("testB", "testA1")), benchmarks.nature20),
        (lambda root: layers(root / "test", "3.jpg", "110.jpg"), benchmarks.real20),
        (lambda root: layers(root, "a/1.jpg"), lambda root: benchmarks.paired_folder(root, name="mine")),
    ],
    ids=["raw", "repacked", "openrr", "split", "ceilnet", "cdr", "rrw parts", "rrw", "nature20", "real20", "folder"],
)
def test_folders_around_a_tree_change_nothing(
    make: Callable[[Path], None], adapter: Callable[[Path], Benchmark], tmp_path: Path
) -> None:
    make(tmp_path / "bare")
    make(tmp_path / "wrapped/download/release")
    (tmp_path / "wrapped/.cache").mkdir()
    bare, wrapped = inspect(adapter(tmp_path / "bare")), inspect(adapter(tmp_path / "wrapped"))
    assert [case.name for case in bare.cases] == [case.name for case in wrapped.cases] != []
    assert [case.categories for case in bare.cases] == [case.categories for case in wrapped.cases]
    assert bare.fingerprint == wrapped.fingerprint


def test_a_set_of_sir2_alone_has_the_names_that_it_has_among_the_others(tmp_path: Path) -> None:
    raw_sir2(tmp_path)
    together = {case.name for case in benchmarks.sir2(tmp_path).cases}
    assert together == {"postcard/Focus/12/11/12-1-11", "solidobject/4/Thickness/10", "wildscene/8s"}
    for folder in ("Postcard Dataset", "SolidObjectDataset", "Wildscene"):
        alone = benchmarks.sir2(tmp_path / folder)
        assert {case.name for case in alone.cases} < together
        assert list(alone.published) == [alone.cases[0].subset]


def test_a_subset_that_is_missing_is_named(tmp_path: Path) -> None:
    raw_sir2(tmp_path)
    shutil.rmtree(tmp_path / "Wildscene")
    assert problems(benchmarks.sir2(tmp_path)) == [
        (("count"), name) for name in ("postcard", "solidobject", "wildscene")
    ]
    some = inspect(benchmarks.sir2(tmp_path, subsets=["postcard", "wildscene"]))
    assert [str(problem) for problem in some.problems] == [
        "postcard: 1 images where 199 are published",
        "wildscene: 0 images where 55 or 100 or 101 are published",
    ]
    with pytest.raises(DataError, match="no subset 'wild'"):
        benchmarks.sir2(tmp_path, subsets=["wild"])


def test_repacked_names_tell_apertures_and_thicknesses(tmp_path: Path) -> None:
    for folder, role in (("blended", "m"), ("transmission_layer", "g")):
        for number in ("11", "32", "3", "99"):
            write(tmp_path / f"PostcardDataset/{folder}/12-1-{role}-{number}.png")
        write(tmp_path / f"PostcardDataset/{folder}/11.png")
    cases = benchmarks.sir2(tmp_path).cases
    assert {case.name: case.scene for case in cases if case.scene} == {
        f"postcard/12-1-{number}": "postcard/12" for number in ("3", "11", "32", "99")
    }
    found = {case.name: dict(case.categories) for case in cases}
    assert found == {
        "postcard/11": {},
        "postcard/12-1-3": {"thickness": "3"},
        "postcard/12-1-11": {"aperture": "11"},
        "postcard/12-1-32": {"aperture": "32"},
        "postcard/12-1-99": {},
    }


def test_two_folders_of_one_set_keep_their_names_apart_and_other_sets_stay_out(tmp_path: Path) -> None:
    layers(tmp_path / "PostcardDataset/Focus", "1.png")
    layers(tmp_path / "PostcardDataset/Thickness", "1.png")
    layers(tmp_path / "real20", "3.png")
    assert [case.name for case in benchmarks.sir2(tmp_path).cases] == ["postcard/Focus/1", "postcard/Thickness/1"]


def test_ceilnet_as_released_keeps_its_two_sets_apart(tmp_path: Path) -> None:
    ceilnet(tmp_path / "testdata_reflection_synthetic_table2")
    write(tmp_path / "testdata_reflection_real/9-input.jpg")
    assert [case.name for case in benchmarks.ceilnet_synthetic(tmp_path).cases] == ["smooth-1"]
    assert [case.name for case in benchmarks.ceilnet_real(tmp_path).cases] == ["9"]
    ceilnet(tmp_path / "another")
    with pytest.raises(DataError, match="another"):
        benchmarks.ceilnet_synthetic(tmp_path)


def test_cdr_converted_and_by_split(tmp_path: Path) -> None:
    for name in ("C1_7_0", "C1_8_0"):
        for folder in "MTR":
            write(tmp_path / folder / f"{name.rpartition('_')[0]}_{folder}_0.png")
    assert [case.name for case in benchmarks.cdr(tmp_path).cases] == ["C1_7-_0", "C1_8-_0"]
    with pytest.raises(DataError, match=r"needs annotation\.csv"):
        benchmarks.cdr(tmp_path, split="val")
    (tmp_path / "annotation.csv").write_text(
        "name,type,reflection,ghost,motion,split\nC1/7,BRSR,weak,1,0,0\nC1/8,,,,,1\n"
    )
    (case,) = benchmarks.cdr(tmp_path, split="val").cases
    assert case.name == "C1_8-_0" and case.reflection is not None
    everything = benchmarks.cdr(tmp_path)
    assert everything.cases[0].categories == {
        "type": "BRSR",
        "reflection": "weak",
        "ghost": "1",
        "motion": "0",
        "split": "train",
    }
    assert problems(everything) == [("count", "cdr")]  # 1,063 are published


@pytest.mark.parametrize("rest", ["", "_0", "-0", "_5531_0"])
def test_cdr_names_may_go_on_behind_the_role(rest: str, tmp_path: Path) -> None:
    for role in "MTR":
        write(tmp_path / f"C1/5532_{role}{rest}.png")
    (tmp_path / "annotation.csv").write_text("name,type,reflection,ghost,motion,split\nC1/5532,SRST,strong,0,0,2\n")
    (case,) = benchmarks.cdr(tmp_path, split="test").cases
    assert case.categories["type"] == "SRST" and case.background is not None and case.reflection is not None


def test_openrr_as_a_training_split_and_without_ground_truth(tmp_path: Path) -> None:
    layers(tmp_path / "train_2", "1.jpg", "2.jpg", folders=("blended", "transmission_layer", "reflection_layer"))
    write(tmp_path / "test_1_blended/1.jpg")
    training = benchmarks.openrr(tmp_path, split="train_2")
    assert problems(training) == [] and all(case.reflection for case in training.cases)
    assert benchmarks.openrr(tmp_path, split="test_1").cases[0].background is None


def test_real20_prefers_the_test_folder_and_names_what_it_lacks(tmp_path: Path) -> None:
    layers(tmp_path / "train", *(f"{n}.jpg" for n in range(1, 111)))
    layers(tmp_path / "test", "3.jpg", "4.jpg")
    found = benchmarks.real20(tmp_path)
    assert [case.name for case in found.cases] == ["3", "4"] and "test" in str(found.cases[0].mixture)
    assert [str(problem) for problem in inspect(found).problems] == ["real20: 2 images where 20 are published"]
    layers(tmp_path / "other test", "3.jpg")
    with pytest.raises(DataError, match=r"found .*other test, .*test; set benchmark\.real20\.root"):
        benchmarks.real20(tmp_path)


def test_masks_belong_to_cases_and_all_others_are_named(tmp_path: Path) -> None:
    raw_sir2(tmp_path / "SIR2")
    for name in (
        "wildscene/8s.png",
        "postcard/Focus/12/11/12-1-11.jpg",
        "postcard/Focus/12/11/12-1-11.png",
        "wildscene/9.png",
    ):
        write(tmp_path / "masks" / name, 255)
    found = inspect(benchmarks.sir2(tmp_path / "SIR2", masks=tmp_path / "masks"))
    assert {case.name: case.mask for case in found.cases}["wildscene/8s"] == tmp_path / "masks/wildscene/8s.png"
    assert sorted((p.where, p.what.split()[-1]) for p in found.problems if p.kind == "mask") == [
        ("postcard/Focus/12/11/12-1-11", "mask"),
        ("solidobject/4/Thickness/10", f"{tmp_path}/masks/solidobject/4/Thickness/10.*"),
        ("wildscene/9", "case"),
    ]


def test_a_reflection_without_its_pair_and_a_name_given_twice_are_named(tmp_path: Path) -> None:
    layers(tmp_path, "1.png", "2.png")
    write(tmp_path / "reflection_layer/3.png")
    assert problems(benchmarks.paired_folder(tmp_path)) == [("unmatched", "3")]
    for part in ("a", "b"):  # two parts of CDR with one and the same scene
        for role in "MTR":
            write(tmp_path / f"cdr/{part}/C1/7_{role}_0.png")
            write(tmp_path / f"cdr/{part}/C1/{part}_{role}_0.png")
    found = benchmarks.cdr(tmp_path / "cdr")
    assert Counter(problem.kind for problem in found.problems) == {"ambiguous": 1}
    assert [case.name for case in found.cases] == ["C1/a-_0", "C1/b-_0"]


def test_two_cases_of_one_name_are_a_problem_and_no_case() -> None:
    from crrn.data.benchmarks.case import Case, make_benchmark

    cases = [Case("1", "a", Path("a/1.png")), Case("1", "b", Path("b/1.png")), Case("2", "a", Path("a/2.png"))]
    found = make_benchmark("mine", cases)
    assert [case.name for case in found.cases] == ["2"]
    assert [(problem.kind, problem.where) for problem in found.problems] == [("ambiguous", "1")] * 2
