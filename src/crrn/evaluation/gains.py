"""What an estimate gains over the identity on one image, in a protocol's own PSNR and SSIM.

See `crrn.metrics.gain` for what the harm rate and the matched gain are for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from crrn.metrics.gain import HARM_PSNR, HARM_RATE, HARM_SSIM
from crrn.metrics.protocols import LOWER_IS_BETTER, MATCHED

GAINS = ("gain_psnr", "gain_ssim", "matched_gain_psnr", "matched_gain_ssim", HARM_RATE)
"""Columns of the per-image tables; the identity has no value in them. The harm rate of an image is 1 where it became
worse, else 0."""
COMPARED = (*MATCHED, *GAINS)
"""All columns that come from a comparison with the identity, after those of the protocol."""


LOWER = frozenset((*LOWER_IS_BETTER, HARM_RATE))
"""Metrics and gains that are better where they are lower."""


def gains_of(values: Mapping[str, float], identity: Mapping[str, float]) -> dict[str, float]:
    """The gains of an image.

    Args:
        values: the protocol's metrics of the estimate, with "matched_psnr" and "matched_ssim".
        identity: the same of the input.

    Returns:
        Those of `GAINS` whose metrics both have.
    """
    metrics = [name for name in ("psnr", "ssim", *MATCHED) if name in values and name in identity]
    gains = {f"{name[:-4]}gain_{name[-4:]}": values[name] - identity[name] for name in metrics}
    if {"gain_psnr", "gain_ssim"} <= gains.keys():
        psnr, ssim = gains["gain_psnr"], gains["gain_ssim"]
        known = not (math.isnan(psnr) or math.isnan(ssim))
        gains[HARM_RATE] = float(psnr < -HARM_PSNR or ssim < -HARM_SSIM) if known else math.nan
    return gains
