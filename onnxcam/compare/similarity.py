"""Similarity of two score vectors or of two maps, as one number; NaN if undefined."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxcam.metrics.base import Array
from onnxcam.metrics.sanity import rank_correlation

__all__ = [
    "FLOOR",
    "SHARE",
    "cosine",
    "iou",
    "is_constant",
    "kl",
    "mass_shift",
    "peak_distance",
    "pearson",
    "spearman",
    "ssim",
    "strength",
]

FLOOR = 1e-6
"""Lower bound of the candidate's probabilities in KL; an int8 softmax rounds all below 1/512 to 0."""
SHARE = 0.2
"""Fraction of the pixels that `iou` compares."""


def cosine(a: Array, b: Array) -> float:
    """Cosine similarity a · b / (|a| |b|) of two vectors [K]; NaN if one is zero.

    Example:
        >>> cosine(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
        0.0
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    length = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / length if length > 0 else math.nan


def kl(p: Array, q: Array, exclusive: bool = True) -> float:
    """Kullback-Leibler divergence KL(p ‖ q) = Σ p ln(p / q) of two probability vectors [K], in nats.

    p is the reference, q the candidate. q is clipped to at least `FLOOR`, and both are normalised to a sum of 1, which
    integer rounding can break. If the classes do not exclude each other, the result is the sum of the binary
    divergences of all classes.

    Example:
        >>> round(kl(np.array([0.5, 0.5]), np.array([0.25, 0.75])), 4)
        0.1438
    """
    p, q = p.astype(np.float64), np.clip(q.astype(np.float64), FLOOR, 1)
    if exclusive and len(p) > 1:
        return _divergence(p / p.sum(), q / q.sum()) if p.sum() > 0 else math.nan
    return _divergence(p, q) + _divergence(1 - p, np.maximum(1 - q, FLOOR))


def _divergence(p: Array, q: Array) -> float:
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def pearson(a: Array, b: Array) -> float:
    """Pearson correlation of two maps [h, w]; NaN if one is constant.

    Example:
        >>> round(pearson(np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 4.0, 6.0]])), 12)
        1.0
    """
    if is_constant(a) or is_constant(b):
        return math.nan
    x, y = (heat.ravel().astype(np.float64) - heat.mean(dtype=np.float64) for heat in (a, b))
    return cosine(x, y)


def spearman(a: Array, b: Array) -> float:
    """Spearman rank correlation of two maps [h, w]; equal pixels get their mean rank. NaN if one is constant.

    Example:
        >>> spearman(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 4.0, 9.0]]))
        1.0
    """
    return math.nan if is_constant(a) or is_constant(b) else rank_correlation(a, b)


def ssim(a: Array, b: Array, data_range: float) -> float:
    """Mean structural similarity (SSIM) of two maps [h, w] or [d, h, w] whose values span *data_range*.

    Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004, equation 13: in
    Gaussian windows of 11 pixels a side, σ = 1.5, K₁ = 0.01, K₂ = 0.03; windows that cross the border are ignored. NaN
    for maps smaller than a window.

    Example:
        >>> ssim(np.eye(16), np.eye(16), 1.0)
        1.0
    """
    radius = 5
    if min(a.shape) <= 2 * radius or not data_range > 0:
        return math.nan
    inside = (slice(radius, -radius),) * a.ndim

    def mean(x: Array) -> Array:
        return _gaussian(x, 2 * radius + 1, 1.5)[inside]

    x, y = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = mean(x), mean(y)
    product, squares = mx * my, mx * mx + my * my
    covariance, variances = mean(x * y) - product, mean(x * x + y * y) - squares
    found = ((2 * product + c1) * (2 * covariance + c2)) / ((squares + c1) * (variances + c2))
    return float(found.mean())


def _gaussian(x: Array, side: int, sigma: float) -> Array:
    """Return *x* smoothed along each axis by a Gaussian of *side* cells."""
    import cv2

    if x.ndim == 2:
        return np.asarray(cv2.GaussianBlur(x, (side, side), sigma))
    from scipy.ndimage import correlate1d

    kernel = cv2.getGaussianKernel(side, sigma).ravel()
    for axis in range(x.ndim):
        x = correlate1d(x, kernel, axis)
    return x


def iou(a: Array, b: Array, share: float = SHARE) -> float:
    """Intersection over union of the top *share* of pixels of two maps [h, w] ≥ 0; NaN if one map is zero.

    Pixels that tie with the smallest selected one are included; zero pixels never are.

    Example:
        >>> iou(np.array([[4.0, 3.0, 2.0, 1.0]]), np.array([[4.0, 2.0, 3.0, 1.0]]), share=0.5)
        0.3333333333333333
    """
    top, other = _top(a, share), _top(b, share)
    if not (top.any() and other.any()):
        return math.nan
    return float((top & other).sum() / (top | other).sum())


def _top(heat: Array, share: float) -> Array:
    count = max(1, round(share * heat.size))
    least = np.partition(heat.ravel(), -count)[-count]
    top: Array = (heat >= least) & (heat > 0)
    return top


def peak_distance(a: Array, b: Array, spacing: Sequence[float] | None = None) -> float:
    """Distance of the peaks of two maps, in units of *spacing*, the distance of neighbouring pixels on each axis.

    If a map has several equal peaks, the nearest two count.

    Example:
        >>> peak_distance(np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0]]))
        2.0
    """
    from scipy.ndimage import distance_transform_edt

    away = distance_transform_edt(b < b.max(), sampling=spacing)
    return float(away[a == a.max()].min())


def mass_shift(a: Array, b: Array, spacing: Sequence[float] | None = None) -> float:
    """Distance of the centres of mass of two maps ≥ 0, in units of *spacing*; NaN if one map is zero.

    Example:
        >>> mass_shift(np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 1.0]]))
        1.5
    """
    return math.hypot(*np.subtract(_centre(a), _centre(b)) * (1.0 if spacing is None else np.asarray(spacing)))


def _centre(heat: Array) -> Array:
    total = heat.sum(dtype=np.float64)
    if not total > 0:
        return np.full(heat.ndim, math.nan)
    others = (tuple(other for other in range(heat.ndim) if other != axis) for axis in range(heat.ndim))
    means = (heat.sum(axes, dtype=np.float64) for axes in others)
    return np.array([mean @ np.arange(len(mean)) / total for mean in means])


def strength(a: Array, b: Array) -> float:
    """Ratio min(Σa, Σb) / max(Σa, Σb) of the total evidence of two maps [h, w] ≥ 0; NaN if both are zero.

    Example:
        >>> strength(np.array([[1.0, 3.0]]), np.array([[1.0, 0.0]]))
        0.25
    """
    low, high = sorted(float(heat.sum(dtype=np.float64)) for heat in (a, b))
    return low / high if high > 0 else math.nan


def is_constant(heat: Array) -> bool:
    """Whether a map is constant."""
    return bool(heat.size == 0 or heat.min() == heat.max())
