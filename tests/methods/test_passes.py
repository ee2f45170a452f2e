"""Methods of several passes: settings, batches, integers, and what the maths promises."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam import Explainer
from onnxcam.errors import MethodError
from onnxcam.layout import Grid, Tokens
from onnxcam.methods import METHODS, Method, Scene
from onnxcam.methods.passes import resized
from tests.networks import HAND_X, hand_model


@pytest.mark.parametrize(
    ("method", "settings", "says"),
    [
        (
            "smoothgrad",
            {"sample": 3},
            "no setting 'sample'; there are samples=25, noise=0.15, seed=0, batch_size=8. Did",
        ),
        ("gradcam", {"samples": 3}, "gradcam has no setting 'samples'; there are none."),
        ("smoothgrad", {"samples": "many"}, "the setting samples of smoothgrad is a whole number from 1, not 'many'"),
        ("smoothgrad", {"samples": 0}, "a whole number from 1, not 0"),
        ("smoothgrad", {"samples": 2.5}, "a whole number from 1, not 2.5"),
        ("smoothgrad", {"noise": float("nan")}, "a finite number, not nan"),
    ],
)
def test_wrong_settings(method: str, settings: dict[str, object], says: str) -> None:
    with pytest.raises(MethodError, match=says.replace("(", r"\(")):
        Explainer(hand_model(), method=method, settings=settings)


def test_a_method_that_is_a_graph_may_have_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(scene: Scene, factor: float = 2.0) -> ir.Value:
        """M = factor Σ_k A_k."""
        return scene.op.Mul(scene.op.ReduceSum(scene.activation(), [1], keepdims=0), factor)

    monkeypatch.setitem(METHODS, "scaled", Method("scaled", scaled, at_layer=True, uses_layer=True, summary=""))
    for settings, factor in (({}, 2), ({"factor": "0.5"}, 0.5)):
        explainer = Explainer(hand_model(), method="scaled", settings=settings)
        np.testing.assert_allclose(explainer.attribute(HAND_X), [[[factor, 2 * factor], [3 * factor, 4 * factor]]])
    with pytest.raises(MethodError, match="the setting factor of scaled is a finite number, not 'much'"):
        Explainer(hand_model(), method="scaled", settings={"factor": "much"})


@pytest.mark.parametrize(("method", "name"), [("occlusion", "patch"), ("occlusion", "stride"), ("rise", "keep")])
def test_a_share_is_above_zero_and_at_most_one(method: str, name: str) -> None:
    explainer = Explainer(hand_model(), method=method, settings={name: "1.5"})
    with pytest.raises(MethodError, match=f"the setting {name} of {method} is a share, .* not 1.5"):
        explainer.attribute(HAND_X)


def test_integrated_gradients_are_complete() -> None:
    """Σ M = y(x) − y(b), over the kinks of the rectifiers between."""
    explainer = Explainer(hand_model(), method="integrated-gradients", settings={"steps": 200, "baseline": 2})
    total = explainer.attribute(HAND_X, target=0).sum()
    assert total == pytest.approx(0.5 - 4, rel=0.01)


@pytest.mark.parametrize("method", ["smoothgrad", "rise", "scorecam", "ablationcam"])
def test_batches_and_a_fixed_batch_change_nothing(method: str) -> None:
    fixed = hand_model()
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    settings = {"samples": 5} if method in ("smoothgrad", "rise") else {}
    maps = [
        Explainer(model, method=method, settings={**settings, "batch_size": size}).attribute(HAND_X, target=0)
        for model, size in ((hand_model(), 1), (hand_model(), 4), (fixed, 3))
    ]
    assert maps[0].any()
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-5)
    np.testing.assert_allclose(maps[2], maps[0], rtol=1e-5)


def test_the_seed_decides() -> None:
    maps = [
        Explainer(hand_model(), method="rise", settings={"samples": 4, "seed": seed}).attribute(HAND_X, target=0)
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.allclose(maps[0], maps[2])


def test_samples_of_integers_are_rounded_and_clipped() -> None:
    """y is the mean of x, uint8: noise of σ = 255 around 0 and 255 never leaves the range."""
    proto = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    bytes (uint8[n, 1, 2, 2] x) => (float[n, 2] logits) <float[2, 1] v = {1, -1}>
    { c = Cast<to = 1>(x) p = GlobalAveragePool(c) f = Flatten(p) logits = Gemm<transB = 1>(f, v) }
    """)
    x = np.array([[[[0, 255], [0, 255]]]], np.uint8)
    raw = Explainer(proto, method="smoothgrad", settings={"noise": 1}).attribute(x, target=0)
    np.testing.assert_allclose(raw, np.full(x.shape, 0.25), rtol=1e-6)


def test_the_view_of_an_activation_is_the_same_memory() -> None:
    for layout, shape in ((Grid(3, (1, 2)), (2, 4, 5, 3)), (Tokens(2, 1, (4, 5), 1), (2, 22, 3))):
        x = np.ones(shape)
        view = layout.view(x)
        assert view.shape == (2, 3, 4, 5)
        view[:, 1] = 0
        assert x.sum() == x.size - 40


def test_resized_is_linear_between_pixel_centres() -> None:
    np.testing.assert_allclose(resized(np.array([0.0, 4.0]), [4]), [0, 1, 3, 4])
    assert resized(np.ones((2, 3, 4)), (5, 6, 7)).shape == (5, 6, 7)
