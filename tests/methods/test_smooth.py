"""Smoothed maps: the principal component in place of the sum, and the mean over augmented images."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import MethodError
from onnxcam.methods import METHODS
from onnxcam.methods.augment import augmented
from onnxcam.structure.layout import GridLayout
from tests.methods.replica_networks import Net, layer_gradient
from tests.methods.replicas import REPLICAS, eigen
from tests.networks import HAND_X, export, hand_model
from tests.optional import torch

X = torch.randn(3, 3, 15, 15, generator=torch.Generator().manual_seed(1))
TARGET = [4, 0, 2]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = Net(pooled=False).eval()
    return net, export(net, torch.rand(2, 3, 15, 15), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=8)},))


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert expected.any()
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=1e-5 * float(np.abs(expected).max()))


def xgradcam_maps(a, g):
    total = a.sum((2, 3), keepdim=True)
    return torch.where(total == 0, 0, (g * a).sum((2, 3), keepdim=True) / torch.where(total == 0, 1, total)) * a


PARTS = {  # what each method adds up over the channels, and whether it is rectified
    "gradcam": (lambda a, g: g.mean((2, 3), keepdim=True) * a, True),
    "xgradcam": (xgradcam_maps, False),
    "hirescam": (lambda a, g: g * a, False),
    "gradcam-elementwise": (lambda a, g: (g * a).clamp(min=0), False),
    "layercam": (lambda a, g: g.clamp(min=0) * a, True),
}


@pytest.mark.parametrize("method", PARTS)
def test_eigen_is_the_principal_component_of_what_is_summed(network, method: str) -> None:
    net, model = network
    parts, rectified = PARTS[method]
    expected = eigen(parts(*layer_gradient(net, X, TARGET)))
    expected = expected.clamp(min=0) if rectified else expected
    raw = Explainer(model, method=method, smooth="eigen").attribute(X.numpy(), target=TARGET)
    close(raw, expected.numpy())


@pytest.mark.parametrize("method", [id for id, method in METHODS.items() if method.summed])
def test_every_sum_over_channels_can_be_smoothed(method: str) -> None:
    plain, smooth = (
        Explainer(hand_model(), method=method, smooth=how).attribute(HAND_X, target=0) for how in ("none", "eigen")
    )
    assert smooth.shape == plain.shape
    assert np.isfinite(smooth).all()
    assert method == "fem" or not np.allclose(smooth, plain)  # FEM's is zero


@pytest.mark.parametrize("method", ["gradcam++", "eigencam", "fullgrad"])
def test_aug_is_the_mean_over_augmented_pictures(network, method: str) -> None:
    net, model = network
    expected = 0
    for factor in (0.9, 1, 1.1):
        expected = expected + REPLICAS[method](net, factor * X, TARGET)
        expected = expected + REPLICAS[method](net, factor * X.flip(3), TARGET).flip(2)
    raw = Explainer(model, method=method, smooth="aug").attribute(X.numpy(), target=TARGET)
    close(raw, expected.numpy() / 6)
    assert np.abs(raw - Explainer(model, method=method).attribute(X.numpy(), target=TARGET)).max() > 0.01 * raw.max()


def test_aug_and_eigen_go_together(network) -> None:
    net, model = network
    maps = []
    for factor in (0.9, 1, 1.1):
        for x, back in ((X, ()), (X.flip(3), (2,))):
            a, g = layer_gradient(net, factor * x, TARGET)
            maps.append(eigen(g * a).flip(back))
    raw = Explainer(model, method="hirescam", settings={"smooth": "aug+eigen"}).attribute(X.numpy(), target=TARGET)
    close(raw, (sum(maps) / 6).numpy())


def test_the_class_is_that_of_the_picture_itself() -> None:
    """Class 1 is on top, but not for 0.9 x."""
    proto = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[n, 1, 2, 2] x) => (float[n, 2] logits)
    <float[2, 1, 1, 1] w = {1, 2}, float[2] b = {0, -0.95}, float[2, 2] v = {1, 0, 0, 1}>
    { c = Conv(x, w, b) a = Relu(c) p = GlobalAveragePool(a) f = Flatten(p) logits = Gemm<transB = 1>(f, v) }
    """)
    x = np.ones((1, 1, 2, 2), np.float32)  # scores 1 and 1.05; of 0.9 x: 0.9 and 0.85
    explainer = Explainer(proto, smooth="aug")
    np.testing.assert_allclose(explainer.attribute(x), explainer.attribute(x, target=1))
    assert not np.allclose(explainer.attribute(x), explainer.attribute(x, target=0))


def test_a_picture_without_axes_of_space_cannot_be_mirrored() -> None:
    with pytest.raises(MethodError, match=r"smooth=aug mirrors images, but the model's input \(1, 4\) has no axes"):
        augmented(np.zeros((1, 4)), None, lambda x: x)


def test_integers_are_rounded_and_clipped() -> None:
    seen: list[np.ndarray] = []

    def maps(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return x[:, 0].astype(np.float32)

    x = np.array([[[[10, 250]]]], np.uint8)
    found = augmented(x, GridLayout(1, (2, 3)), maps)
    assert [one.ravel().tolist() for one in seen[:3]] == [[9, 225], [10, 250], [11, 255]]
    assert [one.ravel().tolist() for one in seen[3:]] == [[225, 9], [250, 10], [255, 11]]
    assert all(one.dtype == np.uint8 for one in seen)
    np.testing.assert_allclose(found, [[[10, (225 + 250 + 255) / 3]]], rtol=1e-6)
