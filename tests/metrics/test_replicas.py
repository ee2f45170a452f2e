"""Each metric against a slow replica written from its paper, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np
import pytest

from onnxcam.metrics import METRICS, complexity, faithfulness, localisation, road, robustness
from onnxcam.metrics.base import Curve

SIDE = 14
RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, SIDE, SIDE)).astype(np.float32)
HEAT = RNG.normal(size=(SIDE, SIDE)).astype(np.float32)
WEIGHTS = RNG.normal(size=X.shape).astype(np.float32)
UNIT = np.array([2.0, 1.0, 0.5]).reshape(3, 1, 1)
MASK = np.zeros((SIDE, SIDE), bool)
MASK[3:9, 5:12] = True
BOXES = [(5.0, 3.0, 12.0, 9.0), (0.0, 0.0, 4.0, 5.0)]


def score(x: np.ndarray) -> float:
    """A network that is not linear."""
    return float(np.tanh((WEIGHTS * x).sum() / 10) + 0.1 * np.abs(x).sum() / x.size)


def probability(x: np.ndarray) -> float:
    return 1 / (1 + np.exp(-score(x)))


def ask(samples: Iterable[np.ndarray]) -> np.ndarray:
    return np.array([probability(sample) for sample in samples])


def ask_scores(samples: Iterable[np.ndarray]) -> np.ndarray:
    return np.array([score(sample) for sample in samples])


def answers(samples: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    found = ask(samples)
    return found, found > 0.5


def ranked(heat: np.ndarray) -> list[tuple[int, int]]:
    """The pixels, the largest first; HEAT has no two alike."""
    return sorted(product(range(SIDE), range(SIDE)), key=lambda at: -heat[at])


def pixel_by_pixel(start: np.ndarray, finish: np.ndarray, step: int) -> float:
    """RISE's algorithm 1 and its authors' area: *step* pixels after the other, ends counted half."""
    now, places, found = start.copy(), ranked(HEAT), [probability(start)]
    for first in range(0, len(places), step):
        for y, x in places[first : first + step]:
            now[:, y, x] = finish[:, y, x]
        found.append(probability(now))
    return (sum(found) - found[0] / 2 - found[-1] / 2) / (len(found) - 1)


def kernel() -> np.ndarray:
    """RISE's gkern(11, 5): a point, smoothed where beyond the edge the image is mirrored."""
    size, reach = 11, 20
    line = np.zeros(size)
    for j in range(-reach, reach + 1):
        at = 5 + j
        while not 0 <= at < size:
            at = -1 - at if at < 0 else 2 * size - 1 - at
        line[at] += np.exp(-(j**2) / 50)
    line /= line.sum()
    return np.outer(line, line)


def convolved(x: np.ndarray) -> np.ndarray:
    found, weights = np.zeros_like(x, np.float64), kernel()
    for y, z, i, j in product(range(SIDE), range(SIDE), range(11), range(11)):
        if 0 <= y + i - 5 < SIDE and 0 <= z + j - 5 < SIDE:
            found[:, y, z] += weights[i, j] * x[:, y + i - 5, z + j - 5]
    return found


def relaxed(x: np.ndarray, missing: set[tuple[int, int]]) -> np.ndarray:
    """Each missing pixel becomes the weighted mean of its neighbours, over and over, until nothing moves."""
    now = x.astype(np.float64)
    for at in missing:
        now[(slice(None), *at)] = 0
    for _ in range(800):
        for y, z in missing:
            total, weight = np.zeros(len(x)), 0.0
            for dy, dz in product((-1, 0, 1), repeat=2):
                if (dy or dz) and 0 <= y + dy < SIDE and 0 <= z + dz < SIDE:
                    w = 1 / 12 if dy and dz else 1 / 6
                    total, weight = total + w * now[:, y + dy, z + dz], weight + w
            now[:, y, z] = total / weight
    return now


def removed(places: list[tuple[int, int]]) -> float:
    shares = (0.25, 0.5, 0.75)
    return float(np.mean([probability(relaxed(X, set(places[: int(share * SIDE**2)]))) for share in shares]))


def peak(heat: np.ndarray) -> tuple[int, int]:
    return max(product(range(SIDE), range(SIDE)), key=lambda at: heat[at])


def pointing() -> float:
    """TorchRay's: a disc around the peak meets the object."""
    y, x = peak(HEAT)
    return float(any(MASK[v, u] and (v - y) ** 2 + (u - x) ** 2 < 3**2 for v, u in product(range(SIDE), repeat=2)))


def energy() -> float:
    inside = sum(max(0, float(HEAT[at])) for at in ranked(HEAT) if MASK[at])
    return inside / sum(max(0, float(HEAT[at])) for at in ranked(HEAT))


