"""The losses of CRRN (paper Eq. 3-7), of CEILNet and of later networks, as named terms with weights."""

from crrn.losses.terms import TERMS, derivative_l1, exclusion, multiscale_l1, reconstruction
from crrn.losses.weighted import ReconstructionLoss

__all__ = ["TERMS", "ReconstructionLoss", "derivative_l1", "exclusion", "multiscale_l1", "reconstruction"]
