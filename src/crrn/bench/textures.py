"""Photos for benchmarks, made on the spot, with the statistics of real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from crrn.image.picture import Pixels


def texture(seed: int, height: int, width: int) -> Pixels:
    """An uint8 picture (height, width, 3) whose amplitude spectrum falls as 1/f, as natural images' do."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    shape = (3, *frequency.shape)
    spectrum = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / frequency
    waves = np.fft.irfft2(spectrum, s=(height, width))
    grey = waves[:1] / waves[:1].std()
    colour = waves[1:] / waves[1:].std()
    # Mostly luminance: the three channels of natural images are nearly alike.
    planes = np.concatenate([grey, grey + 0.3 * colour]).transpose(1, 2, 0)
    return np.asarray((planes * 45 + 120).clip(0, 255), dtype=np.uint8)


def write_textures(folder: Path, count: int, height: int, width: int, quality: int = 85) -> list[Path]:
    """Writes ``count`` JPEG files of `texture` into ``folder``; at 375x500 and quality 85 of about 90 kB each."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"texture{number:04d}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        Image.fromarray(texture(number, height, width)).save(file, quality=quality)
    return files