def largest_part() -> set[tuple[int, int]]:
    rest = {at for at in ranked(HEAT) if HEAT[at] >= 0.15 * HEAT.max()}
    best: set[tuple[int, int]] = set()
    while rest:
        part, edge = set(), [rest.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & rest
            rest -= near
            edge += near
        best = max(best, part, key=len)
    return best


def overlap() -> float:
    part = largest_part()
    ys, xs = [y for y, _ in part], [x for _, x in part]
    own = set(product(range(min(ys), max(ys) + 1), range(min(xs), max(xs) + 1)))
    boxes = [set(product(range(int(y1), int(y2)), range(int(x1), int(x2)))) for x1, y1, x2, y2 in BOXES]
    return max(len(own & box) / len(own | box) for box in boxes)


def gini() -> float:
    """Half the mean absolute difference, over the mean."""
    values = [abs(float(value)) for value in HEAT.ravel()]
    return sum(abs(a - b) for a in values for b in values) / (2 * len(values) * sum(values))


def raw_map(x: np.ndarray) -> np.ndarray:
    return np.maximum(x.sum(0) ** 2 - 1, 0)


def sensitivity() -> float:
    rng, own, worst = np.random.default_rng(5), raw_map(X), 0.0
    for _ in range(6):
        near = (X + 0.1 * UNIT * rng.uniform(-1, 1, X.shape)).astype(np.float32)
        distance = sum(float(d) ** 2 for d in (raw_map(near) - own).ravel()) ** 0.5
        worst = max(worst, distance / sum(float(d) ** 2 for d in own.ravel()) ** 0.5)
    return worst


def infidelity() -> float:
    """The expectation over I written out, and the best β by least squares."""
    rng, dots, drops = np.random.default_rng(6), [], []
    for _ in range(40):
        side = rng.integers(1, SIDE, endpoint=True)
        y, x = rng.integers(0, SIDE - side, endpoint=True), rng.integers(0, SIDE - side, endpoint=True)
        perturbation = np.zeros_like(X)
        perturbation[:, y : y + side, x : x + side] = X[:, y : y + side, x : x + side]
        dots.append(float((perturbation * WEIGHTS).sum()))
        drops.append(score(X) - score(X - perturbation))
    (beta,), *_ = np.linalg.lstsq(np.array(dots)[:, None], np.array(drops), rcond=None)
    return float(np.mean((beta * np.array(dots) - drops) ** 2) / np.mean(np.square(drops)))


def positive() -> np.ndarray:
    return np.maximum(HEAT, 0)


P, O = probability(X), probability(X * positive() / HEAT.max())
REPLICAS: dict[str, tuple[Callable[[], Any], Callable[[], float]]] = {
    "pointing-game": (lambda: localisation.pointing_game(HEAT, MASK, tolerance=3), pointing),
    "energy-pointing": (lambda: localisation.energy_pointing(positive(), MASK), energy),
    "box-iou": (lambda: localisation.box_iou(HEAT, BOXES), overlap),
    "box-error": (lambda: localisation.box_error(HEAT, BOXES, overlap=0.1), lambda: float(overlap() <= 0.1)),
    "insertion": (
        lambda: faithfulness.insertion(X, HEAT, ask, steps=SIDE),
        lambda: pixel_by_pixel(convolved(X).astype(np.float32), X, SIDE),
    ),
    "deletion": (
        lambda: faithfulness.deletion(X, HEAT, ask, steps=SIDE),
        lambda: pixel_by_pixel(X, np.zeros_like(X), SIDE),
    ),
    "average-drop": (lambda: faithfulness.average_drop(P, O), lambda: max(0.0, P - O) / P),
    "average-increase": (lambda: faithfulness.average_increase(P, O), lambda: 1.0 if P < O else 0.0),
    "average-gain": (lambda: faithfulness.average_gain(P, O), lambda: max(0.0, O - P) / (1 - P)),
    "road-morf": (lambda: road.road_morf(X, HEAT, 0 * UNIT, answers, steps=3), lambda: removed(ranked(HEAT))),
    "road-lerf": (lambda: road.road_lerf(X, HEAT, 0 * UNIT, answers, steps=3), lambda: removed(ranked(HEAT)[::-1])),
    "max-sensitivity": (
        lambda: robustness.max_sensitivity(
            X, raw_map(X), UNIT, lambda ys: np.stack([raw_map(y) for y in ys]), radius=0.1, samples=6, seed=5
        ),
        sensitivity,
    ),
    "infidelity": (lambda: robustness.infidelity(X, WEIGHTS, ask_scores, samples=40, seed=6), infidelity),
    "sparseness": (lambda: complexity.sparseness(HEAT), gini),
}


def test_every_metric_has_a_replica() -> None:
    assert set(REPLICAS) == set(METRICS)


@pytest.mark.parametrize("id", METRICS)
def test_metric(id: str) -> None:
    measure, replica = REPLICAS[id]
    measured = measure()
    np.testing.assert_allclose(measured.value if isinstance(measured, Curve) else measured, replica(), rtol=1e-5)


def test_the_noise_has_the_deviation_that_it_is_said_to_have() -> None:
    missing = np.ones((64, 64), bool)
    missing[::8] = False
    x = np.zeros((3, 64, 64), np.float32)
    noisy = road.noisy_linear_imputation(x, missing, 0.01 * UNIT, np.random.default_rng(0))
    np.testing.assert_allclose(noisy[:, missing].std(1), [0.02, 0.01, 0.005], rtol=0.05)
    assert not noisy[:, ~missing].any()


def test_nothing_missing_is_nothing_changed() -> None:
    none = np.zeros((SIDE, SIDE), bool)
    np.testing.assert_array_equal(road.noisy_linear_imputation(X, none, UNIT, np.random.default_rng(0)), X)
