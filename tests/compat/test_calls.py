"""The calls of other packages give the engine's own maps, in the other package's shape, scale and kind."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer, compat
from onnxcam.compat import pytorch_grad_cam
from onnxcam.compat.captum import attr
from onnxcam.compat.pytorch_grad_cam.utils import image, model_targets
from onnxcam.compat.torchcam import methods, utils
from onnxcam.errors import ImageError, LayerError, MethodError, ModelError, OnnxcamError, TargetError
from onnxcam.methods import METHODS
from tests.networks import varied_model
from tests.optional import torch

X = np.concatenate([np.array([[[[1, -2], [3, -4]]]], np.float32), np.array([[[[2, -1], [1, -3]]]], np.float32)])


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return varied_model()


def ours(model: onnx.ModelProto, method: str, **options: Any) -> np.ndarray:
    return Explainer(model, method=method, **options).attribute(X, [0, 1])


def scaled(maps: np.ndarray) -> np.ndarray:
    low = maps.min((1, 2), keepdims=True)
    return (maps - low) / (maps - low).max((1, 2), keepdims=True).clip(1e-7)


@pytest.mark.parametrize("module", [pytorch_grad_cam, methods, attr], ids=lambda module: module.__name__)
def test_every_name_is_a_class_of_a_method(module: Any) -> None:
    for name, method in module.NAMES.items():
        made = getattr(module, name)
        assert made is getattr(importlib.import_module(module.__name__), name)
        assert (made.__name__, made.__module__, made.method) == (name, module.__name__, METHODS[method].id)
    with pytest.raises(AttributeError, match=r"has no RandomCAM; it has .* \(docs/coming-from.md\)"):
        _ = module.RandomCAM


def quantised_model(first: str) -> onnx.ModelProto:
    """A classifier whose input is int8."""
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]> main (int8[n, 1, 2, 2] x) => (float[n, 2] y)
        <float s = {{0.5}}, int8 z = {{3}}, float[1, 1, 1, 1] k = {{1}}, float[2, 1] w = {{1, -1}}> {{
            h = {first} c = Conv(h, k) a = Relu(c) p = GlobalAveragePool(a) f = Flatten(p) y = Gemm<transB = 1>(f, w)
        }}""")


def test_floats_for_a_quantised_input_are_quantised() -> None:
    model = quantised_model("DequantizeLinear(x, s, z)")
    real = np.array([[[[0.3, 90], [-90, 1.74]]]], np.float32)
    whole = np.array([[[[4, 127], [-128, 6]]]], np.int8)
    for cam in (pytorch_grad_cam.GradCAM(model, ["a"]), pytorch_grad_cam.GuidedBackpropReLUModel(model)):
        assert np.array_equal(cam(real, 0), cam(whole, 0))
    called = compat.CallableModel(model)
    assert np.array_equal(called(real), called(whole))
    extractor = methods.GradCAM(called, "a")
    (found,), (same,) = (extractor(0, called(x)) for x in (real, whole))
    assert np.array_equal(found, same)
    assert np.array_equal(attr.Saliency(model).attribute(real, 0), attr.Saliency(model).attribute(whole, 0))
    unknown = quantised_model("Cast<to = 1>(x)")
    with pytest.raises(ModelError, match=r"this tensor is float32; .*Explainer.prepare\(image\)"):
        pytorch_grad_cam.GradCAM(unknown, ["a"])(real, 0)


def test_a_cam_of_pytorch_grad_cam(model: onnx.ModelProto) -> None:
    targets = [model_targets.ClassifierOutputTarget(0), model_targets.ClassifierOutputTarget(category=1)]
    with pytorch_grad_cam.GradCAM(model=model, target_layers=["a"]) as cam:
        found = cam(input_tensor=X, targets=targets)
        assert np.array_equal(cam.outputs, compat.CallableModel(model)(X))
        top = cam(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scaled(np.maximum(ours(model, "gradcam", layer="a"), 0)), atol=1e-6)
    assert top.shape == (2, 2, 2)
    with pytest.raises(IndexError), pytorch_grad_cam.GradCAM(model):
        raise IndexError  # the peer swallows it


