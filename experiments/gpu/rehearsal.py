"""What a rehearsal of run.sh needs: a few photos, real pairs and an encoder, made from the demo photos.

    python experiments/gpu/rehearsal.py FOLDER WIDTH

writes FOLDER/photos, FOLDER/pairs (8 scenes of 2 photos) and FOLDER/encoder.safetensors, a VGG16 of that width with
random weights. Needs the extra `demo`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from crrn.data import demo_photos
from crrn.nets.vgg import VGG16

SIZE = (120, 96)
"""Width and height of the photos, in pixels."""
SCENES = 8


def main(folder: Path, width: float) -> None:
    """Writes the files."""
    photos = [cv2.resize(cv2.imread(str(path)), SIZE, interpolation=cv2.INTER_AREA) for path in demo_photos().files]
    for number, photo in enumerate(photos):
        write(folder / "photos" / f"photo{number:02d}.jpg", photo)
    for number in range(2 * SCENES):
        background, reflection = photos[number % len(photos)], photos[(number + 7) % len(photos)]
        light = [(image / 255) ** 2.2 for image in (background, cv2.GaussianBlur(reflection, (0, 0), 2))]
        mixture = np.clip(0.9 * light[0] + 0.35 * light[1], 0, 1) ** (1 / 2.2)
        name = f"demo_{number // 2:03d}_{number % 2}.jpg"
        write(folder / "pairs" / "transmission_layer" / name, background)
        write(folder / "pairs" / "blended" / name, (255 * mixture).astype(np.uint8))
    torch.manual_seed(0)
    save_file(VGG16(width).state_dict(), folder / "encoder.safetensors")


def write(path: Path, photo: np.ndarray) -> None:
    """Writes a photo and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), photo)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
