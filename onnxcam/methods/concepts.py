"""Concepts: factors of a layer's activation, of one image or of several."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxcam.errors import MethodError
from onnxcam.methods.base import procedure
from onnxcam.methods.context import layer_value
from onnxcam.methods.libraries import library
from onnxcam.methods.queries import Array, ModelQueries

__all__ = ["Factors", "deep_feature_factorisation", "factorised"]

_ITERATIONS, _TOLERANCE = 1000, 1e-6
_LEAST = 1e-6  # of the largest singular value: activations are float32


@dataclass(frozen=True)
class Factors:
    """Non-negative factors of activations A at P positions: A − least ≈ maps · vectors.

    Attributes:
        maps: How much of each concept there is at each position, float64 [P, concepts].
        vectors: The concepts, float64 [concepts, K].
        least: The minimum of each channel, float64 [K].
    """

    maps: Array
    vectors: Array
    least: Array

    @property
    def strongest(self) -> Array:
        """The largest value of each map, 1 for a map of zeros, float64 [concepts]."""
        top: Array = self.maps.max(0)
        return np.where(top > 0, top, 1.0)

    @property
    def amounts(self) -> Array:
        """The sum of what each concept adds to the activation at each position, float64 [P, concepts]."""
        return np.asarray(self.maps * self.vectors.sum(1))

    def at(self, rows: slice) -> Factors:
        """Return the factors at some of the positions; *vectors* and *least* are those of all."""
        return Factors(self.maps[rows], self.vectors, self.least)

    def ordered(self, order: Array) -> Factors:
        """Return the concepts in another *order*."""
        return Factors(self.maps[:, order], self.vectors[order], self.least)


@procedure(
    "dff",
    around=layer_value,
    at_layer=True,
    uses_layer=True,
    uses_head=True,
    class_independent=True,
    extra="concepts",
    libraries=("sklearn",),
)
def deep_feature_factorisation(
    queries: ModelQueries, concepts: int = 5, rank: int = 1, together: Literal["no", "yes"] = "no"
) -> Array:
    """M = W_k / max W_k, A − m ≈ W H, W and H ≥ 0: concepts of the image, independent of the class.

    Collins et al., Deep Feature Factorization For Concept Discovery, 1806.10206: the activation at P positions,
    [P, K], is factorised into maps W [P, *concepts*] and concepts H [*concepts*, K], by scikit-learn. m is the minimum
    of each channel, zero behind a ReLU. `Explainer.concepts` and ``onnxcam explain`` return all concepts of an image,
    and with ``together=yes`` of several images in one factorisation.

    One map alone is that of the concept that speaks *rank*-th most for the target: by the score that the network behind
    the layer gives to m + W_k H_k, the activation with nothing but the concept.

    Example:
        >>> onnxcam.Explainer("model.onnx", method="dff").concepts("cat.jpg", 4).save("out")
    """
    a = queries.activation.astype(np.float64)
    if rank > concepts:
        raise MethodError(f"the setting rank of dff is at most concepts, {concepts}, not {rank}")
    if together == "yes":
        raise MethodError("the setting together of dff is for all concepts of several images; leave out rank")
    found = factorised(a.reshape(len(a), -1).T, concepts)
    alone = (found.least + np.outer(found.maps[:, k], found.vectors[k]) for k in range(concepts))
    scores = queries.scores_behind((part.T.reshape(a.shape) for part in alone), concepts)
    chosen = int(np.argsort(-scores, kind="stable")[rank - 1])
    return np.asarray(found.maps[:, chosen] / found.strongest[chosen]).reshape(a.shape[1:])


def factorised(positions: Array, count: int) -> Factors:
    """Return *count* factors of the activation at *positions*, [P, K]; MethodError where there are fewer."""
    if count > min(positions.shape):
        raise MethodError(
            f"dff finds at most {min(positions.shape)} concepts in a layer of {positions.shape[0]} positions and "
            f"{positions.shape[1]} channels, not {count}; take fewer, or another --layer"
        )
    least = positions.min(0)
    return Factors(*_factors(positions - least, count), least)


def _factors(x: Array, count: int) -> tuple[Array, Array]:
    """Return non-negative factors of *x*, [P, count] and [count, K]; they start at its singular vectors.

    Where *x* has fewer independent rows than *count*, the last factors are zero.
    """
    decomposition, algebra = library("dff", "sklearn.decomposition"), library("dff", "sklearn.utils.extmath")
    maps, vectors = np.zeros((len(x), count)), np.zeros((count, x.shape[1]))
    if not x.any():
        return maps, vectors
    _, sizes, _ = algebra.randomized_svd(x, count, random_state=0)
    found = int((sizes > _LEAST * sizes[0]).sum())
    made = decomposition.NMF(found, init="nndsvd", random_state=0, max_iter=_ITERATIONS, tol=_TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the last digits are not there yet
        maps[:, :found] = made.fit_transform(x)
    vectors[:found] = made.components_
    return maps, vectors