def test_maps_of_several_layers_are_scaled_then_averaged(model: onnx.ModelProto) -> None:
    found = pytorch_grad_cam.LayerCAM(model, ["c", "a"])(X, [0, 1])
    each = [scaled(np.maximum(ours(model, "layercam", layer=layer), 0)) for layer in ("c", "a")]
    np.testing.assert_allclose(found, scaled((each[0] + each[1]) / 2), atol=1e-6)


def test_smoothing_averages_maps_of_changed_inputs_and_takes_the_principal_component(model: onnx.ModelProto) -> None:
    cam = pytorch_grad_cam.HiResCAM(model, "a")
    each = [cam(factor * X, [0, 1]) for factor in (0.9, 1.0, 1.1)]
    each += [cam(np.flip(factor * X, -1), [0, 1])[..., ::-1] for factor in (0.9, 1.0, 1.1)]
    np.testing.assert_allclose(cam(X, [0, 1], aug_smooth=True), np.mean(each, 0), atol=1e-6)
    eigen = np.maximum(ours(model, "hirescam", layer="a", smooth="eigen"), 0)
    np.testing.assert_allclose(cam(X, [0, 1], eigen_smooth=True), scaled(eigen), atol=1e-6)
    principal = pytorch_grad_cam.EigenCAM(model, "a")
    assert np.array_equal(principal(X, eigen_smooth=True), principal(X))


def test_what_classes_of_pytorch_grad_cam_build_on(model: onnx.ModelProto) -> None:
    fine = pytorch_grad_cam.FinerCAM(model, "a", base_method=pytorch_grad_cam.HiResCAM)(X, [0, 1])
    same = ours(model, "finercam", layer="a", settings={"base": "hirescam", "alpha": 1})
    np.testing.assert_allclose(fine, scaled(np.maximum(same, 0)), atol=1e-6)
    other = pytorch_grad_cam.FinerCAM(model, "a")(X, [0, 1], alpha=0.5)
    np.testing.assert_allclose(
        other, scaled(np.maximum(ours(model, "finercam", layer="a", settings={"alpha": 0.5}), 0)), atol=1e-6
    )
    refined = pytorch_grad_cam.RefineCAM(model, ["c", "a"], base_method=pytorch_grad_cam.LayerCAM)(X, [0, 1])
    each = [scaled(np.maximum(ours(model, "layercam", layer=layer), 0)) for layer in ("c", "a")]
    np.testing.assert_allclose(refined, scaled(each[0] * each[1]), atol=1e-6)
    guided = pytorch_grad_cam.GuidedBackpropReLUModel(model=model, device="cpu")(X, target_category=0)
    np.testing.assert_allclose(guided, ours(model, "guided-backprop")[0].transpose(1, 2, 0))


def test_targets_are_onnxcams_own() -> None:
    mask = np.array([[0.0, 1.0]])
    region = model_targets.SemanticSegmentationTarget(3, mask)
    assert region.label == 3
    assert np.array_equal(region.mask, [[0, 255]])
    words = {
        model_targets.BinaryClassifierOutputTarget(1): "0",
        model_targets.BinaryClassifierOutputTarget(0): "not 0",
        model_targets.RawScoresOutputTarget(): "0",
        model_targets.FasterRCNNBoxScoreTarget([2], [[1, 2, 3, 4]]): "box=1,2,3,4 class=2",
    }
    assert [str(target) for target in words] == list(words.values())


def test_pictures_of_pytorch_grad_cam() -> None:
    picture = np.full((2, 2, 3), 51, np.uint8)
    np.testing.assert_allclose(image.preprocess_image(picture)[0, :, 0, 0], [-0.6] * 3, atol=1e-6)
    np.testing.assert_allclose(image.preprocess_image(picture / 255, std=[1, 1, 1])[0, 0], -0.3, atol=1e-6)
    assert image.deprocess_image(np.array([[-1.0, 1.0]])).tolist() == [[102, 152]]  # 127.5 ± 25.5, almost
    rgb = image.show_cam_on_image(np.zeros((1, 2, 3), np.float32), np.array([[0.0, 1.0]]), use_rgb=True)
    assert rgb.tolist() == [[[0, 0, 255], [255, 0, 0]]]  # jet, from dark blue to dark red; the brightest is 255
    bgr = image.show_cam_on_image(np.zeros((1, 2, 3), np.float32), np.array([[0.0, 1.0]]))
    assert np.array_equal(bgr, rgb[..., ::-1])


