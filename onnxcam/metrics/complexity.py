"""Complexity: does the map concentrate on few pixels?"""

from __future__ import annotations

import numpy as np

from onnxcam.metrics.base import Array, Case, metric

__all__ = ["sparseness"]


def _heat(case: Case) -> tuple[Array]:
    return (case.heat,)


@metric("sparseness", higher=True, takes=_heat)
def sparseness(heat: Array) -> float:
    """The Gini index G = Σ_k (2 k − d − 1) v_k / (d Σ v), v the d values |L| in ascending order.

    Chalasani et al., Concise Explanations of Neural Networks using Adversarial Training, 1810.06583. 0: all
    pixels are equal; near 1: one pixel holds everything. 0 for a map of zeros.

    Args:
        heat: Map [h, w] at the tensor's size.

    Example:
        >>> sparseness(np.array([[0.0, 0.0, 0.0, 1.0]]))
        0.75
    """
    values = np.sort(np.abs(heat.ravel().astype(np.float64)))
    total, count = values.sum(), values.size
    return float(((2 * np.arange(1, count + 1) - count - 1) * values).sum() / (count * total)) if total > 0 else 0.0
