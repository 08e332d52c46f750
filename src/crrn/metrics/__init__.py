"""Metrics of an estimated layer against the true one."""

from crrn.metrics.quality import ImageQuality, psnr, si, ssim

__all__ = ["ImageQuality", "psnr", "si", "ssim"]