def test_an_extractor_of_torch_cam_explains_what_the_model_was_called_with(model: onnx.ModelProto) -> None:
    called = compat.CallableModel(model).eval().to("cpu")
    with methods.LayerCAM(called, target_layer=["c", "a"]) as extractor:
        scores = called(X)
        first, second = extractor([0, 1], scores, normalized=False)
        (_, third) = extractor(class_idx=[0, 1], scores=scores)
    np.testing.assert_allclose(first, np.maximum(ours(model, "layercam", layer="c"), 0))
    np.testing.assert_allclose(third, scaled(second), atol=1e-6)
    assert scores.shape == (2, 2)
    noisy = methods.SmoothGradCAMpp(called, "a", 3, 0.7)(targets=[0, 1], scores=scores, normalized=False)[0]
    for row, scale in enumerate((7, 5)):  # the ranges of both images
        same = ours(model, "smoothgradcam++", layer="a", settings={"samples": 3, "noise": 0.7 / scale})
        np.testing.assert_allclose(noisy[row], np.maximum(same, 0)[row], rtol=1e-5)


def test_an_extractor_explains_the_input_of_the_scores_else_the_last_one_that_it_heard(model: onnx.ModelProto) -> None:
    called = compat.CallableModel(model)
    first, second = X[:1], X[1:]
    expected = [Explainer(model, method="layercam", layer="a").attribute(x, [0])[0] for x in (first, second)]
    extractor, other = methods.LayerCAM(called, "a"), methods.LayerCAM(called, "a", enable_hooks=False)
    scores = called(first)
    extractor.disable_hooks()
    later = called(second)
    for found, index in (
        (extractor(0, scores, normalized=False), 0),
        (extractor(0, later, normalized=False), 1),
        (extractor(0, normalized=False), 0),
        (extractor(0, 2 * later, normalized=False), 0),
    ):
        np.testing.assert_allclose(found[0][0], np.maximum(expected[index], 0), rtol=1e-6)
    with pytest.raises(TargetError, match="the scores have 2 rows, and the model was called with 1 images"):
        extractor(0, called(X) + 0)
    with pytest.raises(TargetError, match="not called since the extractor was made"):
        other(0)
    with extractor:
        pass
    with pytest.raises(TargetError, match="not called since the extractor was made"):
        extractor(0)


def test_an_overlay_of_torch_cam() -> None:
    pil = pytest.importorskip("PIL.Image")
    picture, mask = pil.new("RGB", (4, 2), (10, 20, 30)), pil.fromarray(np.full((1, 2), 1.0, np.float32))
    found = utils.overlay_mask(picture, mask, alpha=0.5)
    assert (found.size, found.getpixel((0, 0))) == ((4, 2), (69, 10, 15))  # half of jet's dark red, (128, 0, 0)


def test_attributions_of_captum(model: onnx.ModelProto) -> None:
    gradient = ours(model, "gradient")
    np.testing.assert_allclose(attr.Saliency(model).attribute(X, [0, 1]), np.abs(gradient))
    np.testing.assert_allclose(attr.Saliency(model).attribute(X, target=[0, 1], abs=False), gradient)
    np.testing.assert_allclose(attr.Saliency(model).attribute(X, [(0,), (1,)], abs=False), gradient)
    cam = attr.LayerGradCam(model, "c").attribute(X, [0, 1])
    np.testing.assert_allclose(cam, ours(model, "gradcam", layer="c", signed=True)[:, None])
    assert cam.min() < 0
    np.testing.assert_allclose(
        attr.LayerGradCam(model, "c").attribute(X, [0, 1], None, False, True), np.maximum(cam, 0)
    )
    large = attr.LayerAttribution.interpolate(cam, (4, 4))
    assert np.array_equal(large, cam.repeat(2, -1).repeat(2, -2))
    (integrated,), delta = attr.IntegratedGradients(model).attribute(
        (X,), np.full_like(X, 0.5), [0, 1], n_steps=20, return_convergence_delta=True
    )
    np.testing.assert_allclose(
        integrated, ours(model, "integrated-gradients", settings={"steps": 20, "baseline": 0.5}), atol=1e-6
    )
    rows = Explainer(model)
    change = rows.scores(X, [0, 1]) - rows.scores(np.full_like(X, 0.5), [0, 1])
    np.testing.assert_allclose(delta, integrated.sum((1, 2, 3)) - change, atol=1e-6)
    fine = attr.GuidedGradCam(model, "a").attribute(X, [0, 1])
    np.testing.assert_allclose(fine, ours(model, "guided-gradcam", layer="a"))  # of one size: nothing is enlarged
    covered = attr.Occlusion(model).attribute(X, sliding_window_shapes=(1, 1, 1), target=[0, 1])
    same = ours(model, "occlusion", settings={"patch": 0.5, "stride": 0.5})
    np.testing.assert_allclose(covered, same[:, None])


