"""Changes of the score under perturbation: covered parts of the image or of a layer, channels as masks or removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import comb, prod

import numpy as np
import onnx_ir as ir

from onnxcam.errors import MethodError
from onnxcam.media.resample import resized
from onnxcam.methods.base import procedure
from onnxcam.methods.context import MapContext, layer_value
from onnxcam.methods.libraries import library
from onnxcam.methods.queries import Array, ModelQueries
from onnxcam.methods.settings import require_share
from onnxcam.numbers import MANY
from onnxcam.targets.scores import softmax

__all__ = [
    "ablationcam",
    "drise",
    "iscam",
    "occlusion",
    "recipro_cam",
    "rise",
    "scorecam",
    "sobol",
    "sscam",
]


@procedure("occlusion", around=None, at_layer=True, additive=True)
def occlusion(queries: ModelQueries, patch: float = 0.2, stride: float = 0.1, baseline: float = 0.0) -> Array:
    """M = at each pixel the mean of y(x) − y(x covered by a patch), over the patches that cover the pixel.

    Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, 1311.2901. *patch* and *stride* are shares of
    each side of the image; a patch is filled with *baseline*, in the tensor's own units. M is signed, at the image's
    size.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="occlusion", settings={"patch": 0.1, "stride": 0.05})
    """
    require_share("occlusion", patch=patch, stride=stride)
    windows = [_windows(length, patch, stride) for length in queries.space]
    if (count := prod(map(len, windows))) > MANY:
        raise MethodError(f"the setting stride of occlusion makes {count} patches, more than {MANY}; take a larger one")
    patches = list(product(*windows))
    drops = queries.score - queries.scores((_covered(queries, where, baseline) for where in patches), len(patches))
    total, covering = np.zeros(queries.space), np.zeros(queries.space)
    for where, drop in zip(patches, drops, strict=True):
        total[where] += drop
        covering[where] += 1
    return total / np.maximum(covering, 1)


def _windows(length: int, patch: float, stride: float) -> list[slice]:
    """Return the positions of patches along an axis; the last one ends with the axis."""
    size, step = (max(1, round(share * length)) for share in (patch, stride))
    starts = dict.fromkeys([*range(0, length - size, step), length - size])
    return [slice(start, start + size) for start in starts]


def _covered(queries: ModelQueries, where: tuple[slice, ...], baseline: float) -> Array:
    mask = np.ones(queries.space, np.float32)
    mask[where] = 0
    return queries.masked(mask, baseline)


@procedure("rise", around=None, at_layer=True)
def rise(queries: ModelQueries, samples: int = 1000, cells: int = 7, keep: float = 0.5, seed: int = 0) -> Array:
    """M = Σ_i p(x ⊙ M_i) M_i / (samples · keep), p the class's probability, M_i random masks.

    Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, 1806.07421. A mask is a grid of
    *cells* a side, each 1 with probability *keep*, enlarged linearly to one cell more than the image, and cropped at a
    random position. M has the image's size. The paper uses 4,000 masks for VGG-16 and 8,000 for ResNet-50.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="rise", settings={"samples": 4000})
    """
    require_share("rise", keep=keep)
    return _mean_mask(queries, queries.probabilities, samples, cells, keep, seed)


@procedure("drise", around=None, at_layer=True, needs_detections=True)
def drise(queries: ModelQueries, samples: int = 1000, cells: int = 7, keep: float = 0.5, seed: int = 0) -> Array:
    """M = Σ_i s_i M_i / (samples · keep), s_i = max_j IoU(b, b_j) cos(p, p_j) o_j, M_i random masks as in RISE.

    Petsiuk et al., Black-box Explanation of Object Detectors via Saliency Maps, 2006.03204. b and p are the box and the
    class probabilities of the target detection; b_j, p_j and the objectness o_j are those of all boxes that the model
    proposes for x ⊙ M_i. Where a model has no objectness, o_j is the largest of its class probabilities: a box that
    the model proposes with no certainty is not similar to a detection. The paper uses 5,000 masks of 16 cells a side,
    for large images: cells that are much smaller than an object leave nothing to detect.

    Example:
        >>> onnxcam.explain("yolo.onnx", "street.jpg", method="drise", target="detection=0", settings={"samples": 5000})
    """
    require_share("drise", keep=keep)
    return _mean_mask(queries, queries.similarities, samples, cells, keep, seed)


def _mean_mask(
    queries: ModelQueries,
    weigh: Callable[[Iterator[Array], int], Array],
    samples: int,
    cells: int,
    keep: float,
    seed: int,
) -> Array:
    """Return the sum of random masks, each times the weight of the masked image, over *samples* times *keep*."""
    masked = (queries.masked(mask) for mask in _random_masks(queries.space, samples, cells, keep, seed))
    weights = weigh(masked, samples)
    total = np.zeros(queries.space)
    for weight, mask in zip(weights, _random_masks(queries.space, samples, cells, keep, seed), strict=True):
        total += weight * mask  # generated again instead of kept in memory
    return total / (samples * keep)


def _random_masks(space: tuple[int, ...], samples: int, cells: int, keep: float, seed: int) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    cell = [-(-length // cells) for length in space]
    for _ in range(samples):
        grid = (rng.random([cells] * len(space)) < keep).astype(np.float32)
        large = resized(grid, [(cells + 1) * length for length in cell])
        corner = rng.integers(0, cell)
        yield large[tuple(slice(at, at + length) for at, length in zip(corner, space, strict=True))]


@procedure("sobol", around=None, at_layer=True, extra="perturbation", libraries=("scipy",))
def sobol(queries: ModelQueries, designs: int = 32, cells: int = 8, baseline: float = 0.0) -> Array:
    """M_i = Σ_n (y(x ⊙ A_n) − y(x ⊙ C_n))² / (2 designs · Var y(x ⊙ A)), C_n the mask A_n with cell i from mask B_n.

    Fel et al., Look at the Variance! Efficient Black-box Explanations with Sobol-based Sensitivity Analysis,
    2111.04138: the total Sobol index of each cell by Jansen's estimator, the share of the variance of y that a cell
    causes, alone and with others. The masks A_n and B_n are points of a Sobol sequence in [0, 1], by SciPy; *designs*
    is a power of two. What a mask takes away is filled with *baseline*, in the tensor's own units. The map is
    [*cells*, *cells*] and has no sign. An image takes (cells² + 1) designs runs, 2,080 by default.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="sobol", settings={"cells": 7, "batch_size": 32})
    """
    count, space = cells ** len(queries.space), [cells] * len(queries.space)
    if designs < 2 or designs & (designs - 1):
        raise MethodError(f"the setting designs of sobol is a power of two, 2 or more, not {designs}")
    qmc = library("sobol", "scipy.stats.qmc")
    if 2 * count > qmc.Sobol.MAXDIM:
        raise MethodError(
            f"the setting cells of sobol makes {count} cells, more than {qmc.Sobol.MAXDIM // 2}; take fewer"
        )
    a, b = np.split(qmc.Sobol(2 * count, scramble=False).random(designs), 2, axis=1)
    places = [np.arange(length) * cells // length for length in queries.space]

    def masked() -> Iterator[Array]:
        for cell in (None, *range(count)):
            for mine, other in zip(a, b, strict=True):
                mask = mine if cell is None else np.where(np.arange(count) == cell, other, mine)
                yield queries.masked(mask.reshape(space)[np.ix_(*places)].astype(np.float32), baseline)

    scores = queries.scores(masked(), (count + 1) * designs).reshape(count + 1, designs)
    spread = scores[0].var(ddof=1)
    found: Array = ((scores[1:] - scores[0]) ** 2).sum(1) / (2 * designs * (spread or 1))
    return found.reshape(space)


def _activation(context: MapContext) -> ir.Value:
    """Emit A, [N, K, *space]."""
    return context.activation()


@procedure("scorecam", around=_activation, at_layer=True, uses_layer=True)
def scorecam(queries: ModelQueries) -> Array:
    """L = ReLU(Σ_k α_k A_k), α = softmax over k of y(x ⊙ H_k) − y(0), H_k = A_k enlarged and scaled to [0, 1].

    Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, 1910.01279,
    algorithm 1, y before softmax. The baseline's score cancels in the softmax over channels. The mask of a constant
    channel is zero.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="scorecam", settings={"batch_size": 32})
    """
    a = queries.value
    scores = queries.scores((queries.masked(_mask(channel, queries.space)) for channel in a), len(a))
    return _weighted(softmax(scores), a)


@procedure("sscam", around=_activation, at_layer=True, uses_layer=True)
def sscam(queries: ModelQueries, samples: int = 10, noise: float = 2.0, seed: int = 0) -> Array:
    """L = ReLU(Σ_k α_k A_k), α = softmax over k of the mean of y(x ⊙ (H_k + ε)) − y(0), ε normal with σ = noise.

    Wang et al., SS-CAM: Smoothed Score-CAM for Sharper Visual Feature Localization, 2006.14255; H_k as in Score-CAM, ε
    independent for each pixel. It needs *samples* passes for each channel; the authors' code uses 35.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="sscam", settings={"samples": 35, "batch_size": 32})
    """
    a, rng = queries.value, np.random.default_rng(seed)

    def noisy() -> Iterator[Array]:
        for channel in a:
            mask = _mask(channel, queries.space)
            for _ in range(samples):
                yield queries.masked(mask + noise * rng.standard_normal(mask.shape, np.float32))

    return _weighted(softmax(_means(queries, noisy(), len(a), samples)), a)


@procedure("iscam", around=_activation, at_layer=True, uses_layer=True)
def iscam(queries: ModelQueries, samples: int = 10) -> Array:
    """L = ReLU(Σ_k α_k A_k), α = softmax over k of the mean over i of y(M_ki) − y(0), M_ki = Σ_{j<i} j / N H_k ⊙ x.

    Naidu et al., IS-CAM: Integrated Score-CAM for axiomatic-based explanations, 2010.03023; H_k as in Score-CAM, i from
    1 to N = *samples*. The masks are cumulative, as in other implementations: the last one is (N − 1) / 2 times H_k.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="iscam", settings={"batch_size": 32})
    """
    a, shares = queries.value, [i * (i - 1) / (2 * samples) for i in range(1, samples + 1)]
    masks = (_mask(channel, queries.space) for channel in a)
    parts = (queries.masked(share * mask) for mask in masks for share in shares)
    return _weighted(softmax(_means(queries, parts, len(a), samples)), a)


def _means(queries: ModelQueries, masked: Iterator[Array], channels: int, samples: int) -> Array:
    """Return the mean score of the *samples* masked images of each channel."""
    return queries.scores(masked, channels * samples).reshape(channels, samples).mean(axis=1)


def _mask(channel: Array, size: tuple[int, ...]) -> Array:
    large = resized(channel, size)
    low, high = large.min(), large.max()
    return (large - low) / (high - low) if high > low else np.zeros_like(large)


def _weighted(weights: Array, a: Array) -> Array:
    return np.maximum(np.tensordot(weights, a, 1), 0)


@procedure("ablationcam", around=layer_value, at_layer=True, uses_layer=True, uses_head=True)
def ablationcam(queries: ModelQueries) -> Array:
    """L = ReLU(Σ_k w_k A_k), w_k = (y − y_k) / |y|, y_k the score with A_k set to zero.

    Desai & Ramaswamy, Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free Localization,
    WACV 2020 (not on arXiv; it builds on Grad-CAM, 1610.02391). The paper divides by y and assumes y > 0; |y| keeps
    the sign of the weights where y < 0. Only the network behind the layer is run.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="ablationcam", layer="layer4")
    """
    a, y = queries.activation, queries.score
    ablated = queries.head_scores((_without(channel, a.shape) for channel in range(len(a))), len(a))
    return _weighted((y - ablated) / (abs(y) or 1), a)


def _without(channel: int, shape: tuple[int, ...]) -> Array:
    factor = np.ones((shape[0], *[1] * (len(shape) - 1)), np.float32)
    factor[channel] = 0
    return factor


@procedure("recipro-cam", around=layer_value, at_layer=True, uses_layer=True, uses_head=True)
def recipro_cam(queries: ModelQueries, kernel: int = 3) -> Array:
    """M = y(A ⊙ m_n) − min over all n, at cell n: m_n is a Gaussian of *kernel* cells a side around n, and 0 elsewhere.

    Byun & Lee, Recipro-CAM: Fast gradient-free visual explanations for convolutional neural networks, 2209.14074; for
    transformers ViT-ReciproCAM, 2310.02588: the masks do not change class and register tokens. The Gaussian is
    binomial: (1, 2, 1) / 4 along each axis for *kernel* 3, one cell for 1. y is the score before softmax, as in
    OpenVINO XAI; the authors' code takes it after softmax. The network behind the layer runs once for each cell.

    Example:
        >>> onnxcam.explain("resnet50.onnx", "cat.jpg", method="recipro-cam", settings={"batch_size": 49})
    """
    if not kernel % 2:
        raise MethodError(f"the setting kernel of recipro-cam is odd, so that a cell can be its centre, not {kernel}")
    space = queries.activation.shape[1:]
    cells = list(np.ndindex(*space))
    scores = queries.head_scores((_around(cell, space, kernel)[None] for cell in cells), len(cells))
    return (scores - scores.min()).reshape(space)


def _around(cell: tuple[int, ...], space: tuple[int, ...], kernel: int) -> Array:
    """Return a Gaussian around *cell*: the product of binomial coefficients along each axis, cropped at the edges."""
    mask = np.ones((), np.float32)
    for at, length in zip(cell, space, strict=True):
        apart = np.arange(length) - at + kernel // 2
        row = [comb(kernel - 1, i) / 2 ** (kernel - 1) if 0 <= i < kernel else 0 for i in apart.tolist()]
        mask = mask[..., None] * np.asarray(row, np.float32)
    return mask
