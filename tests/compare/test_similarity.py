"""Similarities: by hand, against scikit-image and SciPy, and where they are not defined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxcam.compare import similarity
from onnxcam.compare.similarity import cosine, iou, kl, mass_shift, peak_distance, pearson, spearman, ssim, strength


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.random((60, 72))
    return a, np.clip(a + 0.3 * rng.standard_normal(a.shape), 0, None)


def test_scores_by_hand() -> None:
    assert cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(24 / 25)
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    assert kl(p, q) == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    assert kl(p, p) == 0
    assert kl(np.array([1.0, 0.0]), q[:2] * 2) == pytest.approx(math.log(2))  # 0 · ln 0 = 0


def test_kl_of_rounded_probabilities_stays_finite_and_ignores_their_sum() -> None:
    p = np.array([0.98, 0.02])
    assert kl(p, np.array([1.0, 0.0])) == pytest.approx(0.98 * math.log(0.98) + 0.02 * math.log(0.02 / 1e-6), rel=1e-3)
    assert kl(p, 0.97 * p) == pytest.approx(0, abs=1e-12)


def test_kl_of_labels_that_do_not_exclude_each_other_is_that_of_each() -> None:
    p, q = np.array([0.9, 0.8]), np.array([0.5, 0.8])
    by_hand = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert kl(p, q, exclusive=False) == pytest.approx(by_hand)
    assert kl(p[:1], q[:1]) == pytest.approx(by_hand)  # one score: yes or no


def test_correlations_are_scipys(pair: tuple[np.ndarray, np.ndarray]) -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = np.round(pair[0], 1), np.round(pair[1], 1)  # with many ties
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a.ravel(), b.ravel())[0])
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a.ravel(), b.ravel())[0])


def test_ssim_is_scikit_images(pair: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for data_range in (1.0, 2.5):
        theirs = metrics.structural_similarity(*pair, data_range=data_range, **settings)
        assert ssim(*pair, data_range) == pytest.approx(theirs, abs=1e-9)
    assert ssim(pair[0], pair[0], 1.0) == pytest.approx(1)


def test_ssim_of_two_flat_maps_by_hand() -> None:
    """Without structure the luminance is left: (2 · 1 · 0.5 + c₁) / (1 + 0.25 + c₁)."""
    a, b, c1 = np.ones((20, 20)), np.full((20, 20), 0.5), 0.01**2
    assert ssim(a, b, 1.0) == pytest.approx((1 + c1) / (1.25 + c1))


def test_iou_by_hand() -> None:
    a, b = np.zeros((2, 5)), np.zeros((2, 5))
    a[0, :2], b[0, 1:3] = (1, 2), (2, 1)
    assert iou(a, b) == pytest.approx(1 / 3)
    b[1] = 5  # five pixels tie for two places: all count
    assert iou(a, b) == 0
    a[:] = 0
    a[0, 0] = 1  # of the top fifth only what is above zero counts
    assert iou(a, a) == 1


def test_distances_by_hand() -> None:
    a, b = np.zeros((4, 6)), np.zeros((4, 6))
    a[0, 0] = b[3, 4] = 1
    assert peak_distance(a, b) == 5
    assert mass_shift(a, b) == 5
    assert peak_distance(a, b, (2, 1)) == pytest.approx(math.hypot(6, 4))
    assert mass_shift(a, b, (2, 1)) == pytest.approx(math.hypot(6, 4))
    b[0, 1] = 1  # two peaks: the nearer; the centre of both
    assert peak_distance(a, b) == peak_distance(b, a) == 1
    assert mass_shift(a, b) == pytest.approx(math.hypot(1.5, 2.5))


def test_strength_by_hand() -> None:
    a = np.array([[1.0, 3.0]])
    assert strength(a, a / 10) == strength(a / 10, a) == pytest.approx(0.1)
    assert strength(a, 0 * a) == 0


def test_what_is_not_defined_is_nan(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, flat, zero = pair[0], np.ones_like(pair[0]), np.zeros_like(pair[0])
    for undefined in (
        pearson(a, flat),
        spearman(flat, a),
        iou(a, zero),
        mass_shift(zero, a),
        strength(zero, zero),
        cosine(a[0], zero[0]),
        ssim(a[:10], a[:10], 1.0),
    ):
        assert math.isnan(undefined)


def test_the_examples_hold() -> None:
    import doctest

    assert doctest.testmod(similarity, extraglobs={"np": np}).failed == 0
