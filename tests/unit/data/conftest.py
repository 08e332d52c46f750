from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakePhotos = Callable[..., list[Path]]


@pytest.fixture
def make_photos(tmp_path: Path) -> MakePhotos:
    """Writes small JPEGs of smooth noise, each different, to a folder below tmp_path."""

    def make(folder: str, count: int, height: int = 48, width: int = 64, prefix: str = "") -> list[Path]:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        files = []
        for number in range(count):
            rng = np.random.default_rng([number, *f"{folder}{prefix}".encode()])
            coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
            files.append(tmp_path / folder / f"{prefix}{number:03d}.jpg")
            coarse.resize((width, height), Image.Resampling.BICUBIC).save(files[-1], quality=90)
        return files

    return make


@pytest.fixture
def truncate() -> Callable[[Path], Path]:
    """Cuts a file in half: its header stays whole."""

    def cut(file: Path) -> Path:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2 + 200])
        return file

    return cut
