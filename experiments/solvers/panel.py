"""The two steps around `python -m src.eval` that make this folder's contact sheets; README.md has the commands.

python experiments/solvers/panel.py shrink PHOTOS SMALL     copies of at most SIDE pixels a side
python experiments/solvers/panel.py sheets SMALL OUTPUTS    sheet1.jpg ...: a row a photo, a column a remover
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 192
COLUMNS = {"LB14": "lb14", "NR17": "nr17", "WS16": "ws16*", "YL19": "yl19", "quarter_hour": "quarter_hour"}
"""Each column's label, and the folder of its outputs."""
ROWS, GAP, HEADER = 15, 3, 16


def shrink(photos: Path, small: Path) -> None:
    """Copies every photo as PNG, its longer side SIDE pixels."""
    small.mkdir(parents=True, exist_ok=True)
    for path in sorted(photos.glob("*-input.*")):
        with Image.open(path) as photo:
            photo.draft("RGB", (2 * SIDE, 2 * SIDE))
            photo = photo.convert("RGB")
            photo.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            photo.save(small / f"{path.stem}.png")


def sheets(small: Path, outputs: Path) -> None:
    """Lays the mixtures and the estimated backgrounds out, ROWS photos a sheet."""
    folders = [next(outputs.glob(pattern)) for pattern in COLUMNS.values()]
    mixtures = sorted(small.glob("*.png"))
    for number, start in enumerate(range(0, len(mixtures), ROWS), 1):
        rows = [
            [mixture, *(folder / mixture.name.replace("-input", "") for folder in folders)]
            for mixture in mixtures[start : start + ROWS]
        ]
        draw(rows, Path(__file__).with_name(f"sheet{number}.jpg"))


def draw(rows: list[list[Path]], target: Path) -> None:
    """One sheet."""
    heights = []
    for row in rows:
        with Image.open(row[0]) as first:
            heights.append(first.height)
    labels = ("mixture", *COLUMNS)
    sheet = Image.new("RGB", (len(labels) * (SIDE + GAP), HEADER + sum(heights) + GAP * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for x, label in enumerate(labels):
        pen.text((x * (SIDE + GAP) + 2, 1), label, fill="black", font=ImageFont.load_default(12))
    top = HEADER
    for row, height in zip(rows, heights, strict=True):
        for x, path in enumerate(row):
            with Image.open(path) as picture:
                sheet.paste(picture.convert("RGB"), (x * (SIDE + GAP), top))
        top += height + GAP
    sheet.save(target, quality=75, optimize=True)


if __name__ == "__main__":
    {"shrink": shrink, "sheets": sheets}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
