"""Sources of one's own: photos and real pairs for training, and a benchmark. They list files; crrn reads them."""

from pathlib import Path

from crrn.data import PairSource, PhotoSource, RealPair
from crrn.data.benchmarks import Benchmark, Case


def album(root: str, held_out: int = 2) -> PhotoSource:
    """The photos `ROOT/*.jpg`; the last ones never train."""
    photos = sorted(Path(root).resolve().glob("*.jpg"))
    return PhotoSource("album", tuple(photos), frozenset(photos[-held_out:]))


def panes(root: str) -> PairSource:
    """Pairs `ROOT/SCENE/NAME-glass.png` and `ROOT/SCENE/NAME-open.png`."""
    photos = sorted(Path(root).resolve().glob("*/*-glass.png"))
    return PairSource(tuple(RealPair(photo, _open(photo), None, scene=photo.parent.name) for photo in photos))


def panes_benchmark(root: str) -> Benchmark:
    """The same folder as a benchmark; images of one scene count as one in tests."""
    photos = sorted(Path(root).resolve().glob("*/*-glass.png"))
    cases = [
        Case(f"{photo.parent.name}/{photo.stem}", "panes", photo, _open(photo), scene=photo.parent.name)
        for photo in photos
    ]
    return Benchmark("panes", tuple(cases))


def _open(photo: Path) -> Path:
    return photo.with_name(photo.name.replace("-glass", "-open"))
