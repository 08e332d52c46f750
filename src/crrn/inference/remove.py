"""One call that removes the reflection from an image of any usual kind, and gives the same kind back."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from crrn.catalogue import default_model
from crrn.inference.kinds import read_image
from crrn.inference.predictor import Predictor
from crrn.removers import choose_device, load_remover

Kind = TypeVar("Kind", Image.Image, NDArray[Any], Tensor)
Model = str | os.PathLike[str] | nn.Module

LOADED = 4
"""Models that stay loaded between calls."""


@overload
def remove(
    image: str | os.PathLike[str],
    model: Model | None = None,
    strength: float | None = None,
    return_reflection: Literal[False] = False,
    device: str = "auto",
    *,
    working_size: int | str | None = "auto",
    plugins: Collection[str] = (),
) -> Image.Image: ...
@overload
def remove(
    image: str | os.PathLike[str],
    model: Model | None = None,
    strength: float | None = None,
    *,
    return_reflection: Literal[True],
    device: str = "auto",
    working_size: int | str | None = "auto",
    plugins: Collection[str] = (),
) -> tuple[Image.Image, Image.Image]: ...
@overload
def remove(
    image: Kind,
    model: Model | None = None,
    strength: float | None = None,
    return_reflection: Literal[False] = False,
    device: str = "auto",
    *,
    working_size: int | str | None = "auto",
    plugins: Collection[str] = (),
) -> Kind: ...
@overload
def remove(
    image: Kind,
    model: Model | None = None,
    strength: float | None = None,
    *,
    return_reflection: Literal[True],
    device: str = "auto",
    working_size: int | str | None = "auto",
    plugins: Collection[str] = (),
) -> tuple[Kind, Kind]: ...
def remove(
    image: Any,
    model: Model | None = None,
    strength: float | None = None,
    return_reflection: bool = False,
    device: str = "auto",
    *,
    working_size: int | str | None = "auto",
    plugins: Collection[str] = (),
) -> Any:
    """Remove the reflection from an image.

    The result has the image's kind, type and size. Transparency is kept. Nothing is written to disk.

    Args:
        image: one of

            - a PIL image. Grey, RGB and 16-bit grey (I;16) keep their mode. Palettes, CMYK and YCbCr become RGB.
            - a NumPy array (H, W), (H, W, 3) in RGB, or (H, W, 4) with alpha. uint8, uint16, or floating point
              in [0, 1].
            - a tensor (C, H, W) or (N, C, H, W) with C = 1, 3 or 4. uint8, or floating point in [0, 1].
            - the path of a photo. The result is a PIL image of 8 bits, upright, with colour profile and EXIF.
        model: the name of a model (`crrn.models`), a run directory, a checkpoint's path, or a loaded network. None is
            the default model.
        strength: the share of the estimated change: 0 gives the image, 100 the estimate, 150 is the maximum. None is
            the model's own.
        return_reflection: return (image without its reflection, reflection).
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1".
        working_size: the short side in pixels of the copy that the model sees. "auto" is the model's own, "native" the
            image's.
        plugins: further packages whose networks may be loaded, such as ["mylab"]. crrn's own and those of installed
            plug-ins are always allowed.

    Raises:
        DataError: the image is of another kind, or the file cannot be read.
        ConfigError: the model is unknown, estimates no such layer, or a setting is out of range.
        CheckpointError: the model's file cannot be read.

    Examples:
        A path, for which nothing is written:

        >>> clean = crrn.remove("photo.jpg")
        >>> clean.save("clean.jpg")

        A PIL image:

        >>> crrn.remove(Image.open("photo.jpg")).mode
        'RGB'

        NumPy arrays of 8 bits, 16 bits and floating point:

        >>> crrn.remove(np.full((48, 64, 3), 128, np.uint8)).shape
        (48, 64, 3)
        >>> crrn.remove(np.full((48, 64), 40000, np.uint16)).dtype
        dtype('uint16')
        >>> crrn.remove(np.full((48, 64, 4), 0.5)).dtype
        dtype('float64')

        A batch of tensors:

        >>> crrn.remove(torch.full((2, 3, 48, 64), 0.5)).shape
        torch.Size([2, 3, 48, 64])

        Half the change, and the reflection:

        >>> clean, reflection = crrn.remove("photo.jpg", strength=50, return_reflection=True)
    """
    images = read_image(image)
    wanted = ("background", "reflection") if return_reflection else ("background",)
    predictor = _predictor(model, device, tuple(plugins))
    predictor = predictor.but(layers=wanted, working_size=working_size, strength=strength)
    estimates = [predictor(mixture) for mixture in images.mixtures]
    results = tuple(images.give_back([getattr(estimate, layer) for estimate in estimates]) for layer in wanted)
    return results if return_reflection else results[0]


def _predictor(model: Model | None, device: str, plugins: tuple[str, ...]) -> Predictor:
    if isinstance(model, nn.Module):
        return Predictor(model)
    name = default_model() if model is None else os.fspath(model)
    return _loaded(name, choose_device(device), _stamp(name), plugins)


@lru_cache(maxsize=LOADED)
def _loaded(name: str, device: str, stamp: tuple[int, int] | None, plugins: tuple[str, ...]) -> Predictor:
    return Predictor(load_remover(name, device, plugins))


def _stamp(name: str) -> tuple[int, int] | None:
    """Changes with the file that a path or a run directory names, so that it is loaded again."""
    path = Path(name)
    path = path / "weights.safetensors" if path.is_dir() else path
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size
