"""SSIM and SI of images, over the whole image or over the region where reflections dominate, and MS-SSIM."""

from __future__ import annotations

import torch
from torch import Tensor

from crrn.image.similarity import WINDOW, moments, si_map, ssim_map
from crrn.metrics.mean import real

UNIFORM_WINDOW = 7
STRIP = 200
"""Rows that `ssim_uniform` handles at once on a CPU (our choice): its memory stays small, its calls few."""
STRIP_PIXELS = {"cpu": 1 << 16, "gpu": 1 << 22}
"""Pixels that `gaussian_means` handles at once (our choice); they take about 400 bytes each. On a CPU they stay in its
cache: 1500x2000 pixels took 0.46 s in place of 5.5 s on one core."""


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each image: the mean of `crrn.image.similarity.ssim_map` over channels and valid pixels.

    Args:
        x: (N, C, H, W) in [0, 1], H, W >= 11.
        y: the same shape.

    Returns:
        (N,) in [-1, 1].

    Raises:
        ValueError: an image is smaller than the 11x11 window.
    """
    return ssim_map(moments(x, y)).flatten(1).mean(1)


def si(x: Tensor, y: Tensor) -> Tensor:
    """Structure index of each image: the mean of `crrn.image.similarity.si_map`; arguments and result as of `ssim`."""
    return si_map(moments(x, y)).flatten(1).mean(1)


def ssim_r(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """SSIMr: the mean of the full image's SSIM map over the region where the reflection dominates (paper section 5.1).

    Args:
        x: (N, C, H, W) in [0, 1], H, W >= 11.
        y: the same shape.
        mask: (N, 1, H, W) bool.

    Returns:
        (N,); NaN where the mask is empty, or holds nothing but the border of 5 pixels that has no full window.
    """
    return mean_over(ssim_map(moments(x, y)), mask)


def si_r(x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """SIr: the mean of the full image's SI map over a mask; arguments and result as of `ssim_r`."""
    return mean_over(si_map(moments(x, y)), mask)


def mean_over(similarity: Tensor, mask: Tensor) -> Tensor:
    """Mean (N,) of a valid-region map (N, C, H-10, W-10) over a mask (N, 1, H, W) of the image; NaN where it is
    empty."""
    border = WINDOW // 2
    inside = mask[..., border:-border, border:-border].to(similarity.dtype)
    return (similarity.mean(1, keepdim=True) * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)


