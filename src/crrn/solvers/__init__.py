"""The unlearned reflection removers: modules without parameters, from a mixture to its layers."""

from torch import nn

from crrn.solvers.identity import Identity
from crrn.solvers.lb14 import LB14
from crrn.solvers.nr17 import NR17
from crrn.solvers.yl19 import YL19

SOLVERS: dict[str, type[nn.Module]] = {"identity": Identity, "lb14": LB14, "nr17": NR17, "yl19": YL19}
"""Name in the config -> class; each takes its method's constants as keywords."""

__all__ = ["LB14", "NR17", "SOLVERS", "YL19", "Identity"]
