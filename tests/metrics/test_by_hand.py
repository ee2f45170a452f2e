"""Each metric on examples small enough to compute by hand."""

from __future__ import annotations

import doctest
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from onnxcam.metrics import METRICS, bootstrap, complexity, faithfulness, localisation, road, robustness, sanity
from onnxcam.metrics.base import order


def row(*values: float) -> np.ndarray:
    """A map of one row."""
    return np.array([values], np.float32)


def total(samples: Iterable[np.ndarray]) -> np.ndarray:
    """A network whose probability is the sum of the pixels."""
    return np.array([sample.sum() for sample in samples])


def mean(samples: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A network whose probability is the mean of the pixels, and which puts the class first from 4 on."""
    means = np.array([sample.mean() for sample in samples])
    return means, means >= 4


# The blur of a single pixel: what the kernel of 11 keeps at its centre, once down and once across. The Gaussian reaches
# 20 pixels, and is mirrored where the kernel ends, so that 11 pixels to either side lie on the centre again.
GAUSS = np.exp(-(np.arange(-20, 21) ** 2) / 50)
CENTRE = (1 + 2 * np.exp(-(11**2) / 50)) / GAUSS.sum()
ONE = np.ones((1, 1, 1))
X = row(0.4, 0.3, 0.2, 0.1)[None]

BY_HAND: dict[str, list[tuple[Callable[[], Any], float]]] = {
    "pointing-game": [
        (lambda: localisation.pointing_game(row(1, *[0] * 20), row(*[0] * 14, 1, *[0] * 6) > 0), 1),  # 14 < 15
        (lambda: localisation.pointing_game(row(1, *[0] * 20), row(*[0] * 15, 1, *[0] * 5) > 0), 0),
        (lambda: localisation.pointing_game(row(1, 0), row(1, 0) > 0, tolerance=0), 1),
        (lambda: localisation.pointing_game(row(1, 0), row(0, 1) > 0, tolerance=1), 0),
        (lambda: localisation.pointing_game(row(1, 0), row(0, 1) > 0, tolerance=2), 1),
        (lambda: localisation.pointing_game(row(0, 0), row(1, 1) > 0), 0),  # a blank map points nowhere
    ],
    "energy-pointing": [
        (lambda: localisation.energy_pointing(row(1, 3, 0, 4), row(0, 1, 1, 0) > 0), 3 / 8),
        (lambda: localisation.energy_pointing(row(0, 0), row(0, 1) > 0), 0),
    ],
    "box-iou": [
        (lambda: localisation.box_iou(row(0, 1, 1, 0, 1), [(1, 0, 2, 1)]), 1 / 2),
        (lambda: localisation.box_iou(row(0, 1, 1, 0, 1), [(4, 0, 5, 1), (2, 0, 5, 1)]), 1 / 4),  # 1 of 2 + 3 - 1
        (lambda: localisation.box_iou(row(0, 1, 0.5, 0, 0), [(1, 0, 2, 1)], threshold=0.6), 1),
        (lambda: localisation.box_iou(row(0, 0), [(0, 0, 1, 1)]), 0),
    ],
    "box-error": [
        (lambda: localisation.box_error(row(0, 1, 1, 1), [(1, 0, 3, 1)]), 0),  # 2 of 3
        (lambda: localisation.box_error(row(0, 1, 1, 0), [(1, 0, 2, 1)]), 1),  # a half is not more than a half
        (lambda: localisation.box_error(row(0, 1, 1, 0), [(1, 0, 2, 1)], overlap=0.4), 0),
    ],
    # 1, 0.6, 0.3, 0.1, 0
    "deletion": [(lambda: faithfulness.deletion(X, X[0], total, steps=4).value, (0.5 + 0.6 + 0.3 + 0.1) / 4)],
    "insertion": [(lambda: faithfulness.insertion(2 * ONE, ONE[0], total).value, (2 * CENTRE**2 + 2) / 2)],
    "average-drop": [
        (lambda: faithfulness.average_drop(0.5, 0.2), 0.6),
        (lambda: faithfulness.average_drop(0.5, 0.9), 0),
        (lambda: faithfulness.average_drop(0, 0), 0),
    ],
    "average-increase": [
        (lambda: faithfulness.average_increase(0.5, 0.6), 1),
        (lambda: faithfulness.average_increase(0.5, 0.5), 0),
    ],
    "average-gain": [
        (lambda: faithfulness.average_gain(0.5, 0.6), 0.2),
        (lambda: faithfulness.average_gain(0.5, 0.4), 0),
        (lambda: faithfulness.average_gain(1, 1), 0),
    ],
    # half of four pixels go: the two in the middle become (0 + x) / 2 and (x + 9) / 2, which is 3 and 6
    "road-morf": [
        (lambda: road.road_morf(row(0, 8, 8, 9)[None], row(0, 2, 1, 0), 0 * ONE, mean, steps=1).value, 18 / 4)
    ],
    # the two at the ends have one neighbour each
    "road-lerf": [
        (lambda: road.road_lerf(row(0, 8, 2, 9)[None], row(0, 2, 1, 0), 0 * ONE, mean, steps=1).value, 20 / 4)
    ],
    "max-sensitivity": [
        (lambda: robustness.max_sensitivity(ONE, row(3, 4), ONE, lambda ys: np.stack([row(3, 14) for _ in ys])), 2),
        (lambda: robustness.max_sensitivity(ONE, row(3, 4), ONE, lambda ys: np.stack([row(3, 4) for _ in ys])), 0),
        (lambda: robustness.max_sensitivity(ONE, row(0), ONE, lambda ys: np.stack([row(0.5) for _ in ys])), 0.5),
    ],
    "infidelity": [
        (lambda: robustness.infidelity(X, np.full((1, 1, 4), 7), total), 0),  # of a sum the gradient is the same at all
        (lambda: robustness.infidelity(X, 7 * X, total, False), 0),  # and each pixel's share is the pixel
        (lambda: robustness.infidelity(X, 0 * X, total), 1),
        (lambda: robustness.infidelity(X, X, lambda samples: np.ones(len(list(samples)))), 0),
    ],
    "sparseness": [
        (lambda: complexity.sparseness(row(0, 0, 0, 5)), 3 / 4),
        (lambda: complexity.sparseness(row(2, 2, -2, 2)), 0),
        (lambda: complexity.sparseness(row(1, 3)), 1 / 4),  # (-1 + 3) / (2 · 4)
        (lambda: complexity.sparseness(row(0, 0)), 0),
    ],
}


def test_every_metric_has_an_example() -> None:
    assert set(BY_HAND) == set(METRICS)


@pytest.mark.parametrize("id", METRICS)
def test_by_hand(id: str) -> None:
    for number, (measure, expected) in enumerate(BY_HAND[id]):
        np.testing.assert_allclose(measure(), expected, rtol=1e-6, atol=1e-9, err_msg=f"{id}, example {number}")


def test_road_tells_whether_the_class_stays_first() -> None:
    curve = road.road_morf(row(0, 8, 8, 9)[None], row(0.5, 2, 1, 0), 0 * ONE, mean, steps=3)
    np.testing.assert_allclose(curve.share, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(curve.probability, [(0 + 4 + 8 + 9) / 4, (0 + 3 + 6 + 9) / 4, 9], rtol=1e-6)
    assert curve.accuracy is not None
    np.testing.assert_array_equal(curve.accuracy, [1, 1, 1])


def test_chance_decides_among_equal_pixels() -> None:
    heat = row(0, 0, 0, 5, 0, 0)
    orders = {tuple(order(heat, seed)) for seed in range(20)}
    assert {places[0] for places in orders} == {3}
    assert len(orders) > 10
    assert tuple(order(heat, 7)) == tuple(order(heat, 7))


def test_rank_correlation() -> None:
    assert sanity.rank_correlation(row(1, 2, 3), row(1, 4, 9)) == pytest.approx(1)
    assert sanity.rank_correlation(row(1, 2, 3), row(3, 2, 1)) == pytest.approx(-1)
    assert sanity.rank_correlation(row(0, 0, 0), row(1, 2, 3)) == 0  # nothing alike
    assert sanity.rank_correlation(row(0, 0, 0), row(0, 0, 0)) == 1


def test_an_interval_draws_pictures_not_cases() -> None:
    """Of two images, with 0, 0, 0 and 1, both, one or the other is drawn: 0, 1/4, or 1."""
    found = bootstrap.bootstrap_interval(np.array([0, 0, 0, 1]), ["a", "a", "a", "b"])
    assert (found.mean, found.low, found.high) == (0.25, 0, 1)
    assert bootstrap.bootstrap_interval(np.array([0, 1]), ["a", "a"]).low is None
    many = np.random.default_rng(0).normal(5, 1, 400)
    found = bootstrap.bootstrap_interval(many, range(400))
    assert found.low is not None
    assert found.high is not None
    np.testing.assert_allclose(found.high - found.low, 2 * 1.96 / 20, rtol=0.1)  # 1.96 σ / √n to either side


@pytest.mark.parametrize("module", [localisation, faithfulness, complexity, robustness, sanity, bootstrap])
def test_examples_in_docstrings(module: Any) -> None:
    """Those that end in a number, and need nothing but the function and NumPy."""
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for test in finder.find(module, extraglobs={"np": np}):
        if test.examples and test.examples[-1].want and "model.onnx" not in test.docstring:
            runner.run(test)
    assert runner.tries > 0
    assert runner.failures == 0
