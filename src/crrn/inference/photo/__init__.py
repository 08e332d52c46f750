"""Read a photo with its metadata, and write a result as a photo of the same kind."""

from crrn.inference.photo.formats import SUFFIXES
from crrn.inference.photo.photo import Photo
from crrn.inference.photo.read import MAX_MEGAPIXELS, read_photo
from crrn.inference.photo.write import QUALITY, encode, write_photo

__all__ = ["MAX_MEGAPIXELS", "QUALITY", "SUFFIXES", "Photo", "encode", "read_photo", "write_photo"]
