"""The learned reflection removers, and the one way to build, save and load them."""

from crrn.nets.build import build_network
from crrn.nets.ceilnet import CEILNet
from crrn.nets.crrn import CRRN
from crrn.nets.gin import GiN
from crrn.nets.iin import IiN
from crrn.nets.network import Network
from crrn.nets.prediction import Prediction, prediction_of
from crrn.nets.weights import load_network, network_config, network_prediction, save_network

__all__ = [
    "CRRN",
    "CEILNet",
    "GiN",
    "IiN",
    "Network",
    "Prediction",
    "build_network",
    "load_network",
    "network_config",
    "network_prediction",
    "prediction_of",
    "save_network",
]
