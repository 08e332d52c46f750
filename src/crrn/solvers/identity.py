"""The identity, which returns its input: the baseline of every evaluation."""

from __future__ import annotations

from torch import Tensor

from crrn.solvers.solver import Solver


class Identity(Solver):
    """The background is the mixture, the reflection is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.config = self._settings()

    def background(self, mixture: Tensor) -> Tensor:
        """The mixture itself."""
        return mixture
