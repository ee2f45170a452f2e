"""A model with an operator that has no gradient rule: what asks only for scores explains it, the others say so."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import GradientError, MethodError, MissingRuleError
from onnxcam.inspection import survey
from onnxcam.methods import METHODS
from tests.methods.by_hand import BY_HAND, SETTINGS
from tests.networks import HAND_X, hand_model
from tests.optional import libraries_of

BLACK_BOXES = [method.id for method in METHODS.values() if method.black_box and not method.needs_detections]
WITHOUT_GRADIENT = [*BLACK_BOXES, "scorecam", "sscam", "iscam", "ablationcam", "recipro-cam", "dff"]
WITHOUT_GRADIENT += ["fem", "eigencam", "kpcacam"]
OFFERED = "; or use --method occlusion, rise, sobol, kernelshap or lime, which need no gradient (`onnxcam inspect`"


def scaled_model() -> onnx.ModelProto:
    """The network by hand, with a scaler of classic machine learning before its head that changes nothing."""
    model = hand_model()
    scaler = onnx.helper.make_node("Scaler", ["f"], ["g"], "scaler", domain="ai.onnx.ml", offset=[0.0], scale=[1.0])
    model.graph.node[-1].input[0] = "g"
    model.graph.node.insert(4, scaler)
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    return model


def test_which_methods_are_black_boxes() -> None:
    assert BLACK_BOXES == ["occlusion", "rise", "sobol", "kernelshap", "lime"]


@pytest.mark.parametrize("method", WITHOUT_GRADIENT)
def test_methods_without_a_gradient_explain_it(method: str) -> None:
    libraries_of(method)
    explainer = Explainer(scaled_model(), method=method, settings=SETTINGS.get(method, {}))
    np.testing.assert_allclose(explainer.attribute(HAND_X, target=0)[0], BY_HAND[method], rtol=1e-5, atol=1e-6)


OF_OTHERS = {id for id, each in METHODS.items() if each.needs_attention or each.needs_detections or each.needs_words}


@pytest.mark.parametrize("method", sorted(METHODS.keys() - set(WITHOUT_GRADIENT) - {"cam"} - OF_OTHERS))
def test_the_others_name_the_operator(method: str) -> None:
    closed = method.startswith("lrp") or method in ("excitation-backprop", "deeplift")
    error, says = MissingRuleError, "no gradient rule for operator ai.onnx.ml::Scaler (opset 3): node 'scaler'"
    if closed:
        error, says = MethodError, f"{method} is not defined for Scaler (node 'scaler', output 'g'); use --method "
    with pytest.raises(error) as caught:
        Explainer(scaled_model(), method=method)
    assert str(caught.value).startswith(says)
    assert closed or OFFERED in str(caught.value)


def test_inspect_lists_the_same_methods(tmp_path) -> None:
    onnx.save(scaled_model(), tmp_path / "scaled.onnx")
    found = survey(tmp_path / "scaled.onnx")
    missing = "needs pip install"
    assert {name for name, why in found.methods.items() if not why or why.startswith(missing)} == set(WITHOUT_GRADIENT)


def test_a_network_of_steps_has_no_gradient_and_the_error_offers_the_same() -> None:
    model = hand_model()
    model.graph.node[1].op_type = "Floor"
    with pytest.raises(GradientError, match="passes no gradient") as caught:
        Explainer(model, method="gradient")
    assert OFFERED in str(caught.value)
    raw = Explainer(model, method="occlusion", settings=SETTINGS["occlusion"]).attribute(HAND_X, target=0)
    np.testing.assert_allclose(raw, [[[0.75, -1.5], [2.25, -3]]])  # floor(x) = x here: y = ¼ Σ (2 x + x)
