"""Classical methods: they separate a mixture into its layers without learned weights."""

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
"""The methods by name, as commands take them. Constructor arguments are the published constants."""

__all__ = ["LB14", "NR17", "SOLVERS", "WS16", "YL19", "Identity", "Solver"]
