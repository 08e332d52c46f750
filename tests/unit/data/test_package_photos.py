"""The demo photos: what the pinned packages ship, and the sentence a user gets when one is missing."""

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crrn.data import package_photos
from crrn.errors import DataError

ROOT = Path(__file__).parents[3]


def test_the_split_is_fixed_and_large_enough():
    training, held_out = package_photos.demo_photos().split(0.5)  # the fraction has no say in a fixed split

    assert (len(training), len(held_out)) == (25, 6)
    assert {path.name for path in held_out} == {
        "chelsea.png",
        "china.jpg",
        "coffee.png",
        "grace_hopper.jpg",
        "imagenet_01_559.jpg",
        "imagenet_05_853.jpg",
    }
    assert not set(training) & set(held_out)
    names = [path.name for path in training + held_out]
    assert len(set(names)) == len(names)


def test_every_photo_is_a_colour_photo_of_a_useful_size():
    for path in package_photos.demo_photos().files:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=float) / 255
        assert min(pixels.shape[:2]) >= 256, path
        assert pixels.std() > 0.05, f"{path} is flat"
        assert np.abs(np.diff(pixels, axis=2)).mean() > 0.02, f"{path} is grey"


def test_no_photo_appears_twice():
    small = {}
    for path in package_photos.demo_photos().files:
        with Image.open(path) as image:
            small[path.name] = np.asarray(image.convert("RGB").resize((16, 16)), dtype=float).ravel()
    names, vectors = list(small), np.stack(list(small.values()))
    alike = np.corrcoef(vectors) - np.eye(len(names))
    first, second = np.unravel_index(alike.argmax(), alike.shape)
    assert alike.max() < 0.9, f"{names[first]} and {names[second]}"


@pytest.mark.slow
def test_locating_imports_none_of_the_packages():
    script = (
        "import sys; from crrn.data.package_photos import demo_photos; before = set(sys.modules); demo_photos(); "
        "print(*{'foolbox', 'kivy', 'matplotlib', 'skimage', 'sklearn'} & (set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_packages_are_pinned_as_the_demo_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (
        set(project["optional-dependencies"]["demo"]) == package_photos.TRAINING.keys() | package_photos.HELD_OUT.keys()
    )


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    real = package_photos.distribution

    def without_matplotlib(name):
        if name == "matplotlib":
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(package_photos, "distribution", without_matplotlib)
    with pytest.raises(DataError, match=r"-m pip install matplotlib==\d+\.\d+\.\d+$"):
        package_photos.demo_photos()


def test_a_release_without_the_photo_is_named_too(monkeypatch):
    monkeypatch.setitem(package_photos.TRAINING, "scikit-learn==1.9.1", ("sklearn/datasets/images/gone.jpg",))
    with pytest.raises(DataError, match=r"\(scikit-learn==1\.9\.1\)"):
        package_photos.demo_photos()
