"""Each method's map on a network small enough to compute it by hand."""

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.methods import METHODS
from tests.methods.by_hand import BY_HAND, SETTINGS
from tests.networks import HAND_X, hand_model, hand_transformer


def test_every_method_has_a_map_computed_by_hand() -> None:
    assert BY_HAND.keys() == METHODS.keys()


@pytest.mark.parametrize("method", BY_HAND)
def test_map_by_hand(method: str) -> None:
    model = hand_transformer() if method == "legrad" else hand_model()
    raw = Explainer(model, method=method, settings=SETTINGS.get(method, {})).attribute(HAND_X, target=0)
    expected = np.asarray(BY_HAND[method], np.float32)
    assert raw.dtype == np.float32
    assert raw.shape == ((1, 2, 2) if METHODS[method].at_layer else (1, 1, 2, 2))
    np.testing.assert_allclose(raw.reshape(2, 2), expected, rtol=1e-6, atol=1e-7)


def test_the_batch_is_explained_one_by_one() -> None:
    explainer = Explainer(hand_model())
    both = explainer.attribute(np.concatenate([HAND_X, -HAND_X]), target=[0, 1])
    np.testing.assert_allclose(both[:1], explainer.attribute(HAND_X, target=0))
    np.testing.assert_allclose(both[1:], explainer.attribute(-HAND_X, target=1))


def test_the_default_target_is_the_models_own_top_class() -> None:
    explainer = Explainer(hand_model())
    np.testing.assert_allclose(explainer.attribute(HAND_X), explainer.attribute(HAND_X, target=1))
