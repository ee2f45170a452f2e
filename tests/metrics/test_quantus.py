"""Agreement with Quantus, where it is installed (pip install quantus), on a network that both run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.metrics import complexity, faithfulness, localisation, road, robustness, sanity
from onnxcam.metrics.base import ClassPredictor
from tests.networks import export

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("default::pytest.PytestWarning")]

SIDE, CLASS = 16, 1
RNG = np.random.default_rng(4)
X = RNG.random((3, 1, SIDE, SIDE)).astype(np.float32)
HEAT = RNG.normal(size=X.shape).astype(np.float32)
MASK = np.zeros(X.shape, bool)
MASK[:, :, 2:9, 4:12] = True
CLASSES = np.full(len(X), CLASS)


@pytest.fixture(scope="module")
def quantus() -> Any:
    with np.errstate(all="ignore"):
        return pytest.importorskip("quantus")


@pytest.fixture(scope="module")
def net() -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(2)
    nn = torch.nn
    layers = (nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def network(net: Any) -> ClassPredictor:
    import torch

    explainer = Explainer(
        export(net, torch.rand(1, 1, SIDE, SIDE), dynamo=False), "rise"
    )  # the newer one and TensorFlow clash
    return ClassPredictor(explainer, CLASS, 0, X.dtype, 1)


def test_sparseness(quantus: Any) -> None:
    found = quantus.Sparseness(abs=True, normalise=False, disable_warnings=True)(
        model=None, x_batch=X, y_batch=CLASSES, a_batch=HEAT
    )
    np.testing.assert_allclose([complexity.sparseness(heat[0]) for heat in HEAT], found, rtol=1e-6)


def test_pointing_game(quantus: Any) -> None:
    found = quantus.PointingGame(abs=False, normalise=False, disable_warnings=True)(
        model=None, x_batch=X, y_batch=CLASSES, a_batch=HEAT, s_batch=MASK
    )
    assert [localisation.pointing_game(h[0], m[0], tolerance=0) for h, m in zip(HEAT, MASK, strict=True)] == found


def test_energy_pointing(quantus: Any) -> None:
    heat = np.maximum(HEAT, 0)
    found = quantus.RelevanceMassAccuracy(abs=False, normalise=False, disable_warnings=True)(
        model=None, x_batch=X, y_batch=CLASSES, a_batch=heat, s_batch=MASK
    )
    own = [localisation.energy_pointing(h[0], m[0]) for h, m in zip(heat, MASK, strict=True)]
    np.testing.assert_allclose(own, found, rtol=1e-6)


def test_noisy_linear_imputation(quantus: Any) -> None:
    missing = HEAT[0, 0] > 0
    from quantus.functions.perturb_func import noisy_linear_imputation

    found = noisy_linear_imputation(arr=X[0], indices=np.flatnonzero(missing), noise=0.0)
    own = road.noisy_linear_imputation(X[0], missing, np.zeros((1, 1, 1)), np.random.default_rng(0))
    np.testing.assert_allclose(own, found, rtol=1e-5, atol=1e-6)


def test_deletion_is_pixel_flipping_to_zero(quantus: Any, net: Any, network: ClassPredictor) -> None:
    metric = quantus.PixelFlipping(
        features_in_step=SIDE,
        perturb_baseline=0.0,
        abs=False,
        normalise=False,
        disable_warnings=True,
    )
    found = metric(model=net, x_batch=X, y_batch=CLASSES, a_batch=HEAT, softmax=True, device="cpu")
    for x, heat, curve in zip(X, HEAT, found, strict=True):
        own = faithfulness.deletion(x, heat[0], network.probabilities, steps=SIDE).probability
        np.testing.assert_allclose(own[1:], curve, rtol=1e-4)  # Quantus leaves out the image itself


def test_road_is_accuracy(quantus: Any, net: Any, network: ClassPredictor) -> None:
    shares = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    metric = quantus.ROAD(percentages=shares, noise=0.0, abs=False, normalise=False, disable_warnings=True)
    found = metric(model=net, x_batch=X, y_batch=CLASSES, a_batch=HEAT, device="cpu", softmax=True)
    own = [
        road.road_morf(x, heat[0], np.zeros((1, 1, 1)), network.answers).accuracy
        for x, heat in zip(X, HEAT, strict=True)
    ]
    np.testing.assert_allclose(np.mean(own, axis=0), [found[share] for share in shares])


def test_max_sensitivity(quantus: Any, net: Any) -> None:
    """With the same versions of the image, drawn in the same order."""
    rng = np.random.default_rng(9)

    def perturb(arr: np.ndarray, **_: Any) -> np.ndarray:
        return (arr + 0.05 * rng.uniform(-1, 1, (1, SIDE, SIDE)).reshape(1, -1)).astype(np.float32)

    def explain(model: Any, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        return np.maximum(np.asarray(inputs) ** 3 - 0.1, 0)

    metric = quantus.MaxSensitivity(
        nr_samples=8, perturb_func=perturb, normalise=False, abs=False, disable_warnings=True
    )
    own_map = explain(None, X[:1], CLASSES[:1])
    found = metric(model=net, x_batch=X[:1], y_batch=CLASSES[:1], a_batch=own_map, explain_func=explain, device="cpu")
    one = np.ones((1, 1, 1))
    own = robustness.max_sensitivity(
        X[0],
        own_map[0],
        one,
        lambda ys: np.stack([explain(None, y, CLASSES) for y in ys]),
        radius=0.05,
        samples=8,
        seed=9,
    )
    np.testing.assert_allclose(own, found[0], rtol=1e-5)


def test_rank_correlation(quantus: Any) -> None:
    found = quantus.similarity_func.correlation_spearman(HEAT[0].ravel(), HEAT[1].ravel())
    np.testing.assert_allclose(sanity.rank_correlation(HEAT[0, 0], HEAT[1, 0]), found, rtol=1e-9)
