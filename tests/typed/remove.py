"""What mypy must find of `crrn.remove`; `make check` runs it, nothing executes it."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import crrn


def kinds(path: str, picture: Image.Image, array: NDArray[Any], tensor: Tensor) -> None:
    """The kind that goes in comes out."""
    assert_type(crrn.remove(path), Image.Image)
    assert_type(crrn.remove(picture, "yl19", 80), Image.Image)
    assert_type(crrn.remove(array, model=None, device="cpu"), NDArray[Any])
    assert_type(crrn.remove(tensor, strength=50, working_size=224), Tensor)
    assert_type(crrn.remove(path, return_reflection=True), tuple[Image.Image, Image.Image])
    assert_type(crrn.remove(array, return_reflection=True), tuple[NDArray[Any], NDArray[Any]])
    assert_type(crrn.remove(tensor, return_reflection=True), tuple[Tensor, Tensor])
    crrn.remove(np.zeros((4, 4, 3), np.uint8))
    crrn.remove(3)  # type: ignore[call-overload]
    crrn.remove(path, strenght=3)  # type: ignore[call-overload]


def models() -> None:
    """The catalogue."""
    assert_type(crrn.models()[0].name, str)
    assert_type(crrn.load(), nn.Module)
