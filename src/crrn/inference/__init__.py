"""Anyone's photo: reading and writing it, removers on any size in bounded memory."""

from crrn.inference.photo import Photo, read_photo, write_photo
from crrn.inference.predictor import Predictor

__all__ = ["Photo", "Predictor", "read_photo", "write_photo"]
