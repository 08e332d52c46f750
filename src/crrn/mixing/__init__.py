"""Mixture formation: how a background and a reflection become what a camera sees, one module per published model.

A formation model is any object with two methods. ``draw(rng)`` gives the random parameters of one mixture by name,
drawn from a numpy generator. ``model(background, reflection, parameters)`` forms a ``Mixture`` from layers (N, 3, H, W)
in [0, 1] and a tensor (N,) for each parameter, on their device. The second step has no randomness: a mixture depends on
its plan alone.
"""

from crrn.mixing.ceilnet import CEILNetMixing
from crrn.mixing.model import Mixture
from crrn.mixing.paper import PaperMixing

__all__ = ["CEILNetMixing", "Mixture", "PaperMixing"]
