"""What tables call metrics, and how they write numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from crrn.evaluation.gains import GAINS, LOWER
from crrn.evaluation.store import WITHOUT_TRUTH
from crrn.metrics.gain import HARM_RATE
from crrn.metrics.own import Own

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
"""Of crrn's own metrics."""
DIGITS = {"psnr": 2, "matched_psnr": 2, "gain_psnr": 2, "matched_gain_psnr": 2, HARM_RATE: 3}
PARTS = ("gain_psnr", "matched_gain_psnr", HARM_RATE)
"""The gains that tables of subsets and categories show."""
NONE: Own = MappingProxyType({})
"""What there is of metrics that are not crrn's where only crrn's are meant."""
NOTHING: Mapping[str, float] = dict.fromkeys(("mean", "low", "high"), math.nan)


def metric_label(metric: str, own: Own = NONE) -> str:
    """What tables call a metric, with its unit: ``PSNR (dB)``."""
    if metric not in own:
        return LABELS[metric]
    unit = own[metric]["unit"]
    return f"{own[metric]['label']} ({unit})" if unit else str(own[metric]["label"])


def without_unit(metric: str, own: Own = NONE) -> str:
    """What tables call a metric, without its unit."""
    return str(own[metric]["label"]) if metric in own else LABELS[metric].removesuffix(" (dB)")


def digits(metric: str, own: Own = NONE) -> int:
    """How many digits a metric is written with."""
    return int(own[metric]["digits"]) if metric in own else DIGITS.get(metric, 4)


def lower_is_better(metric: str, own: Own = NONE) -> bool:
    """Whether a metric is better where it is lower."""
    return not own[metric]["higher_is_better"] if metric in own else metric in LOWER


def with_interval(metric: str, value: Mapping[str, float], own: Own = NONE) -> str:
    """``0.8123 ± 0.0120``; the half-width of the interval."""
    half = (value["high"] - value["low"]) / 2
    text = mean_text(metric, value["mean"], own)
    return text if math.isnan(half) else f"{text} ± {half:.{digits(metric, own)}f}"


def mean_text(metric: str, mean: float, own: Own = NONE) -> str:
    """A mean with as many digits as its metric has; gains with their sign."""
    if math.isnan(mean):
        return "–"
    sign = "+" if metric in GAINS and metric != HARM_RATE else ""
    return f"{mean:{sign}.{digits(metric, own)}f}"


def arrow(metric: str, own: Own = NONE) -> str:
    """Which way is better."""
    return "" if metric in WITHOUT_TRUTH else "↓" if lower_is_better(metric, own) else "↑"


def p_value(p: float | None) -> str:
    """``0.012``, ``< 0.001``."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(number: int, thing: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {thing}{'s' * (number != 1)}"
