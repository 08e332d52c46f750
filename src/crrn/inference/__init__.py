"""Photos of any size: read them, estimate their layers in bounded memory, write them."""

from crrn.inference.photo import Photo, read_photo, write_photo
from crrn.inference.predictor import Predictor

__all__ = ["Photo", "Predictor", "read_photo", "write_photo"]
