"""Example photos for the page: mixtures of photos that installed packages ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

from crrn.data.package_photos import demo_photos
from crrn.data.photos import read_image
from crrn.errors import DataError
from crrn.image.picture import to_picture, to_tensor
from crrn.mixing import PaperMixing

PAIRS = (("china", "chelsea", 0.9, 0.35), ("chelsea", "china", 0.9, 0.3), ("coffee", "grace_hopper", 0.9, 0.35))
"""Background, reflection, alpha and beta: demo photos that training holds out, mixed as the paper mixes."""

BLUR = 2.5
"""Standard deviation in pixels: the camera looks at the background (our choice)."""


def make_examples(folder: Path) -> list[Path]:
    """Write the examples as JPEG files into a folder; none where the extra `demo` is not installed."""
    try:
        photos = {path.stem: path for path in demo_photos().files}
    except DataError:
        return []
    mixing = PaperMixing()
    examples = []
    for background, reflection, alpha, beta in PAIRS:
        behind = read_image(photos[background])
        front = ImageOps.fit(Image.fromarray(read_image(photos[reflection])), (behind.shape[1], behind.shape[0]))
        front = front.transpose(Image.Transpose.FLIP_LEFT_RIGHT).filter(ImageFilter.GaussianBlur(BLUR))
        weights = {"alpha": torch.tensor([alpha]), "beta": torch.tensor([beta])}
        mixture = mixing(to_tensor(behind), to_tensor(np.asarray(front)), weights).mixture
        path = folder / f"{background}-with-{reflection}.jpg"
        to_picture(mixture[0]).save(path, quality=92)
        examples.append(path)
    return examples
