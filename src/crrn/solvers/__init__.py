"""The unlearned reflection removers: from a mixture to its layers, without parameters."""

from __future__ import annotations

from crrn.layers import Remover
from crrn.solvers.identity import Identity

SOLVERS: dict[str, type[Remover]] = {
    "identity": Identity,
}
"""Every solver by the name that commands take; its constructor's keywords are its constants."""

__all__ = ["SOLVERS", "Identity"]
