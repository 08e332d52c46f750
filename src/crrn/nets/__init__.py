"""The learned reflection removers, and the one way to build, save and load them."""

from crrn.nets.build import build_network
from crrn.nets.ceilnet import CEILNet, EdgeNet, ImageNet
from crrn.nets.crrn import CRRN
from crrn.nets.gin import GiN
from crrn.nets.iin import IiN
from crrn.nets.network import Network, estimate, estimates_of
from crrn.nets.prediction import Prediction, prediction_of
from crrn.nets.record import record_of
from crrn.nets.weights import load_network, network_prediction, network_record, save_network

__all__ = [
    "CRRN",
    "CEILNet",
    "EdgeNet",
    "GiN",
    "IiN",
    "ImageNet",
    "Network",
    "Prediction",
    "build_network",
    "estimate",
    "estimates_of",
    "load_network",
    "network_prediction",
    "network_record",
    "prediction_of",
    "record_of",
    "save_network",
]

for _network in (CRRN, CEILNet, EdgeNet, GiN, IiN, ImageNet):
    _network.__module__ = __name__  # the name by which records call them
