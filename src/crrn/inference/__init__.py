"""Anyone's photo: reading and writing it, removers on any size in bounded memory."""

from crrn.inference.load import default_remover
from crrn.inference.photo import Photo, read_photo, write_photo
from crrn.inference.predictor import Predictor

__all__ = ["Photo", "Predictor", "default_remover", "read_photo", "write_photo"]
