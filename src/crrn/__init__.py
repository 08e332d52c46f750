"""crrn: reflection removal with PyTorch, after CRRN (Wan et al., CVPR 2018).

`import crrn` is light: torch is imported when a name is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crrn.catalogue import models
    from crrn.inference.hub import from_pretrained, save_pretrained
    from crrn.layers import Layers
    from crrn.nets import CRRN, CEILNet, GiN, IiN, build_network
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
    "from_pretrained",
    "load",
    "models",
    "save_pretrained",
]

_HOMES = {
    "CRRN": ("crrn.nets", "CRRN"),
    "CEILNet": ("crrn.nets", "CEILNet"),
    "GiN": ("crrn.nets", "GiN"),
    "IiN": ("crrn.nets", "IiN"),
    "Layers": ("crrn.layers", "Layers"),
    "build_network": ("crrn.nets", "build_network"),
    "from_pretrained": ("crrn.inference.hub", "from_pretrained"),
    "load": ("crrn.removers", "load"),
    "models": ("crrn.catalogue", "models"),
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
