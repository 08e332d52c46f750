"""What tables call metrics, and how they write numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from crrn.evaluation.gains import GAINS, LOWER
from crrn.evaluation.store import WITHOUT_TRUTH
from crrn.metrics.gain import HARM_RATE

LABELS = {
    "ssim": "SSIM",
    "si": "SI",
    "ssim_r": "SSIMr",
    "si_r": "SIr",
    "psnr": "PSNR (dB)",
    "ncc": "NCC",
    "lmse": "LMSE",
    "slmse": "sLMSE",
    "ms_ssim": "MS-SSIM",
    "lpips": "LPIPS",
    "dists": "DISTS",
    "matched_psnr": "matched PSNR (dB)",
    "matched_ssim": "matched SSIM",
    "gain_psnr": "PSNR gain (dB)",
    "gain_ssim": "SSIM gain",
    "matched_gain_psnr": "matched PSNR gain (dB)",
    "matched_gain_ssim": "matched SSIM gain",
    "harm_rate": "harm rate",
    "change": "Change",
    "residual": "Residual",
}
DIGITS = {"psnr": 2, "matched_psnr": 2, "gain_psnr": 2, "matched_gain_psnr": 2, HARM_RATE: 3}
PARTS = ("gain_psnr", "matched_gain_psnr", HARM_RATE)
"""The gains that tables of subsets and categories show."""
NOTHING = dict.fromkeys(("mean", "low", "high"), math.nan)


def with_interval(metric: str, value: Mapping[str, float]) -> str:
    """``0.8123 ± 0.0120``; the half-width of the interval."""
    half = (value["high"] - value["low"]) / 2
    text = mean_text(metric, value["mean"])
    return text if math.isnan(half) else f"{text} ± {half:.{DIGITS.get(metric, 4)}f}"


def mean_text(metric: str, mean: float) -> str:
    """A mean with as many digits as its metric has; gains with their sign."""
    if math.isnan(mean):
        return "–"
    sign = "+" if metric in GAINS and metric != HARM_RATE else ""
    return f"{mean:{sign}.{DIGITS.get(metric, 4)}f}"


def arrow(metric: str) -> str:
    """Which way is better."""
    return "" if metric in WITHOUT_TRUTH else "↓" if metric in LOWER else "↑"


def p_value(p: float | None) -> str:
    """``0.012``, ``< 0.001``."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(number: int, thing: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {thing}{'s' * (number != 1)}"
