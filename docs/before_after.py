"""Writes docs/images/before_after.jpg: held-out demo photos under a reflection, and what crrn-small makes of them.

python docs/before_after.py
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

import crrn
from crrn.data.package_photos import demo_photos
from crrn.data.photos import read_image
from crrn.image.picture import to_picture, to_tensor
from crrn.mixing import LinearMixing

SIZE, GAP = (416, 320), 6
PAIRS = (("china", "coffee"), ("chelsea", "grace_hopper"))
"""The photo behind the glass and the photo that it reflects, by the start of their file's name."""
MIXING = LinearMixing(
    gamma=(2.2, 2.2), background_gain=(0.9, 0.9), blur_share=1, sigma=(2.5, 2.5), ghost_share=0,
    reflection_gain=(0.35, 0.35), channel_gain=(1, 1), region_share=0,
)  # fmt: skip


def main() -> None:
    """A row a photo: with the reflection, without it by crrn-small at strength 100, the true background."""
    source = demo_photos()
    files = {path.name: path for path in source.files if path in (source.held_out or ())}
    sheet = Image.new("RGB", (3 * SIZE[0] + 2 * GAP, len(PAIRS) * (SIZE[1] + GAP) - GAP), "white")
    rng = np.random.default_rng(1)
    for row, names in enumerate(PAIRS):
        photos = [ImageOps.fit(Image.fromarray(read_image(find(files, name))), SIZE) for name in names]
        drawn = MIXING.draw(rng)
        parameters = {
            key: np.array([value]) if isinstance(value, int) else torch.as_tensor(np.array([value], np.float32))
            for key, value in drawn.items()
        }
        mixture, background, *_ = MIXING(*(to_tensor(np.asarray(photo)) for photo in photos), parameters)
        before = to_picture(mixture[0])
        shown = (before, crrn.remove(before, model="crrn-small", strength=100), to_picture(background[0]))
        for column, picture in enumerate(shown):
            sheet.paste(picture, (column * (SIZE[0] + GAP), row * (SIZE[1] + GAP)))
    sheet.save(Path(__file__).parent / "images" / "before_after.jpg", quality=82)


def find(files: dict[str, Path], start: str) -> Path:
    """The file whose name begins so."""
    return next(path for name, path in files.items() if name.startswith(start))


if __name__ == "__main__":
    main()
