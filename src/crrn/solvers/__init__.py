"""The unlearned reflection removers: modules without parameters, from a mixture to its layers."""

from torch import nn

from crrn.solvers.identity import Identity
from crrn.solvers.yl19 import YL19

SOLVERS: dict[str, type[nn.Module]] = {"identity": Identity, "yl19": YL19}
"""Name in the config -> class; each takes its method's constants as keywords."""

__all__ = ["SOLVERS", "YL19", "Identity"]
