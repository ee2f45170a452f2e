"""Methods of several passes: settings, batches, integers, and what the maths promises."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam import Explainer
from onnxcam.engine import Session
from onnxcam.errors import ImageError, MethodError
from onnxcam.graph.io import load
from onnxcam.media.image import write
from onnxcam.media.resample import resized
from onnxcam.methods import METHODS, GraphMethod, ImageSet, MapContext, ModelQueries, read_settings
from onnxcam.methods.base import MethodsWith
from onnxcam.structure.layout import GridLayout, TokenLayout
from tests.networks import HAND_X, hand_model
from tests.optional import libraries_of


@pytest.mark.parametrize(
    ("method", "settings", "says"),
    [
        (
            "smoothgrad",
            {"sample": 3},
            "no setting 'sample'; there are samples=25, noise=0.15, seed=0, batch_size=8. Did",
        ),
        ("gradcam", {"samples": 3}, "gradcam has no setting 'samples'; there are smooth=none."),
        ("deeplift", {"base": 3}, "no setting 'base'; there are baseline=0.0. Did you mean 'baseline'?"),
        (
            "smoothgrad",
            {"samples": "many"},
            "the setting samples of smoothgrad is a whole number from 1 to",
        ),
        ("smoothgrad", {"samples": 0}, "a whole number from 1 to 1000000, not 0"),
        ("smoothgrad", {"samples": 2.5}, "a whole number from 1 to 1000000, not 2.5"),
        ("smoothgrad", {"noise": float("nan")}, "a number from -1e+09 to 1e+09, not nan"),
        ("smoothgrad", {"noise": "1e999"}, "a number from -1e+09 to 1e+09, not '1e999'"),
        ("smoothgrad", {"noise": 10**400}, "a number from -1e+09 to 1e+09, not 1000"),
        ("rise", {"samples": "9" * 20}, f"a whole number from 1 to 1000000, not '{'9' * 20}'"),
        ("rise", {"samples": float("inf")}, "a whole number from 1 to 1000000, not inf"),
        ("rise", {"cells": 100000}, "the setting cells of rise is a whole number from 1 to 256, not 100000"),
        ("rise", {"seed": 2**32}, "the setting seed of rise is a whole number from 0 to 4294967295, not"),
        ("rise", {"batch_size": 10**6}, "the setting batch_size of rise is a whole number from 1 to 4096, not"),
        ("recipro-cam", {"kernel": 2001}, "the setting kernel of recipro-cam is a whole number from 1 to 255"),
        ("gradcam", {"smooth": "much"}, "the setting smooth of gradcam is none, aug, eigen or aug+eigen, not 'much'"),
        ("eigencam", {"smooth": "eigen"}, "the setting smooth of eigencam is none or aug, not 'eigen'"),
        ("scorecam", {"smooth": "aug"}, "scorecam has no setting 'smooth'"),
        ("gradient", {"smooth": "aug"}, "gradient has no setting 'smooth'; there are none."),
    ],
)
def test_wrong_settings(method: str, settings: dict[str, object], says: str) -> None:
    with pytest.raises(MethodError, match=re.escape(says)):
        Explainer(hand_model(), method=method, settings=settings)


def test_a_method_that_is_a_graph_may_have_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(scene: MapContext, factor: float = 2.0) -> ir.Value:
        """M = factor Σ_k A_k."""
        return scene.op.Mul(scene.op.ReduceSum(scene.activation(), [1], keepdims=0), factor)

    monkeypatch.setitem(
        METHODS, "scaled", GraphMethod(id="scaled", emit=scaled, at_layer=True, uses_layer=True, summary="")
    )
    for settings, factor in (({}, 2), ({"factor": "0.5"}, 0.5)):
        explainer = Explainer(hand_model(), method="scaled", settings=settings)
        np.testing.assert_allclose(explainer.attribute(HAND_X), [[[factor, 2 * factor], [3 * factor, 4 * factor]]])
    with pytest.raises(MethodError, match=r"the setting factor of scaled is a number from -1e.09 to 1e.09, not 'much'"):
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


@pytest.mark.parametrize(
    "method",
    "smoothgrad idgi expected-gradients rise sobol kernelshap lime scorecam ablationcam iscam recipro-cam".split(),
)
def test_batches_and_a_fixed_batch_change_nothing(method: str) -> None:
    libraries_of(method)
    fixed = hand_model()
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    settings = {"samples": 14} if "samples" in METHODS[method].settings else {}
    maps = [
        Explainer(model, method=method, settings={**settings, "batch_size": size}).attribute(HAND_X, target=0)
        for model, size in ((hand_model(), 1), (hand_model(), 4), (fixed, 3))
    ]
    assert maps[0].any()
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-5)
    np.testing.assert_allclose(maps[2], maps[0], rtol=1e-5)


@pytest.mark.parametrize("method", ["rise", "lime", "kernelshap", "expected-gradients"])
def test_the_seed_decides(method: str) -> None:
    libraries_of(method)
    model, x = wide_model()
    maps = [
        Explainer(model, method=method, settings={"samples": 110, "seed": seed}).attribute(x, target=0)
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.allclose(maps[0], maps[2])


def wide_model() -> tuple[onnx.ModelProto, np.ndarray]:
    """The network by hand for images of 12 × 12 pixels, and one of noise."""
    model = hand_model()
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 12
    return model, np.random.default_rng(0).standard_normal((1, 1, 12, 12)).astype(np.float32)


def test_numpys_own_generator_is_left_as_it_was() -> None:
    libraries_of("kernelshap")
    np.random.seed(3)
    first = np.random.random()
    np.random.seed(3)
    model, x = wide_model()
    Explainer(model, method="kernelshap", settings={"samples": 110}).attribute(x)
    assert np.random.random() == first


@pytest.mark.parametrize("method", ["kernelshap", "lime", "xrai", "sobol"])
def test_without_the_extra_the_error_says_what_to_install(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shap", "lime", "lime.lime_base", "skimage.segmentation", "scipy.stats.qmc"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MethodError, match=rf"^{method} is made by .*; pip install 'onnxcam\[perturbation\]'$"):
        Explainer(hand_model(), method=method).attribute(HAND_X)


def test_too_few_samples_to_fit_the_superpixels() -> None:
    libraries_of("kernelshap")
    model, x = wide_model()
    with pytest.raises(
        MethodError, match=r"cannot fit \d+ superpixels to 30 samples; take samples=\d+ or more, or fewer"
    ):
        Explainer(model, method="kernelshap", settings={"samples": 30}).attribute(x)


def test_a_flat_picture_has_superpixels_too() -> None:
    libraries_of("kernelshap")
    model, x = wide_model()
    raw = Explainer(model, method="kernelshap", settings={"segments": 9}).attribute(np.ones_like(x), target=0)
    assert raw.min() > 0


def test_baselines_are_read_from_a_folder_files_or_tensors(tmp_path: Path) -> None:
    """Three images, 0, 102 and 204 everywhere: as tensors 0, 0.4 and 0.8."""
    for i in range(3):
        write(tmp_path / f"{i}.png", np.full((12, 12, 3), 102 * i, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    model, x = wide_model()
    tensors = np.float32([0, 0.4, 0.8])[:, None, None, None] * np.ones_like(x)
    forms = (str(tmp_path), [tmp_path / f"{i}.png" for i in range(3)], tensors)
    maps = [
        Explainer(
            model, method="expected-gradients", preprocess="unit", settings={"baselines": form, "samples": 20}
        ).attribute(x, target=0)
        for form in forms
    ]
    assert maps[0].any()
    for found in maps[:2]:
        np.testing.assert_allclose(found, maps[2], rtol=1e-5)


def test_baselines_of_another_shape_or_none_in_a_folder(tmp_path: Path) -> None:
    model, x = wide_model()
    settings = {"baselines": np.zeros((2, 1, 5, 5), np.float32)}
    with pytest.raises(MethodError, match=r"baselines of expected-gradients became tensors \(1, 5, 5\), .* crop=HxW"):
        Explainer(model, method="expected-gradients", settings=settings).attribute(x)
    with pytest.raises(ImageError, match=r"the folder has no image that can be read; give one with .png or .jpg"):
        Explainer(model, method="expected-gradients", settings={"baselines": tmp_path}).attribute(x)


def test_expected_gradients_tend_to_what_the_picture_has_beyond_its_baselines() -> None:
    model, x = wide_model()
    baselines = np.random.default_rng(1).standard_normal((5, *x.shape[1:])).astype(np.float32)
    settings = {"baselines": baselines, "samples": 3000, "batch_size": 500}
    total = Explainer(model, method="expected-gradients", settings=settings).attribute(x, target=0).sum()
    scores = Session(load(model)).run({"x": np.concatenate([x, baselines])})["logits"][:, 0]
    assert total == pytest.approx(scores[0] - scores[1:].mean(), abs=0.02)


def test_without_baselines_the_picture_itself_is_blurred() -> None:
    """A flat image is its own blur: nothing differs, so the map is zero; a point keeps its mass."""
    model, x = wide_model()
    explainer = Explainer(model, method="expected-gradients", settings={"samples": 4})
    np.testing.assert_allclose(explainer.attribute(np.full_like(x, 2), target=0), np.zeros_like(x), atol=1e-5)
    assert np.abs(explainer.attribute(x, target=0)).max() > 1e-3


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
    for layout, shape in ((GridLayout(3, (1, 2)), (2, 4, 5, 3)), (TokenLayout(2, 1, (4, 5), 1), (2, 22, 3))):
        x = np.ones(shape)
        view = layout.view(x)
        assert view.shape == (2, 3, 4, 5)
        view[:, 1] = 0
        assert x.sum() == x.size - 40


def test_resized_is_linear_between_pixel_centres() -> None:
    np.testing.assert_allclose(resized(np.array([0.0, 4.0]), [4]), [0, 1, 3, 4])
    assert resized(np.ones((2, 3, 4)), (5, 6, 7)).shape == (5, 6, 7)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("onnxcam.methods", "Scene", MapContext),
        ("onnxcam.methods", "Passes", ModelQueries),
        ("onnxcam.methods", "Pictures", ImageSet),
        ("onnxcam.methods.base", "Scene", MapContext),
        ("onnxcam.methods.queries", "Passes", ModelQueries),
        ("onnxcam.methods.queries", "read_settings", read_settings),
    ],
)
def test_names_of_0_1_warn_and_are_the_new_ones(module: str, old: str, new: object) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old} is onnxcam.methods.* now; the old name ends with version"):
        assert getattr(importlib.import_module(module), old) is new
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        importlib.import_module(module).Nothing  # noqa: B018


def test_traits_are_in_the_registry() -> None:
    sensitivities = "gradient deconvnet guided-backprop guided-gradcam guided-gradcam++ smoothgrad vargrad"
    assert set(MethodsWith("sensitivity").ids) == set(sensitivities.split())
    assert MethodsWith("needs_attention").ids == ("legrad", "chefer", "rollout", "grad-eclip")
    assert MethodsWith("extra").ids == ("dff", "xrai", "sobol", "kernelshap", "lime")
    assert MethodsWith("black_box").ids == ("occlusion", "rise", "drise", "sobol", "kernelshap", "lime")
    assert METHODS["finercam"].choices("base") == (
        *("gradcam", "gradcam++", "xgradcam", "hirescam", "gradcam-elementwise", "layercam", "shapleycam"),
        "eigengradcam",
    )


def test_a_base_without_the_trait_is_refused() -> None:
    with pytest.raises(MethodError, match=r"the setting base of finercam is gradcam, .* or eigengradcam, not 'cam'"):
        Explainer(hand_model(), "finercam", settings={"base": "cam"})


def test_a_procedure_that_uses_the_head_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    without = replace(METHODS["ablationcam"], uses_head=False)
    monkeypatch.setitem(METHODS, "ablationcam", without)
    with pytest.raises(MethodError, match="enter it with uses_head=True"):
        Explainer(hand_model(), "ablationcam").attribute(HAND_X, 0)