def gaussian_means(x: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """`ssim`, `si`, and with a mask `ssim_r` and `si_r`, in double precision, a strip of rows at a time: memory stays
    small on large images.

    Args:
        x: (N, C, H, W) in [0, 1], H, W >= 11.
        y: the same shape.
        mask: (N, 1, H, W) bool.

    Returns:
        {"ssim", "si"}, and with a mask {"ssim_r", "si_r"}: (N,) each; NaN as of `ssim_r`.

    Raises:
        ValueError: an image is smaller than the window, or the shapes differ.
    """
    height, width = x.shape[-2:]
    reach, border = WINDOW - 1, WINDOW // 2
    rows = max(1, height - reach)
    strip = max(1, STRIP_PIXELS["cpu" if x.device.type == "cpu" else "gpu"] // width)
    sums: dict[str, Tensor] = {}
    dominated = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for top in range(0, rows, strip):
        part = slice(top, top + strip + reach)
        statistics = moments(x[..., part, :].double(), y[..., part, :].double())
        inside = None if mask is None else mask[..., part, :][..., border:-border, border:-border].double()
        if inside is not None:
            dominated += inside.flatten(1).sum(1)
        for name, similarity in (("ssim", ssim_map(statistics)), ("si", si_map(statistics))):
            similarity = similarity.mean(1, keepdim=True)
            sums[name] = sums.get(name, 0) + similarity.flatten(1).sum(1)
            if inside is not None:
                sums[f"{name}_r"] = sums.get(f"{name}_r", 0) + (similarity * inside).flatten(1).sum(1)
    pixels = rows * (width - reach)
    return {name: total / (dominated if name.endswith("_r") else pixels) for name, total in sums.items()}


def ssim_uniform(x: Tensor, y: Tensor) -> Tensor:
    """SSIM with a 7x7 uniform window and sample covariance, mean over channels and valid pixels: scikit-image's
    default.

    Let s = x + y and d = x - y, with the window sums S, D, SS and DD. The two factors of SSIM are then
    (S^2 - D^2 + k1) / (S^2 + D^2 + k1) and (var_s - var_d + k2) / (var_s + var_d + k2). There is no cancellation where
    the images agree, so single precision gives the mean to about 1e-7. Window sums are sums of shifted slices, on a CPU
    for a strip of rows at a time.

    Args:
        x: (N, C, H, W) in [0, 1], H, W >= 7.
        y: the same shape.

    Returns:
        (N,), float64.

    Raises:
        ValueError: the images differ in shape or are smaller than the window.
    """
    if x.shape != y.shape:
        raise ValueError(f"images of shapes {tuple(x.shape)} and {tuple(y.shape)} cannot be compared")
    height, width = x.shape[-2:]
    if min(height, width) < UNIFORM_WINDOW:
        raise ValueError(f"an image of {height}x{width} is too small for a window of {UNIFORM_WINDOW}")
    rows = height - UNIFORM_WINDOW + 1
    strip = STRIP if x.device.type == "cpu" else rows
    x, y = real(x), real(y)
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for top in range(0, rows, strip):
        part = slice(top, top + strip + UNIFORM_WINDOW - 1)
        total += _uniform_map(x[..., part, :], y[..., part, :]).sum(3).sum((1, 2), dtype=torch.float64)
    return total / (x.shape[1] * rows * (width - UNIFORM_WINDOW + 1))


def _uniform_map(x: Tensor, y: Tensor) -> Tensor:
    n = UNIFORM_WINDOW**2
    k1, k2 = 2 * n * n * 0.01**2, 2 * (n - 1) * 0.03**2
    image, *scratch = x.new_empty(3, *x.shape)
    s, ss, d, dd = x.new_empty(4, *x.shape[:2], *(side - UNIFORM_WINDOW + 1 for side in x.shape[2:]))
    torch.add(x, y, out=image).sub_(1)  # centred on grey, for the precision of the variance; undone below
    _window_sums(image, scratch, out=s)
    _window_sums(image.square_(), scratch, out=ss)
    torch.sub(x, y, out=image)
    _window_sums(image, scratch, out=d)
    _window_sums(image.square_(), scratch, out=dd)
    ss.addcmul_(s, s, value=-1 / n).add_(k2)
    dd.addcmul_(d, d, value=-1 / n)
    s.add_(n).square_().add_(k1)
    d.square_()
    numerator = (s - d).mul_(ss - dd)
    return numerator.div_(s.add_(d).mul_(ss.add_(dd)))


def _window_sums(image: Tensor, scratch: list[Tensor], out: Tensor) -> None:
    """Sums over 7x7 windows, valid region: 7 = 1 + 2 + 2 + 2, along H, then along W."""
    pairs, rows = scratch[0][..., :-1, :], scratch[1][..., :-6, :]
    torch.add(image[..., :-1, :], image[..., 1:, :], out=pairs)
    torch.add(image[..., 6:, :], pairs[..., 4:-1, :], out=rows).add_(pairs[..., :-5, :]).add_(pairs[..., 2:-3, :])
    pairs = scratch[0][..., :-6, :-1]
    torch.add(rows[..., :-1], rows[..., 1:], out=pairs)
    torch.add(rows[..., 6:], pairs[..., 4:-1], out=out).add_(pairs[..., :-5]).add_(pairs[..., 2:-3])


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Multi-scale SSIM of each image (Wang 2003).

    There are five scales, each the 2x2 mean of the last. Their weights are .0448 .2856 .3001 .2363 .1333, on the
    contrast terms and, at the coarsest scale, on SSIM itself. Negative terms count as 0.

    Args:
        x: (N, C, H, W) in [0, 1], H, W >= 176, so that the window fits the coarsest scale.
        y: the same shape.

    Returns:
        (N,) in [0, 1]: the product of the powers of each scale's mean over channels and valid pixels.

    Raises:
        ValueError: the images are smaller than that or differ in shape.
    """
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    smallest = WINDOW * 2 ** (len(weights) - 1)
    if min(x.shape[-2:]) < smallest:
        raise ValueError(
            f"an image of {x.shape[-2]}x{x.shape[-1]} is too small for MS-SSIM: it needs {smallest} pixels"
        )
    x, y = real(x), real(y)
    product = torch.ones(len(x), dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(weights):
        statistics = moments(x, y)
        form = ssim_map if scale == len(weights) - 1 else si_map
        product = product * form(statistics).flatten(1).mean(1).clamp(min=0) ** weight
        x, y = (torch.nn.functional.avg_pool2d(image, 2) for image in (x, y))
    return product
