"""The unlearned reflection removers: from a mixture to its layers, without parameters."""

from __future__ import annotations

from crrn.layers import Remover
from crrn.solvers.identity import Identity
from crrn.solvers.lb14 import LB14
from crrn.solvers.nr17 import NR17
from crrn.solvers.solver import Solver
from crrn.solvers.ws16 import WS16
from crrn.solvers.yl19 import YL19

SOLVERS: dict[str, type[Remover]] = {
    "identity": Identity,
    "lb14": LB14,
    "nr17": NR17,
    "ws16": WS16,
    "yl19": YL19,
}
"""Every solver by the name that commands take; its constructor's keywords are its constants."""

__all__ = ["LB14", "NR17", "SOLVERS", "WS16", "YL19", "Identity", "Solver"]
