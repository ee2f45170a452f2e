"""Which classes and which layers the composite CAMs are made of."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import MethodError
from tests.networks import HAND_X, export, hand_model
from tests.optional import torch

nn, F = torch.nn, torch.nn.functional


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inputs, outputs, 3, stride, 1), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.skip(x))


class Residual(nn.Module):
    """A ResNet: a stem with a pool, three stages of two blocks each, a pooled linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        sizes = [(8, 8, 1), (8, 12, 2), (12, 16, 2)]
        self.stages = nn.ModuleList(
            nn.Sequential(Block(inputs, outputs, stride), Block(outputs, outputs, 1))
            for inputs, outputs, stride in sizes
        )
        self.linear = nn.Linear(16, 4)

    def ends(self, x):
        x = F.max_pool2d(F.relu(self.stem(x)), 2)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x):
        return self.linear(self.ends(x)[-1].mean((2, 3)))


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    net = Residual().eval()
    return net, export(net, torch.rand(1, 3, 32, 32))


def layercam(net, x, target):
    """The LayerCAM at the end of each stage."""
    ends = net.ends(x)
    gradients = torch.autograd.grad(net.linear(ends[-1].mean((2, 3)))[0, target], ends)
    return [(g.clamp(min=0) * a).sum(1, keepdim=True).detach() for a, g in zip(ends, gradients, strict=True)]


@pytest.mark.parametrize(("stages", "taken"), [(4, 3), (2, 2), (1, 1)])
def test_the_layers_of_refinecam_end_the_stages(residual, stages: int, taken: int) -> None:
    """The stem's activation is a stage of its own, the first of the four."""
    net, model = residual
    x, expected = torch.rand(1, 3, 32, 32), 1
    for cam in layercam(net, x, 2)[-taken:]:
        low, high = cam.min(), cam.max()
        expected = expected * F.interpolate((cam - low) / (high - low), (32, 32), mode="bilinear", align_corners=False)
    if stages == 4:
        stem = F.relu(net.stem(x)).detach().requires_grad_()
        y = F.max_pool2d(stem, 2)
        for stage in net.stages:
            y = stage(y)
        (g,) = torch.autograd.grad(net.linear(y.mean((2, 3)))[0, 2], stem)
        cam = (g.clamp(min=0) * stem).sum(1, keepdim=True).detach()
        cam = (cam - cam.min()) / (cam.max() - cam.min())
        expected = expected * F.interpolate(cam, (32, 32), mode="bilinear", align_corners=False)
    explainer = Explainer(model, method="refinecam", settings={"stages": stages, "base": "layercam"})
    raw = explainer.attribute(x.numpy(), target=2)
    np.testing.assert_allclose(raw, expected[:, 0].numpy(), rtol=1e-3, atol=1e-5 * float(expected.max()))


def test_refinecam_of_any_size(residual) -> None:
    """Stages are told apart by the symbols of their lengths."""
    net, model = residual
    dims = {2: 8 * torch.export.Dim("h", min=2, max=64), 3: 8 * torch.export.Dim("w", min=2, max=64)}
    free, x = export(net, torch.rand(1, 3, 32, 32), dynamic_shapes=(dims,)), torch.rand(1, 3, 32, 32)
    maps = [Explainer(one, method="refinecam").attribute(x.numpy(), target=2) for one in (model, free)]
    assert maps[0].any()
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-4, atol=1e-6)
    assert Explainer(free, method="refinecam").attribute(np.zeros((1, 3, 48, 64), np.float32)).shape == (1, 48, 64)


def test_refinecam_ends_with_the_layer(residual) -> None:
    net, model = residual
    x = torch.rand(1, 3, 32, 32)
    second = layercam(net, x, 2)[1]
    expected = F.interpolate(second - second.min(), (32, 32), mode="bilinear", align_corners=False)
    settings = {"stages": 1, "base": "layercam"}
    raw = Explainer(model, method="refinecam", layer="stages.1", settings=settings).attribute(x.numpy(), target=2)
    expected = expected[:, 0].numpy() / float((second - second.min()).max())
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-5)


def test_refined_layercam_without_blur_is_refinecam_of_layercam(residual) -> None:
    _, model = residual
    x = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    plain = Explainer(model, method="refinecam", settings={"base": "layercam"}).attribute(x)
    refined = Explainer(model, method="refined-layercam", settings={"blur": 0}).attribute(x)
    np.testing.assert_allclose(refined, plain, rtol=1e-6)


def test_a_blur_below_zero_is_refused() -> None:
    with pytest.raises(
        MethodError, match="the setting blur of refined-layercam is 0 or a number of cells above 0, not -1"
    ):
        Explainer(hand_model(), "refined-layercam", settings={"blur": -1})


def test_finercam_with_alpha_zero_is_its_base(residual) -> None:
    _, model = residual
    x = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    for base in ("hirescam", "layercam", "eigengradcam"):
        plain = Explainer(model, method=base).attribute(x)
        finer = Explainer(model, method="finercam", settings={"alpha": 0, "base": base}).attribute(x)
        np.testing.assert_allclose(finer, plain, rtol=1e-5, atol=1e-7)


def test_finercam_compares_with_the_classes_there_are() -> None:
    """Of two classes there is one other, however many are asked for."""
    maps = [
        Explainer(hand_model(), method="finercam", settings={"classes": count, "base": "hirescam"}).attribute(HAND_X)
        for count in (1, 7)
    ]
    np.testing.assert_array_equal(*maps)


def test_finercam_needs_two_classes() -> None:
    proto = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    one (float[n, 1, 2, 2] x) => (float[n, 1] logits) <float[1, 1, 1, 1] w = {1}, float[1, 1] v = {1}>
    { c = Conv(x, w) a = Relu(c) p = GlobalAveragePool(a) f = Flatten(p) logits = Gemm(f, v) }
    """)
    with pytest.raises(MethodError, match="finercam compares a class with others, but the model has only one; use"):
        Explainer(proto, method="finercam")


def test_the_base_is_a_cam_of_the_gradient() -> None:
    with pytest.raises(MethodError, match=r"the setting base of finercam is gradcam, .* or eigengradcam, not 'fem'"):
        Explainer(hand_model(), method="finercam", settings={"base": "fem"})
