"""Gradients on the way from a baseline to the image: which way, in which direction, and over which regions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxcam.errors import MethodError
from onnxcam.methods.base import procedure
from onnxcam.methods.gradient import gradient
from onnxcam.methods.libraries import library
from onnxcam.methods.queries import Array, ModelQueries
from onnxcam.methods.settings import require_share

__all__ = ["guided_integrated_gradients", "important_direction_gradients", "xrai"]


@procedure("guided-ig", around=gradient, at_layer=False)
def guided_integrated_gradients(
    queries: ModelQueries, steps: int = 200, fraction: float = 0.25, deviation: float = 0.02, baseline: float = 0.0
) -> Array:
    """M = Σ_j ∂y/∂x at x_j ⊙ (x_{j+1} − x_j), a way from b to x on which the values with the least |∂y/∂x| go first.

    Kapishnikov et al., Guided Integrated Gradients: An Adaptive Path Method for Removing Noise, 2106.09788. Each of the
    *steps* brings the way nearer to x by the same L1 distance: the values with the smallest gradients, a share
    *fraction* of all, move first. No value is further than *deviation* from where it is on the straight line, as a
    share of the line; with 1 the way is free, with 0 it is that of integrated gradients. *baseline* b is in the
    tensor's own units. Each step needs the gradient of the last one, so *batch_size* has no effect.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="guided-ig", settings={"steps": 50})
    """
    require_share("guided-ig", fraction=fraction)
    if not 0 <= deviation <= 1:
        raise MethodError(f"the setting deviation of guided-ig is a share, from 0 to 1, not {deviation:g}")
    way = queries.x.astype(np.float64) - baseline
    done, total = np.zeros(way.shape), np.zeros(way.shape)  # the share of its way that each value has gone
    points = (baseline + done * way for _ in range(steps))
    for step, g in enumerate(queries.values(points, steps, in_turn=True), start=1):
        before = done.copy()
        _advance(done, np.abs(way), np.abs(g), step / steps, fraction, deviation)
        total += g * (done - before) * way
    return total


def _advance(done: Array, lengths: Array, slopes: Array, share: float, fraction: float, deviation: float) -> None:
    """Move *done* on, in place, until *share* of the sum of *lengths* is gone: the smallest *slopes* first."""
    low, high = max(share - deviation, 0.0), min(share + deviation, 1.0)
    np.maximum(done, low, out=done)
    total = lengths.sum()
    free = np.where(lengths > 0, slopes, np.inf)
    while (left := share * total - (lengths * done).sum()) > 1e-9 * total:
        free[done >= high] = np.inf
        chosen = (free <= np.quantile(free, fraction, method="lower")) & np.isfinite(free)
        room = float((lengths * (high - done))[chosen].sum())
        if room >= left:
            done[chosen] += left / room * (high - done[chosen])
            return
        done[chosen] = high


@procedure("idgi", around=gradient, at_layer=False)
def important_direction_gradients(queries: ModelQueries, steps: int = 32, baseline: float = 0.0) -> Array:
    """M = Σ_j (y(x_{j+1}) − y(x_j)) g_j² / |g_j|², g_j = ∂y/∂x at x_j, on the straight line from b to x.

    Yang et al., IDGI: A Framework to Eliminate Explanation Noise from Integrated Gradients, 2303.14242. The change of
    the score in a step is spread along the gradient alone, not along the line. The sum is y(x) − y(b), but for steps
    at whose start the gradient is zero. *baseline* b is in the tensor's own units.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="idgi", settings={"steps": 64})
    """
    way = queries.x - baseline
    points = (baseline + step / steps * way for step in range(steps + 1))
    total, before = np.zeros(way.shape), None
    for g, score in queries.values_and_scores(points, steps + 1):
        if before is not None and (size := float((before[0] ** 2).sum())) > 0:
            total += (score - before[1]) * before[0] ** 2 / size
        before = g, score
    return total


_SCALES, _SIGMA, _SMALLEST = (50, 100, 150, 250, 500, 1200), 0.8, 150
"""Felzenszwalb's segmentation in the authors' code: the scales, the blur, and the smallest segment in pixels."""


@procedure("xrai", around=gradient, at_layer=True, extra="perturbation", libraries=("skimage",))
def xrai(queries: ModelQueries, steps: int = 32, side: int = 224, spread: int = 5, least: int = 50) -> Array:
    """M = on s_k \\ (s_1 ∪ … ∪ s_{k−1}) the mean of A, s_k the segment for which it is largest, A = max_c of IG.

    Kapishnikov et al., XRAI: Better Attributions Through Regions, 1906.02825. IG is the mean of integrated gradients
    from the darkest and from the brightest value of the tensor, *steps* each. The segments are Felzenszwalb's at six
    scales, by scikit-image, of the image at *side* × *side* pixels; each is enlarged by *spread* pixels of the image.
    They overlap, and one that adds fewer than *least* pixels is left out. What no segment covers has its mean. The map
    is at the image's size.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="xrai", settings={"steps": 100, "batch_size": 16})
    """
    if len(queries.space) != 2:
        raise MethodError(f"xrai segments images, not {len(queries.space)} axes of space; use --method kernelshap")
    contribution, masks = _largest_channel(queries, steps).ravel(), _segments(queries, side, spread)
    found, free = np.zeros(contribution.shape), np.ones(contribution.shape, bool)
    sums, sizes = masks @ contribution, masks.sum(1)  # over what is free of each segment
    while (sizes >= least).any():
        best = np.argmax(np.where(sizes >= least, sums / np.maximum(sizes, 1), -np.inf))
        new = masks[best] & free
        found[new], free[new] = contribution[new].mean(), False
        sums, sizes = sums - masks[:, new] @ contribution[new], sizes - masks[:, new].sum(1)
    if free.any():
        found[free] = contribution[free].mean()
    return found.reshape(queries.space)


def _largest_channel(queries: ModelQueries, steps: int) -> Array:
    """Return integrated gradients from the darkest and the brightest value, their mean, the largest over channels."""
    ends = [float(queries.x.min()), float(queries.x.max())]

    def points() -> Iterator[Array]:
        for end in ends:
            for step in range(steps):
                yield end + (step + 0.5) / steps * (queries.x - end)

    total = np.zeros(queries.picture.shape)
    for place, g in enumerate(queries.values(points(), len(ends) * steps)):
        total += (queries.x - ends[place // steps]) * g / (len(ends) * steps)
    return queries.with_channels_last(total).max(-1)


def _segments(queries: ModelQueries, side: int, spread: int) -> Array:
    """Return the masks of the segments of the image at all scales, bool [segments, pixels]."""
    segmentation, transform = library("xrai", "skimage.segmentation"), library("xrai", "skimage.transform")
    x = queries.with_channels_last(queries.x).astype(np.float64)
    low, high = x.min(), x.max()
    scaled = 2 * (x - low) / (high - low) - 1 if high > low else np.zeros_like(x)
    image = transform.resize(scaled, (side, side), order=3, mode="constant", preserve_range=True, anti_aliasing=True)
    masks = []
    for scale in _SCALES:
        cells = segmentation.felzenszwalb(image, scale=scale, sigma=_SIGMA, min_size=_SMALLEST)
        cells = transform.resize(
            cells, queries.space, order=0, preserve_range=True, mode="constant", anti_aliasing=False
        ).astype(np.int64)
        masks += [_enlarged(cells == cell, spread).ravel() for cell in range(int(cells.max()) + 1)]
    return np.stack(masks)


def _enlarged(mask: Array, radius: int) -> Array:
    """Return *mask* with all pixels in a distance of at most *radius*."""
    import cv2

    apart = np.arange(-radius, radius + 1) ** 2
    disk = (apart[:, None] + apart <= radius**2).astype(np.uint8)
    return cv2.dilate(mask.astype(np.uint8), disk) > 0
