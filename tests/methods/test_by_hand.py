"""Each method's map on a network small enough to compute it by hand."""

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.methods import METHODS
from tests.methods.by_hand import BY_HAND, SETTINGS
from tests.methods.varied import VARIED
from tests.networks import HAND_X, hand_model, hand_transformer, varied_model
from tests.optional import libraries_of

OF_OTHERS = {id for id, method in METHODS.items() if method.needs_detections or method.needs_words}
"""Methods of detectors (tests/methods/test_drise.py), and of decoders (tests/decoders/test_word_attention.py)."""

OF_TRANSFORMERS = {id for id, method in METHODS.items() if method.needs_attention}


def test_every_method_has_a_map_computed_by_hand() -> None:
    assert BY_HAND.keys() == METHODS.keys() - OF_OTHERS


@pytest.mark.parametrize("method", BY_HAND)
def test_map_by_hand(method: str) -> None:
    libraries_of(method)
    model = hand_transformer() if METHODS[method].needs_attention else hand_model()
    raw = Explainer(model, method=method, settings=SETTINGS.get(method, {})).attribute(HAND_X, target=0)
    expected = np.asarray(BY_HAND[method], np.float32)
    assert raw.dtype == np.float32
    assert raw.shape == ((1, 2, 2) if METHODS[method].at_layer else (1, 1, 2, 2))
    np.testing.assert_allclose(raw.reshape(2, 2), expected, rtol=1e-6, atol=1e-7)


def test_every_method_for_such_a_head_has_a_second_map() -> None:
    assert VARIED.keys() == METHODS.keys() - {"cam", *OF_TRANSFORMERS, *OF_OTHERS}  # cam needs a pooled head


@pytest.mark.parametrize("method", VARIED)
def test_map_where_the_gradient_varies_over_the_layer(method: str) -> None:
    libraries_of(method)
    explainer = Explainer(varied_model(), method=method, settings=SETTINGS.get(method, {}))
    raw = explainer.attribute(HAND_X, target=0)
    assert raw.shape == ((1, 2, 2) if METHODS[method].at_layer else (1, 1, 2, 2))
    np.testing.assert_allclose(raw.ravel(), VARIED[method], rtol=2e-6, atol=1e-6)


def test_the_second_maps_tell_the_methods_apart() -> None:
    """At the layer; equal are those that are one formula for a linear head without biases."""
    rounded = {
        name: tuple(np.round(VARIED[name], 6)) for name, method in METHODS.items() if method.at_layer and name in VARIED
    }
    same = [{other for other, map in rounded.items() if map == of} for of in set(rounded.values())]
    assert sorted(map(sorted, (group for group in same if len(group) > 1))) == [
        ["attnlrp", "gradcam-elementwise", "layercam"],
        ["gradcam", "shapleycam"],
        ["gradcam++", "smoothgradcam++"],
        ["hirescam", "kernelshap", "occlusion"],
        ["scorecam", "sscam"],
    ]


def test_the_batch_is_explained_one_by_one() -> None:
    explainer = Explainer(hand_model())
    both = explainer.attribute(np.concatenate([HAND_X, -HAND_X]), target=[0, 1])
    np.testing.assert_allclose(both[:1], explainer.attribute(HAND_X, target=0))
    np.testing.assert_allclose(both[1:], explainer.attribute(-HAND_X, target=1))


def test_the_default_target_is_the_models_own_top_class() -> None:
    explainer = Explainer(hand_model())
    np.testing.assert_allclose(explainer.attribute(HAND_X), explainer.attribute(HAND_X, target=1))