def test_files_of_channels_last_give_the_same_maps(model: onnx.ModelProto) -> None:
    last = onnx.ModelProto.FromString(model.SerializeToString())
    (image_input,) = last.graph.input
    image_input.name, image_input.type.tensor_type.shape.dim[1].dim_value = "image", 2
    image_input.type.tensor_type.shape.dim[3].dim_value = 1
    last.graph.node.insert(0, onnx.helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]))
    x = np.moveaxis(X, 1, -1)
    for call in (
        lambda m, x: pytorch_grad_cam.GradCAM(m, "a")(x, [0, 1], aug_smooth=True),
        lambda m, x: attr.LayerGradCam(m, "a").attribute(x, [0, 1]),
    ):
        np.testing.assert_allclose(call(last, x), call(model, X), atol=1e-6)
    for call in (
        lambda m, x, c: pytorch_grad_cam.GuidedBackpropReLUModel(m)(x, 1)[None],
        lambda m, x, c: attr.GuidedGradCam(m, "a").attribute(x, [0, 1]),
        lambda m, x, c: attr.Occlusion(m).attribute(x, tuple(np.insert([1, 1], c, 1).tolist()), 1, target=1),
    ):
        first = call(model, X, 0)
        first = first if len(first) == 1 else np.moveaxis(first, 1, -1)
        np.testing.assert_allclose(call(last, x, 2), first, atol=1e-6)
    with pytest.raises(MethodError, match=r"sliding_window_shapes=\(side, side, 1\)"):
        attr.Occlusion(last).attribute(x, (1, 1), target=0)


def test_a_tuple_of_captum_is_a_place_in_the_output_and_one_score_needs_no_target() -> None:
    text = "<ir_version: 8, opset_import: ['' : 17]> g (float[n, 1, 2, 2] x) => (float[n, 1, 2, 2] y) { y = Mul(x, x) }"
    dense = onnx.parser.parse_model(text.replace("'", '"'))
    expected = np.zeros_like(X)
    expected[:, 0, 0, 1] = 2 * X[:, 0, 0, 1]
    np.testing.assert_allclose(attr.Saliency(dense).attribute(X, (0, 0, 1), abs=False), expected)
    one = onnx.parser.parse_model(
        text.replace("'", '"').replace(
            "float[n, 1, 2, 2] y) { y = Mul(x, x)",
            "float[n, 1] y) { m = Mul(x, x) p = GlobalAveragePool(m) y = Flatten(p)",
        )
    )
    np.testing.assert_allclose(attr.Saliency(one).attribute(X, abs=False), X / 2)


def test_a_noise_tunnel_is_a_moment_over_noisy_inputs(model: onnx.ModelProto) -> None:
    rng = np.random.default_rng(0)
    noisy = [X + np.float32(0.3) * rng.standard_normal(X.shape, np.float32) for _ in range(4)]
    each = np.array([attr.Saliency(model).attribute(one, target=1) for one in noisy])
    tunnel = attr.NoiseTunnel(attr.Saliency(model))
    for kind, expected in {
        "smoothgrad": each.mean(0),
        "smoothgrad_sq": (each**2).mean(0),
        "vargrad": each.var(0),
    }.items():
        found = tunnel.attribute(X, nt_type=kind, nt_samples=4, stdevs=0.3, target=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    integrated = attr.NoiseTunnel(attr.IntegratedGradients(model))
    (maps,), delta = integrated.attribute((X,), nt_samples=3, stdevs=(0.3,), target=1, return_convergence_delta=True)
    assert (maps.shape, delta.shape) == (X.shape, (6,))


def test_tensors_of_pytorch_give_tensors_of_pytorch(model: onnx.ModelProto) -> None:
    x = torch.from_numpy(X).requires_grad_()
    called = compat.CallableModel(model)
    scores = called(x)
    (maps,) = methods.GradCAM(called, "a")(scores.argmax(1), scores)
    found = attr.InputXGradient(called).attribute(x, target=torch.tensor([0, 1]))
    assert all(isinstance(one, torch.Tensor) for one in (scores, maps, found))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), ours(model, "gradient-x-input"))
    assert isinstance(pytorch_grad_cam.GradCAM(called, ["a"])(x.double(), [0, 1]), np.ndarray)


