"""Localisation: does the map lie on the object? Measured at the size of the image, against a mask or boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxcam.media import heatmap
from onnxcam.media.components import components
from onnxcam.metrics.base import Array, Case, metric

__all__ = ["box_error", "box_iou", "energy_pointing", "pointing_game"]


def _on_mask(case: Case) -> tuple[Array, Array]:
    assert case.truth is not None
    return case.shown, case.truth.mask


def _on_boxes(case: Case) -> tuple[Array, Sequence[Sequence[float]]]:
    assert case.truth is not None
    return case.shown, case.truth.boxes


@metric("pointing-game", higher=True, takes=_on_mask, needs_truth=True)
def pointing_game(heat: Array, mask: Array, *, tolerance: int = 15) -> float:
    """1 if the peak of the map is closer than *tolerance* pixels to the object, else 0.

    Zhang et al., Top-down Neural Attention by Excitation Backprop, 1608.00507; the tolerance of 15 pixels is
    TorchRay's. With a tolerance of 0 or 1 the peak must lie on the object. 0 for a map of zeros.

    Args:
        heat: Map [H, W] at the size of the image; of a volume [D, H, W].
        mask: Mask of the object, of the same shape.
        tolerance: Tolerance in pixels of the image.

    Example:
        >>> pointing_game(np.array([[0.0, 1.0]]), np.array([[False, True]]))
        1.0
    """
    if not heat.max(initial=0) > 0:
        return 0.0
    peak = np.unravel_index(int(np.argmax(heat)), heat.shape)
    distances = ((np.argwhere(mask) - peak) ** 2).sum(axis=1)
    return float(distances.min() < max(tolerance, 1) ** 2)


@metric("energy-pointing", higher=True, takes=_on_mask, needs_truth=True)
def energy_pointing(heat: Array, mask: Array) -> float:
    """E = Σ_{object} L / Σ L: fraction of the map on the object.

    Wang et al., Score-CAM: Score-WeightedLayer Visual Explanations for Convolutional Neural Networks, 1910.01279: the
    energy-based pointing game. 0 for a map of zeros.

    Args:
        heat: Map L ≥ 0 [H, W] at the size of the image.
        mask: Mask of the object, bool [H, W].

    Example:
        >>> energy_pointing(np.array([[1.0, 3.0]]), np.array([[False, True]]))
        0.75
    """
    total = heat.sum(dtype=np.float64)
    return float(heat[mask].sum(dtype=np.float64) / total) if total > 0 else 0.0


@metric("box-iou", higher=True, takes=_on_boxes, needs_truth=True)
def box_iou(heat: Array, boxes: Sequence[Sequence[float]], *, threshold: float = 0.15) -> float:
    """IoU = |B ∩ T| / |B ∪ T|; B is the box of the map, T the best matching ground-truth box.

    Zhou et al., Learning Deep Features for Discriminative Localization, 1512.04150, section 3.2: B surrounds
    the largest connected component above a fraction of the map's maximum (20 % in that paper; 15 % here and in
    Grad-CAM's, 1610.02391). For masks, T is the box around a connected component.

    Args:
        heat: Map [H, W] at the size of the image.
        boxes: Ground-truth boxes (x1, y1, x2, y2) in pixels; x2 and y2 are exclusive. On other numbers of axes, the
            starts and then the ends, the last axis first.
        threshold: Threshold as a fraction of the maximum.

    Example:
        >>> box_iou(np.array([[0.0, 1.0, 1.0]]), [(1, 0, 2, 1)])
        0.5
    """
    found = _largest_part(heat, threshold)
    return 0.0 if found is None else max(_iou(found, box) for box in boxes)


@metric("box-error", higher=False, takes=_on_boxes, needs_truth=True)
def box_error(heat: Array, boxes: Sequence[Sequence[float]], *, threshold: float = 0.15, overlap: float = 0.5) -> float:
    """0 if the box of the map has IoU > *overlap* with a ground-truth box, else 1.

    The localisation error of ILSVRC (1409.0575), as Zhou et al., 1512.04150, measure CAM with it. Only the
    position counts, not whether the model predicts the right class.

    Example:
        >>> box_error(np.array([[0.0, 1.0, 1.0]]), [(1, 0, 3, 1)])
        0.0
    """
    return float(box_iou(heat, boxes, threshold=threshold) <= overlap)


def _largest_part(heat: Array, threshold: float) -> Sequence[float] | None:
    """Return the box around the largest connected part above *threshold* of the maximum; None for a map of zeros."""
    if heat.ndim == 2:
        return heatmap.box(heat, threshold)
    top = float(heat.max(initial=0))
    parts = components(heat >= threshold * top) if top > 0 else []
    return max(parts, key=lambda part: part[1])[0] if parts else None


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    axes = len(a) // 2
    low, high = np.maximum(a[:axes], b[:axes]), np.minimum(a[axes:], b[axes:])
    both = np.maximum(high - low, 0).prod()
    return float(both / (_volume(a) + _volume(b) - both))


def _volume(box: Sequence[float]) -> float:
    axes = len(box) // 2
    return float(np.subtract(box[axes:], box[:axes]).prod())
