"""Gradients at many points: around the image (noise), or between a baseline and the image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxcam.methods.base import procedure
from onnxcam.methods.context import MapContext
from onnxcam.methods.gradient import gradient
from onnxcam.methods.queries import Array, ModelQueries
from onnxcam.methods.settings import ImageSet

__all__ = ["expected_gradients", "integrated_gradients", "smoothgrad", "smoothgrad_cam_plus_plus", "vargrad"]

_NONE = ImageSet()


@procedure("smoothgrad", around=gradient, at_layer=False, sensitivity=True, additive=True)
def smoothgrad(queries: ModelQueries, samples: int = 25, noise: float = 0.15, seed: int = 0) -> Array:
    """M = mean of ∂y/∂x at x + ε, ε normal with σ = noise (max x − min x).

    Smilkov et al., SmoothGrad: removing noise by adding noise, 1706.03825.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="smoothgrad", settings={"samples": 50})
    """
    return _moments(queries, samples, noise, seed)[0]


@procedure("vargrad", around=gradient, at_layer=False, sensitivity=True)
def vargrad(queries: ModelQueries, samples: int = 25, noise: float = 0.15, seed: int = 0) -> Array:
    """M = variance of ∂y/∂x at x + ε, ε normal with σ = noise (max x − min x).

    Adebayo et al., Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values, 1810.03307.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="vargrad")
    """
    return _moments(queries, samples, noise, seed)[1]


@procedure("integrated-gradients", around=gradient, at_layer=False, additive=True)
def integrated_gradients(queries: ModelQueries, steps: int = 32, baseline: float = 0.0) -> Array:
    """M = (x − b) ⊙ ∫₀¹ ∂y/∂x at b + t (x − b) dt, by the midpoint rule; its sum is y(x) − y(b).

    Sundararajan et al., Axiomatic Attribution for Deep Networks, 1703.01365. *baseline* b is in the tensor's own units.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="integrated-gradients", settings={"steps": 64})
    """
    way = queries.x - baseline
    points = (baseline + (step + 0.5) / steps * way for step in range(steps))
    return way * sum(queries.values(points, steps)) / steps


@procedure("expected-gradients", around=gradient, at_layer=False)
def expected_gradients(
    queries: ModelQueries, baselines: Array | ImageSet = _NONE, samples: int = 100, seed: int = 0
) -> Array:
    """M = mean of (x − b) ⊙ ∂y/∂x at b + t (x − b), b drawn from *baselines*, t uniform in [0, 1].

    Erion et al., Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients, 1906.10670: integrated gradients averaged over baselines; the sum tends to y(x) − mean y(b).
    *baselines* is a folder of images, a file, a list of these, or an array of tensors [B, …]; the paper uses the
    training images. Without, they are blurred versions of the image, σ uniform between 1/20 and 1/4 of its sides
    (after Sturmfels et al., Distill 2020). These need no data and, unlike a constant colour, miss no colour; but then
    the map shows the contribution of detail, not that of colour.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="expected-gradients", settings={"baselines": "train/"})
    """
    rng, weights, total = np.random.default_rng(seed), [], np.zeros(queries.picture.shape)

    def points() -> Iterator[Array]:
        for _ in range(samples):
            baseline = _drawn(queries, np.asarray(baselines), rng)
            weights.append(queries.x - baseline)
            yield baseline + rng.random() * weights[-1]

    for g in queries.values(points(), samples):
        total += weights.pop(0) * g / samples
    return total


def _drawn(queries: ModelQueries, baselines: Array, rng: np.random.Generator) -> Array:
    """Return one of *baselines*; without any, the blurred image."""
    if len(baselines):
        return baselines[rng.integers(len(baselines))].astype(np.float32)
    return queries.blurred(rng.uniform(1 / 20, 1 / 4))


def _activation_and_gradient(context: MapContext) -> ir.Value:
    """Emit A and ∂, [N, 2 K, *space]."""
    return context.op.Concat(context.activation(), context.activation_gradient(), axis=1)


@procedure("smoothgradcam++", around=_activation_and_gradient, at_layer=True, uses_layer=True)
def smoothgrad_cam_plus_plus(queries: ModelQueries, samples: int = 25, noise: float = 0.15, seed: int = 0) -> Array:
    """L = ReLU(Σ_k w_k A_k), w_k = Σ_ij α_k ReLU(D¹_k), α_k = D²_k / (2 D²_k + D³_k Σ_ij A_k).

    Omeiza et al., Smooth Grad-CAM++, 1908.01224. Dⁿ is the mean of ∂ⁿ at x + ε, ε normal with σ = noise (max x −
    min x); A is that of x itself. As in Grad-CAM++, the factor exp(y) is left out, and α_k is zero where D² is zero.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="smoothgradcam++")
    """
    a = np.split(queries.value, 2)[0]
    d1 = d2 = d3 = np.zeros(a.shape)
    for value in queries.values(_noisy(queries, samples, noise, seed), samples):
        g = np.split(value, 2)[1]
        d1, d2, d3 = d1 + g / samples, d2 + g**2 / samples, d3 + g**3 / samples
    space = tuple(range(1, a.ndim))
    below = 2 * d2 + d3 * a.sum(axis=space, keepdims=True)
    alpha = np.divide(d2, below, out=np.zeros(a.shape), where=below != 0)
    weights = (alpha * np.maximum(d1, 0)).sum(axis=space)
    return np.maximum(np.tensordot(weights, a, 1), 0)


def _noisy(queries: ModelQueries, samples: int, noise: float, seed: int) -> Iterator[Array]:
    """Yield *samples* times x + ε."""
    rng, x = np.random.default_rng(seed), queries.x
    sigma = noise * (x.max() - x.min())
    for _ in range(samples):
        yield x + sigma * rng.standard_normal(x.shape)


def _moments(queries: ModelQueries, samples: int, noise: float, seed: int) -> tuple[Array, Array]:
    """Return mean and variance of the gradient around x, by Welford's updates."""
    mean = spread = np.zeros(queries.picture.shape)
    for count, g in enumerate(queries.values(_noisy(queries, samples, noise, seed), samples), start=1):
        off = g - mean
        mean = mean + off / count
        spread = spread + off * (g - mean)
    return mean, spread / samples
