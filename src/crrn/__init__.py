"""Remove reflections from photos that were taken through glass.

Remove a reflection::

    import crrn

    clean = crrn.remove("photo.jpg")  # a path gives a PIL image, and writes nothing
    clean.save("clean.jpg")
    clean = crrn.remove(image)  # a PIL image, a NumPy array or a tensor gives the same kind

Choose how::

    crrn.models()  # the models that there are, each with a line about it
    crrn.remove(image, model="yl19")
    crrn.remove(image, strength=60)  # 0 is the photo, 100 the estimate
    clean, reflection = crrn.remove(image, return_reflection=True)

Use a network in PyTorch::

    network = crrn.load("runs/NAME")  # or crrn.load() for the default that ships
    layers = network(mixture)  # (N, 3, H, W) in [0, 1]; layers.background, .reflection, .gradient
    network = crrn.CRRN(width=0.5)  # untrained: its background is its input

In a shell, ``crrn remove photo.jpg -o clean/`` does the same for photos, folders and videos; ``crrn --help`` says more.

The networks are those of CRRN (Wan et al., CVPR 2018) and CEILNet (Fan et al., ICCV 2017). ``import crrn`` is light:
PyTorch is imported when a name that needs it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crrn.catalogue import models
    from crrn.inference.hub import from_pretrained, save_pretrained
    from crrn.inference.remove import remove
    from crrn.layers import Layers
    from crrn.nets import CRRN, CEILNet, GiN, IiN, build_network, estimate
    from crrn.removers import load

    __version__: str

__all__ = [
    "CRRN",
    "CEILNet",
    "GiN",
    "IiN",
    "Layers",
    "__version__",
    "build_network",
    "estimate",
    "from_pretrained",
    "load",
    "models",
    "remove",
    "save_pretrained",
]

_HOMES = {
    "CRRN": ("crrn.nets", "CRRN"),
    "CEILNet": ("crrn.nets", "CEILNet"),
    "GiN": ("crrn.nets", "GiN"),
    "IiN": ("crrn.nets", "IiN"),
    "Layers": ("crrn.layers", "Layers"),
    "build_network": ("crrn.nets", "build_network"),
    "estimate": ("crrn.nets", "estimate"),
    "from_pretrained": ("crrn.inference.hub", "from_pretrained"),
    "load": ("crrn.removers", "load"),
    "models": ("crrn.catalogue", "models"),
    "remove": ("crrn.inference.remove", "remove"),
    "save_pretrained": ("crrn.inference.hub", "save_pretrained"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        module, attribute = _HOMES[name]
        value = getattr(import_module(module), attribute)
    else:
        raise AttributeError(f"module 'crrn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("crrn")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0+unknown"
