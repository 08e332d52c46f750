"""Makes the picture of docs/mixing.md: python docs/mixing_pictures.py

Two demo photos (china as background, astronaut as reflection) under each formation model, at parameters that the
model drew, and four draws of ``mixing=photo``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import crrn.mixing
from crrn.data.batch import Batch, Sample, TwoPhotos, collate, form
from crrn.data.package_photos import demo_photos
from crrn.image.picture import to_picture
from crrn.mixing import Mixture, PhotoMixing

FOLDER = Path(__file__).parent
WIDTH, HEIGHT, GAP, LINE = 256, 192, 4, 20
COLUMNS = 4
SEEDS = {"linear": 19, "ghosting": 275}
"""Of the draws; the others: 1. These show blur, ghost and region, and a distant ghost."""


def model(name: str) -> Any:
    """The formation model of conf/mixing/NAME.yaml."""
    settings = yaml.safe_load((FOLDER.parent / "conf" / "mixing" / f"{name}.yaml").read_text())
    return getattr(crrn.mixing, settings.pop("_target_").rpartition(".")[2])(**settings)


def photo(name: str) -> np.ndarray:
    """A demo photo, uint8 (HEIGHT, WIDTH, 3), its middle cropped to that shape."""
    (path,) = (file for file in demo_photos().files if file.name == name)
    with Image.open(path) as image:
        image = image.convert("RGB")
        scale = min(image.width / WIDTH, image.height / HEIGHT)
        left, top = (image.width - scale * WIDTH) / 2, (image.height - scale * HEIGHT) / 2
        box = (left, top, left + scale * WIDTH, top + scale * HEIGHT)
        return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=box))


def mixtures(mixing: Any, photos: tuple[np.ndarray, np.ndarray], seed: int, count: int = 1) -> Mixture:
    """Some draws of a model, as training makes them."""
    rng = np.random.default_rng(seed)
    batch = collate([Sample(TwoPhotos(*photos, mixing.draw(rng)), k, []) for k in range(count)])
    assert isinstance(batch, Batch)
    made: Mixture = form(batch, mixing)
    return made


def sheet(cells: list[tuple[str, Tensor]]) -> Image.Image:
    """Labelled pictures in rows of four."""
    rows = -(-len(cells) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (WIDTH + GAP) - GAP, rows * (HEIGHT + LINE)), "white")
    draw = ImageDraw.Draw(page)
    for n, (label, layer) in enumerate(cells):
        x, y = n % COLUMNS * (WIDTH + GAP), n // COLUMNS * (HEIGHT + LINE)
        draw.text((x + 2, y + 3), label, "black", ImageFont.load_default(13))
        page.paste(to_picture(layer), (x, y + LINE))
    return page


def main() -> None:
    """Writes docs/images/mixing.jpg: of each model the mixture and the reflection's target."""
    photos = photo("china.jpg"), photo("astronaut.png")
    background, reflection = (torch.from_numpy(one.transpose(2, 0, 1).copy()) / 255 for one in photos)
    weights = yaml.safe_load((FOLDER.parent / "conf" / "mixing" / "photo.yaml").read_text())["weights"]
    models = {name: model(name) for name in weights}
    choice = mixtures(PhotoMixing(models, weights), photos, 19, 2)
    cells = [("background", background), ("reflection", reflection)]
    cells += [(f"mixing=photo, draw {n}", layer) for n, layer in enumerate(choice.mixture, 1)]
    for name, one in models.items():
        made = mixtures(one, photos, SEEDS.get(name, 1))
        cells += [(f"mixing={name}", made.mixture[0]), ("its reflection", made.reflection[0])]
    sheet(cells).save(FOLDER / "images" / "mixing.jpg", quality=78, optimize=True)


if __name__ == "__main__":
    main()
