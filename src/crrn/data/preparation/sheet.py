"""Contact sheets: many photos on one picture, each with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from crrn.data.benchmarks.case import Progress
from crrn.files import write_atomically

COLUMNS, ROWS = 12, 10
THUMB = (150, 112)
CAPTION, GAP, FRAME = 32, 10, 4
BACKGROUND, TEXT, FAINT = (24, 24, 26), (235, 235, 235), (165, 165, 165)
COLOURS = {"bright": (245, 205, 90), "dim": (95, 150, 225)}
OTHER = (215, 75, 70)
"""The frame of a photo that is not kept."""


class Tile(NamedTuple):
    """One photo on a sheet; a picture that is None is a grey field."""

    picture: Path | None
    verdict: str
    title: str
    facts: str


def write_sheets(tiles: Sequence[Tile], folder: Path, progress: Progress) -> list[Path]:
    """Writes sheet-1.jpg, sheet-2.jpg ..., 120 photos each, and removes sheets of earlier starts beyond them."""
    pages = -(-len(tiles) // (COLUMNS * ROWS))
    sheets = [folder / f"sheet-{number}.jpg" for number in range(1, pages + 1)]
    for number, sheet in enumerate(sheets):
        page = _page(tiles[number * COLUMNS * ROWS : (number + 1) * COLUMNS * ROWS])
        with write_atomically(sheet) as file:
            page.save(file, "JPEG", quality=88)
        progress("contact sheets", number + 1, pages)
    for old in set(folder.glob("sheet-*.jpg")) - set(sheets):
        old.unlink()
    return sheets


def _page(tiles: Sequence[Tile]) -> Image.Image:
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    cell = THUMB[0] + 2 * FRAME + GAP, THUMB[1] + 2 * FRAME + CAPTION + GAP
    page = Image.new("RGB", (columns * cell[0] + GAP, rows * cell[1] + GAP), BACKGROUND)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for number, tile in enumerate(tiles):
        left, top = GAP + number % columns * cell[0], GAP + number // columns * cell[1]
        colour = COLOURS.get(tile.verdict, OTHER)
        draw.rectangle((left, top, left + THUMB[0] + 2 * FRAME - 1, top + THUMB[1] + 2 * FRAME - 1), fill=colour)
        page.paste(_thumb(tile.picture), (left + FRAME, top + FRAME))
        below = top + THUMB[1] + 2 * FRAME + 2
        draw.text((left, below), _fit(tile.verdict, THUMB[0], font), colour, font)
        taken = draw.textlength(f"{tile.verdict}  ", font)
        draw.text((left + taken, below), _fit(tile.facts, THUMB[0] + 2 * FRAME - taken, font), FAINT, font)
        draw.text((left, below + 14), _fit(tile.title, THUMB[0] + 2 * FRAME, font), TEXT, font)
    return page


def _thumb(picture: Path | None) -> Image.Image:
    """A picture, whole, on a field of the thumbnails' size."""
    field = Image.new("RGB", THUMB, (60, 60, 62))
    if picture is not None:
        with Image.open(picture) as image:
            image.draft("RGB", THUMB)
            small = image.convert("RGB")
        small.thumbnail(THUMB, Image.Resampling.BILINEAR)
        field.paste(small, ((THUMB[0] - small.width) // 2, (THUMB[1] - small.height) // 2))
    return field


def _fit(text: str, width: float, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The text, or its beginning with an ellipsis, in a width."""
    text = text.encode(errors="replace").decode()
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
