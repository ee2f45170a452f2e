"""KernelSHAP and LIME over superpixels, by the libraries shap and lime.

z in {0, 1}^d says which superpixels of the image are present; in x_z the others are covered. scikit-image computes the
superpixels, shap or lime the fit; the extra ``perturbation`` installs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from onnxcam.errors import MethodError
from onnxcam.methods.base import procedure
from onnxcam.methods.libraries import library
from onnxcam.methods.queries import Array, ModelQueries

__all__ = ["COMPACTNESS", "kernelshap", "lime", "superpixels"]

COMPACTNESS = 0.3
"""The weight of a superpixel's shape against its colours, which lie in [0, 1]."""


@procedure("kernelshap", around=None, at_layer=True, extra="perturbation", libraries=("shap", "skimage"))
def kernelshap(
    queries: ModelQueries, samples: int = 1000, segments: int = 50, baseline: float = 0.0, seed: int = 0
) -> Array:
    """M = φ_j on superpixel j: the φ that best fit y(x_z) ≈ y(x_0) + Σ φ_j z_j, each z weighted by the Shapley kernel.

    Lundberg & Lee, A Unified Approach to Interpreting Model Predictions, 1705.07874, π(z) = (d − 1) / (C(d, |z|) |z|
    (d − |z|)), by the library shap. φ are Shapley values, exact if *samples* reaches 2^d; their sum is always y(x) −
    y(x_0). *segments* is the approximate number of superpixels; covered ones are filled with *baseline*, in the
    tensor's own units.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="kernelshap", settings={"segments": 30})
    """
    shap = library("kernelshap", "shap")
    cells, count = superpixels("kernelshap", queries, segments)
    if samples < min(2 * count, 2**count - 2):
        raise MethodError(
            f"kernelshap cannot fit {count} superpixels to {samples} samples; take samples={2 * count} or more, or "
            "fewer segments"
        )
    with _global_seed(seed):
        explainer = shap.KernelExplainer(
            lambda z: queries.scores(_covered(queries, cells, z, baseline), len(z)), _zero(count)
        )
        values = explainer.shap_values(_zero(count) + 1, nsamples=samples, l1_reg=False, silent=True)
    return np.asarray(values).reshape(-1)[cells]


@procedure("lime", around=None, at_layer=True, extra="perturbation", libraries=("lime", "skimage"))
def lime(queries: ModelQueries, samples: int = 1000, segments: int = 50, baseline: float = 0.0, seed: int = 0) -> Array:
    """M = w_j on superpixel j: w of the ridge regression (α = 1) of p(x_z) on z, each z weighted by π(z).

    Ribeiro et al., "Why Should I Trust You?": Explaining the Predictions of Any Classifier, 1602.04938, by the library
    lime, with its defaults for images: z uniform, except the first, which is the whole image, π(z)² = exp(−D² / 0.25²),
    D the cosine distance of z from the first. p is the class's probability. Superpixels as for `kernelshap`.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="lime", settings={"samples": 2000, "seed": 1})
    """
    base = library("lime", "lime.lime_base")
    cells, count = superpixels("lime", queries, segments)
    z = np.random.default_rng(seed).integers(0, 2, (samples, count))
    z[0] = 1
    p = queries.probabilities(_covered(queries, cells, z, baseline), samples)
    explainer = base.LimeBase(lambda distance: np.sqrt(np.exp(-((distance / 0.25) ** 2))), random_state=seed)
    distances = 1 - np.sqrt(z.mean(1))  # from all ones, by the cosine
    _, found, _, _ = explainer.explain_instance_with_data(z, p[:, None], distances, 0, count, feature_selection="none")
    weights = dict(found)
    return np.asarray([weights[j] for j in range(count)])[cells]


def superpixels(method: str, queries: ModelQueries, segments: int) -> tuple[Array, int]:
    """Return the superpixel of each pixel, int [*space] from 0, and their number; SLIC segments the tensor.

    A signal is an image of one row.
    """
    segmentation = library(method, "skimage.segmentation")
    x = queries.channels_last
    x = x[None] if x.ndim == 2 else x
    low, high = x.min(), x.max()
    scaled = (x - low) / (high - low) if high > low else np.zeros_like(x)
    settings = {"n_segments": segments, "compactness": COMPACTNESS, "sigma": 1, "start_label": 0}
    cells = segmentation.slic(scaled.astype(np.float64), **settings, channel_axis=-1, convert2lab=False)
    return cells.reshape(queries.channels_last.shape[:-1]), int(cells.max()) + 1


def _covered(queries: ModelQueries, cells: Array, z: Array, baseline: float) -> Iterator[Array]:
    """Yield x_z for each row of *z*."""
    for row in z:
        yield queries.masked(np.asarray(row, np.float32)[cells], baseline)


def _zero(count: int) -> Array:
    return np.zeros((1, count))


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which shap uses, and restore its state afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
