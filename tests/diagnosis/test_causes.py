"""Statistics and named causes, on tensors made for each."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxcam.diagnosis.causes import CAUSES, find_cause
from onnxcam.diagnosis.statistics import TensorStatistics
from onnxcam.graph.quantisers import Quantiser

RNG = np.random.default_rng(0)
X = RNG.permutation(np.linspace(0, 8, 384)).reshape(1, 6, 8, 8)


def quantiser(
    scale: float | NDArray[np.float64], zero: int = 0, kind: Literal["activation", "weight"] = "activation"
) -> Quantiser:
    dtype = np.dtype(np.uint8 if kind == "activation" else np.int8)
    scales = np.asarray(scale, np.float64)
    return Quantiser("q", "x", kind, scales, np.full(scales.shape, zero, np.int64), dtype, 0)


def statistics(x: NDArray[np.float64], of: Quantiser) -> TensorStatistics:
    found = TensorStatistics(of, channel=0 if of.kind != "activation" else 1)
    found.add(x)
    return found


def test_statistics_by_hand() -> None:
    found = statistics(np.array([[0.4, 1.0, 3.0]]), quantiser(1.0))
    assert found.noise == pytest.approx(0.16)
    assert found.sqnr == pytest.approx(10 * np.log10((0.16 + 1 + 9) / 0.16))
    assert (found.clipped, found.span, found.levels) == (0, 3, 3)
    assert found.dead == 0


def test_a_sound_scale_has_no_cause() -> None:
    assert find_cause(statistics(X, quantiser(8 / 255))) is None


CASES = {
    "clipped": (X, quantiser(8 / 255 / 12), r"its range clips \d\d % of its values: they reach 8, the range 0.667"),
    "zero-point": (
        X,
        quantiser(8 / 255, zero=90),
        r"its zero point 90 moves the range, which clips 35 %",
    ),
    "coarse": (X, quantiser(1.0), r"its scale is too large: its values use 8 of 256 integers"),
    "outlier-channels": (
        X * np.array([100, 1, 1, 1, 1, 1.0]).reshape(1, 6, 1, 1) + 0,
        quantiser(800 / 255),
        r"one channel spans 98 times the others, which use 3 integers",
    ),
    "dead-channels": (
        X * np.array([1, 1, 1, 1, 1, 0.001]).reshape(1, 6, 1, 1),
        quantiser(8 / 60),
        r"17 % of its channels are constant in integers",
    ),
}


@pytest.mark.parametrize("cause", CASES)
def test_causes_of_activations(cause: str) -> None:
    x, of, words = CASES[cause]
    found = find_cause(statistics(x, of))
    assert found is not None
    assert found.id == cause
    assert re.search(words, found.words), found.words
    assert found.cure


def test_the_right_zero_point_is_named() -> None:
    found = find_cause(statistics(X, quantiser(8 / 255, zero=90)))
    assert found is not None
    assert found.cure == "set the zero point to about 0"


def test_one_scale_for_parts_of_different_size() -> None:
    boxes, scores = RNG.uniform(0, 640, (1, 100, 4)), RNG.uniform(0, 1, (1, 100, 4))
    made = statistics(np.concatenate([boxes, scores], 2), quantiser(640 / 255))
    made.add_parts([boxes, scores])
    found = find_cause(made)
    assert found is not None
    assert found.id == "shared-scale"
    assert "the smallest uses 0 integers, the largest 255" in found.words


def test_causes_of_weights() -> None:
    w = RNG.normal(size=(8, 1, 3, 3)) * np.array([100, 1, 1, 1, 1, 1, 1, 1.0]).reshape(8, 1, 1, 1)
    largest = float(np.abs(w).max()) / 127
    found = find_cause(statistics(w, quantiser(largest, kind="weight")))
    assert found is not None
    assert found.id == "per-tensor"
    for_each = find_cause(statistics(w, quantiser(np.full(8, largest), kind="weight")))
    assert for_each is not None
    assert for_each.id == "per-tensor"
    good = np.abs(w).max((1, 2, 3)) / 127
    assert find_cause(statistics(w, quantiser(good, kind="weight"))) is None
    wrong = TensorStatistics(quantiser(good, kind="weight"), channel=0)
    wrong.add(w, w / 12)
    found = find_cause(wrong)
    assert found is not None
    assert (found.id, "12 times the scale" in found.words) == ("scale", True)
    shifted = TensorStatistics(quantiser(good, kind="weight"), channel=0)
    shifted.add(w, w + 5 * float(good.max()))
    found = find_cause(shifted)
    assert found is not None
    assert (found.id, found.words) == ("zero-point", "its zero point is off by 5")


def test_a_clip_that_does_no_harm_is_no_cause() -> None:
    """Two of 384 values are far outside the range; the gradient there is 0, or 1 as elsewhere."""
    x = X.copy()
    x[0, 0, 0, :2] = 40
    gradient = np.where(x > 8, 0.0, 1.0)
    found = TensorStatistics(quantiser(8 / 255))
    found.add(x, gradient=gradient)
    assert found.clip_noise > 0.99 * found.noise
    assert found.clip_share == 0
    assert find_cause(found) is None or find_cause(found).id == "outlier-channels"  # type: ignore[union-attr]
    harmful = TensorStatistics(quantiser(8 / 255))
    harmful.add(x, gradient=np.ones_like(x))
    assert harmful.clip_share > 0.9
    assert find_cause(harmful).id == "clipped"  # type: ignore[union-attr]


def test_the_zero_point_that_is_there_is_no_cure() -> None:
    """The values leave the range by less than a tenth, at the end where the zero point is."""
    found = find_cause(statistics(X, quantiser(7.5 / 255)))
    assert found is None or found.id != "zero-point"


def test_every_cause_is_explained() -> None:
    assert {"per-tensor", "scale", "shared-scale", *CASES} == set(CAUSES)
