"""Metrics of an estimated layer against the true one, and the protocols that say how they are taken.

Each metric is a function of (N, C, H, W) images to one value for each image; `ImageMean` makes a torchmetrics Metric
of it.
"""

from crrn.metrics.correlation import ncc
from crrn.metrics.gain import colour_match, gains, matched_gains
from crrn.metrics.lmse import lmse, slmse
from crrn.metrics.masks import derive_mask
from crrn.metrics.mean import ImageMean
from crrn.metrics.perceptual import Dists, Lpips
from crrn.metrics.protocols import NAMED as PROTOCOLS
from crrn.metrics.protocols import Protocol, custom_protocol, named_protocol
from crrn.metrics.psnr import psnr
from crrn.metrics.quality import ImageQuality, quality
from crrn.metrics.structure import ms_ssim, si, si_r, ssim, ssim_r, ssim_uniform

__all__ = [
    "PROTOCOLS",
    "Dists",
    "ImageMean",
    "ImageQuality",
    "Lpips",
    "Protocol",
    "colour_match",
    "custom_protocol",
    "derive_mask",
    "gains",
    "lmse",
    "matched_gains",
    "ms_ssim",
    "named_protocol",
    "ncc",
    "psnr",
    "quality",
    "si",
    "si_r",
    "slmse",
    "ssim",
    "ssim_r",
    "ssim_uniform",
]
