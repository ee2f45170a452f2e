"""Concepts beside pytorch-grad-cam's: component by component, each with the peer's component that it fits best."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import permutations
from unittest import mock

import maps
import numpy as np

__all__ = ["ROWS"]

COUNT = 3


def concepts(initialised: str) -> list[maps.Row]:
    """Return a row for each concept; the peer's start is *initialised* as onnxcam's is, or its own."""
    words = {"": "its own start", "nndsvd": "onnxcam's start"}[initialised]

    def row(number: int) -> maps.Row:
        def ours(case: maps.Case) -> np.ndarray:
            return _ours(case)[number]

        def theirs(case: maps.Case) -> np.ndarray:
            return _matched(_ours(case), _theirs(case, initialised))[number]

        name = f"DeepFeatureFactorization, {words}, concept {number + 1} of {COUNT}"
        return maps.Row("dff", name, theirs, network="curved", shown=maps.enlarged, ours=ours)

    return [row(number) for number in range(COUNT)]


@cache
def _ours(case: maps.Case) -> np.ndarray:
    """Return onnxcam's maps, [concepts, h, w]."""
    import onnxcam
    from onnxcam.explainer.request import PreprocessedImage

    image = PreprocessedImage(np.zeros((maps.SIDE, maps.SIDE, 3), np.uint8), case.x.numpy())
    return onnxcam.Explainer(case.path, method="dff", provider="cpu").concepts(image, COUNT).raw


def _theirs(case: maps.Case, initialised: str) -> np.ndarray:
    """Return the peer's maps, [concepts, H, W]."""
    from pytorch_grad_cam.feature_factorization import deep_feature_factorization as peer

    module = case.twin()
    with _start(initialised):
        found = peer.DeepFeatureFactorization(module, module[0][-1])(case.x.clone(), COUNT)
    return np.asarray(found[1][0])


@contextmanager
def _start(initialised: str) -> Iterator[None]:
    """Let the peer's factorisation start and end as onnxcam's does, if *initialised*."""
    from sklearn.decomposition import NMF

    from onnxcam.methods import concepts as own

    def made(n_components: int, **settings: object) -> NMF:
        if initialised:
            settings |= {"init": initialised, "max_iter": own._ITERATIONS, "tol": own._TOLERANCE}
        return NMF(n_components=n_components, **settings)

    with mock.patch("pytorch_grad_cam.feature_factorization.deep_feature_factorization.NMF", made):
        yield


def _matched(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return *theirs* in the order that correlates best with *ours*."""
    fit = np.array([[np.corrcoef(a.ravel(), b.ravel())[0, 1] for b in theirs] for a in _enlarged(ours, theirs)])
    order = max(permutations(range(COUNT)), key=lambda one: sum(fit[k, one[k]] for k in range(COUNT)))
    return theirs[list(order)]


def _enlarged(ours: np.ndarray, theirs: np.ndarray) -> list[np.ndarray]:
    return [maps.enlarged(one, theirs[0])[0] for one in ours]


ROWS = [*concepts("nndsvd"), *concepts("")]