def test_maps_of_torch_cam_are_fused_by_their_maximum() -> None:
    small, large = np.full((1, 1, 1), 0.4, np.float32), np.array([[[0.1, 0.5]]], np.float32)
    np.testing.assert_allclose(methods.LayerCAM.fuse_cams([small, large]), [[[0.4, 0.5]]], rtol=1e-6)
    assert methods.LayerCAM.fuse_cams([small, large], (2, 2)).shape == (1, 2, 2)


ERRORS: dict[str, tuple[type[OnnxcamError], Any]] = {
    "gives a layer|'layer4' (`onnxcam inspect`": (LayerError, lambda m: pytorch_grad_cam.GradCAM(m, [object()])),
    "the model is given as function; give the path of its .onnx file": (
        ModelError,
        lambda m: attr.Saliency(lambda x: x),
    ),
    "not ()": (MethodError, lambda m: attr.Occlusion(m).attribute(X, ((1, 1),))),
    "is a function, which a file cannot differentiate": (
        TargetError,
        lambda m: pytorch_grad_cam.GradCAM(m)(X, [lambda output: output[0]] * 2),
    ),
    "there are 1 targets for 2 images": (TargetError, lambda m: pytorch_grad_cam.GradCAM(m)(X, [0])),
    "ScoreCAM has no eigen_smooth here": (
        MethodError,
        lambda m: pytorch_grad_cam.ScoreCAM(m)(X, eigen_smooth=True),
    ),
    "finercam has no setting 'comparison_categories'": (
        MethodError,
        lambda m: pytorch_grad_cam.FinerCAM(m)(X, comparison_categories=[1]),
    ),
    "is no class index": (TargetError, lambda m: pytorch_grad_cam.GradCAM(m)(X, [0.5, 1])),
    "a map explains one box, not 2": (
        TargetError,
        lambda m: model_targets.FasterRCNNBoxScoreTarget([1, 2], [[0, 0, 1, 1]] * 2),
    ),
    "values up to 255; give one in [0, 1]": (
        ImageError,
        lambda m: image.show_cam_on_image(np.full((1, 1, 3), 255), np.ones((1, 1))),
    ),
    "image_weight is 2": (
        ImageError,
        lambda m: image.show_cam_on_image(np.ones((1, 1, 3)), np.ones((1, 1)), image_weight=2),
    ),
    'give onnxcam.compat.CallableModel("model.onnx")': (MethodError, methods.GradCAM),
    "call model(x) before it": (TargetError, lambda m: methods.GradCAM(compat.CallableModel(m))(0, None)),
    "called with 2 inputs and has 1: x": (ModelError, lambda m: compat.CallableModel(m)(X, X)),
    "the model has several scores; give target=": (TargetError, lambda m: attr.Saliency(m).attribute(X)),
    "the target 1.5 is no class index; give a whole number": (
        TargetError,
        lambda m: model_targets.ClassifierOutputTarget(1.5),
    ),
    "the target True is no class index": (TargetError, lambda m: pytorch_grad_cam.GradCAM(m)(X, [0, True])),
    "the category of a binary classifier is 2": (TargetError, lambda m: model_targets.BinaryClassifierOutputTarget(2)),
    "the map has the shape [2, 2] and the image [4, 4, 3]; give one map [H, W]": (
        ImageError,
        lambda m: image.show_cam_on_image(np.ones((4, 4, 3)), np.ones((2, 2))),
    ),
    "the image has the shape [4, 4]; give one [H, W, 3]": (
        ImageError,
        lambda m: image.show_cam_on_image(np.ones((4, 4)), np.ones((4, 4))),
    ),
    "the map has values from 0 to 2; give one in [0, 1]": (
        ImageError,
        lambda m: image.show_cam_on_image(np.ones((1, 2, 3)), np.array([[0, 2]])),
    ),
    "LRP has no return_convergence_delta here": (
        MethodError,
        lambda m: attr.LRP(m).attribute(X, 0, return_convergence_delta=True),
    ),
    "IntegratedGradients has multiply_by_inputs=True only": (
        MethodError,
        lambda m: attr.IntegratedGradients(m, multiply_by_inputs=False),
    ),
    "stdevs is -1": (MethodError, lambda m: attr.NoiseTunnel(attr.Saliency(m)).attribute(X, stdevs=-1, target=0)),
    "there are no outputs yet": (ModelError, lambda m: pytorch_grad_cam.GradCAM(m).outputs),
    "ScoreCAM has no argument 'samples'; it takes model, target_layer, batch_size": (
        MethodError,
        lambda m: methods.ScoreCAM(compat.CallableModel(m), samples=3),
    ),
    "has no argument 'n_steps'; it takes inputs, target, abs": (
        MethodError,
        lambda m: attr.Saliency(m).attribute(X, n_steps=3),
    ),
    "has method='riemann_middle' only": (
        MethodError,
        lambda m: attr.IntegratedGradients(m).attribute(X, method="gausslegendre"),
    ),
    "the baseline has several values": (MethodError, lambda m: attr.DeepLift(m).attribute(X, X)),
    "gets 'target' twice": (MethodError, lambda m: attr.Saliency(m).attribute(X, 1, target=1)),
    "1 additional_forward_args, and the model has 0": (
        ModelError,
        lambda m: attr.Saliency(m).attribute(X, 0, additional_forward_args=X),
    ),
    "nt_samples is 0; give a whole number, at least 1": (
        MethodError,
        lambda m: attr.NoiseTunnel(attr.Saliency(m)).attribute(X, nt_samples=0),
    ),
    "such as Saliency(model)": (MethodError, lambda m: attr.NoiseTunnel(m).attribute(X)),
    "does not fit maps of shape": (MethodError, lambda m: attr.LayerAttribution.interpolate(X, (4,))),
    "there are no maps to fuse": (MethodError, lambda m: methods.CAM.fuse_cams([])),
    "is no batch of images": (ModelError, lambda m: pytorch_grad_cam.GradCAM(m)(X[:0], [])),
    "given as str and holds no numbers": (ModelError, lambda m: pytorch_grad_cam.GradCAM(m)("img.jpg")),
    "given as list and holds no numbers": (ModelError, lambda m: pytorch_grad_cam.GradCAM(m)([[1], [1, 2]])),
    "GradientShap needs baselines": (MethodError, lambda m: attr.GradientShap(m).attribute(X)),
    "explains one input, not 2": (MethodError, lambda m: attr.Saliency(m).attribute((X, X))),
    "covers all channels": (MethodError, lambda m: attr.Occlusion(m).attribute(X, (1, 1))),
    "is no equal share": (MethodError, lambda m: attr.Occlusion(m).attribute(X, (1, 1, 2))),
    "no nt_type is called 'mean'": (
        MethodError,
        lambda m: attr.NoiseTunnel(attr.Saliency(m)).attribute(X, nt_type="mean"),
    ),
    "no interpolate_mode is called 'area'": (
        MethodError,
        lambda m: attr.LayerAttribution.interpolate(X, (4, 4), "area"),
    ),
}


@pytest.mark.parametrize("text", ERRORS)
def test_what_has_no_counterpart_is_one_line(text: str, model: onnx.ModelProto) -> None:
    kind, call = ERRORS[text]
    with pytest.raises(kind) as error:
        call(model)
    assert text.rpartition("|")[2] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_is_read_as_a_model_in_memory_is(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.warns(UserWarning, match="reshape_transform is not used"):
        cam = pytorch_grad_cam.GradCAM(tmp_path / "m.onnx", ["a"], reshape_transform=lambda tokens: tokens)
    assert np.array_equal(cam(X, [0, 1]), pytorch_grad_cam.GradCAM(model, ["a"])(X, [0, 1]))
