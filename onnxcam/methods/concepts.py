"""Concepts of one image: factors of a layer's activation."""

from __future__ import annotations

import warnings

import numpy as np

from onnxcam.errors import MethodError
from onnxcam.methods.base import procedure
from onnxcam.methods.context import layer_value
from onnxcam.methods.libraries import library
from onnxcam.methods.queries import Array, ModelQueries

__all__ = ["deep_feature_factorisation"]

_ITERATIONS, _TOLERANCE = 1000, 1e-6


@procedure("dff", around=layer_value, at_layer=True, uses_layer=True, uses_head=True, extra="concepts")
def deep_feature_factorisation(queries: ModelQueries, concepts: int = 5, rank: int = 1) -> Array:
    """M = W_k / max W_k, A − m ≈ W H, W and H ≥ 0: the map of the concept k that speaks *rank*-th most for the target.

    Collins et al., Deep Feature Factorization For Concept Discovery, 1806.10206: the activation at P positions,
    [P, K], is factorised into maps W [P, *concepts*] and concepts H [*concepts*, K], by scikit-learn. m is the minimum
    of each channel, zero behind a ReLU. Concepts belong to no class; here they are ranked by the score that the network
    behind the layer gives to m + W_k H_k, the activation with nothing but the concept (pytorch-grad-cam runs the
    classifier on m + H_k). *rank* 1 to *concepts* gives the maps of all.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="dff", settings={"concepts": 4, "rank": 2})
    """
    a = queries.activation.astype(np.float64)
    flat = a.reshape(len(a), -1).T  # [P, K]
    if rank > concepts:
        raise MethodError(f"the setting rank of dff is at most concepts, {concepts}, not {rank}")
    if concepts > min(flat.shape):
        raise MethodError(
            f"dff finds at most {min(flat.shape)} concepts in a layer of {flat.shape[0]} positions and {flat.shape[1]} "
            f"channels, not {concepts}; take fewer, or another --layer"
        )
    least = flat.min(0)
    maps, vectors = _factors(flat - least, concepts)
    alone = (least + np.outer(maps[:, k], vectors[k]) for k in range(concepts))
    scores = queries.scores_behind((part.T.reshape(a.shape) for part in alone), concepts)
    chosen = maps[:, np.argsort(-scores, kind="stable")[rank - 1]]
    found: Array = chosen / (chosen.max() or 1)
    return found.reshape(a.shape[1:])


def _factors(x: Array, count: int) -> tuple[Array, Array]:
    """Return non-negative factors of *x*, [P, count] and [count, K]; they start at its singular vectors."""
    decomposition = library("dff", "sklearn.decomposition")
    if not x.any():
        return np.zeros((len(x), count)), np.zeros((count, x.shape[1]))
    made = decomposition.NMF(count, init="nndsvd", random_state=0, max_iter=_ITERATIONS, tol=_TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the last digits are not there yet
        maps = made.fit_transform(x)
    return maps, made.components_
