"""The kinds of files that are photos."""

from __future__ import annotations

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif")
"""File names that a folder's photos are known by."""

FORMATS = {
    "JPEG": "JPEG",
    "MPO": "JPEG",  # of phones that append a second picture, which is left out
    "PNG": "PNG",
    "WEBP": "WEBP",
    "TIFF": "TIFF",
    "BMP": "BMP",
    "AVIF": "AVIF",
    "HEIF": "HEIF",
}
"""What Pillow calls a file, and the format that it is written in."""

NAMES = "JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC"
"""For messages."""


def register_heif() -> bool:
    """Teaches Pillow HEIC; False where pillow-heif (the extra `heic`) is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
