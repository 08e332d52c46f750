"""Mixture formation: how a background and a reflection become what a camera sees, one module per model.

A formation model is any object with two methods, see ``Mixing``. ``draw(rng)`` gives the random parameters of one
mixture by name, drawn from a numpy generator. ``model(background, reflection, parameters)`` forms a ``Mixture`` from
layers (N, 3, H, W) in [0, 1] and the parameters of the batch. The second step has no randomness: a mixture depends on
its plan alone.
"""

from crrn.mixing.ceilnet import CEILNetMixing
from crrn.mixing.fresnel import FresnelMixing
from crrn.mixing.gamma import GammaMixing
from crrn.mixing.ghosting import GhostingMixing
from crrn.mixing.linear import LinearMixing
from crrn.mixing.model import Mixing, Mixture
from crrn.mixing.paper import PaperMixing
from crrn.mixing.photo import PhotoMixing
from crrn.mixing.screen import ScreenMixing
from crrn.mixing.transfer import TransferMixing

__all__ = [
    "CEILNetMixing",
    "FresnelMixing",
    "GammaMixing",
    "GhostingMixing",
    "LinearMixing",
    "Mixing",
    "Mixture",
    "PaperMixing",
    "PhotoMixing",
    "ScreenMixing",
    "TransferMixing",
]
