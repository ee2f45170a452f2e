"""Masks of cells and channels: of tokens, of volumes, and what is refused."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import STANDARD
from onnxcam.errors import MethodError
from onnxcam.methods.explanation_graph import head_graph
from onnxcam.methods.perturbation import _around
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layer import candidates, named
from onnxcam.targets import ClassAim, find_scores
from tests.methods.replica_networks import Transformer
from tests.networks import HAND_X, export, hand_model
from tests.optional import torch


@torch.no_grad()
@pytest.mark.parametrize("kernel", [1, 3])
def test_recipro_cam_keeps_the_class_token(kernel: int) -> None:
    """ViT-ReciproCAM at the output of the first block, the masks over its three by three patches."""
    torch.manual_seed(0)
    net, x = Transformer(class_token=True).eval(), torch.rand(1, 3, 15, 15)
    model = export(net, x)
    subject = PreparedModel.open(model)
    layers = candidates(subject.model.graph, subject.image, find_scores(subject.model.graph).value, STANDARD)
    sums = [layer.tensor for layer in layers if layer.value.producer().op_type == "Add"]
    z, _ = net.block(net.blocks[0], net.embedded(x))
    expected = torch.zeros(3, 3)
    for i in range(3):
        for j in range(3):
            grid = torch.zeros(5, 5)
            if kernel == 3:
                grid[i : i + 3, j : j + 3] = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
            else:
                grid[i + 1, j + 1] = 1
            factors = torch.cat([torch.ones(1), grid[1:-1, 1:-1].flatten()])
            expected[i, j] = net.head(net.block(net.blocks[1], z * factors[:, None])[0])[0, 2]
    explainer = Explainer(model, method="recipro-cam", layer=sums[2], settings={"kernel": kernel})
    raw = explainer.attribute(x.numpy(), target=2)
    np.testing.assert_allclose(raw[0], (expected - expected.min()).numpy(), rtol=1e-3, atol=1e-5)


class Scaled(torch.nn.Module):
    def __init__(self, module, factors) -> None:
        super().__init__()
        self.module, self.factors = module, factors

    def forward(self, x):
        return self.module(x) * self.factors


@torch.no_grad()
@pytest.mark.parametrize("free", [True, False], ids=["free batch", "batch of 1"])
def test_what_goes_around_the_layer_is_computed_once(free: bool) -> None:
    """The last block's normalised tokens are changed; the sum that the block adds to goes around them as it is."""
    torch.manual_seed(0)
    net, x = Transformer(class_token=True).eval(), torch.rand(1, 3, 15, 15)
    batch = {"dynamic_shapes": ({0: torch.export.Dim("n", min=1, max=64)},)} if free else {}
    model = export(net, torch.rand(2, 3, 15, 15) if free else x, **batch)
    block, (z, _) = net.blocks[1], net.block(net.blocks[0], net.embedded(x))
    norm, y, a = block["norm1"], float(net(x)[0, 2]), block["norm1"](z)[0, 1:].T.reshape(8, 3, 3)
    expected = 0
    for k in range(8):
        factors = torch.ones(10, 8)
        factors[1:, k] = 0
        block["norm1"] = Scaled(norm, factors)
        expected = expected + (y - float(net.head(net.block(block, z)[0])[0, 2])) / abs(y) * a[k]
    explainer = Explainer(model, method="ablationcam")
    raw = explainer.attribute(x.numpy(), target=2)
    np.testing.assert_allclose(raw[0], expected.clamp(min=0).numpy(), rtol=1e-3, atol=1e-5)

    subject = PreparedModel.open(model)
    graph = subject.model.graph
    head_graph(subject, named(graph, subject.image, explainer.choice.layer.tensor, STANDARD), ClassAim())
    names = {value.name for value in graph.inputs}
    assert {"onnxcam.activation", "onnxcam.class"} < names
    assert sum(name.startswith("onnxcam.around.") for name in names) == 1  # the sum before the block
    assert not any(node.op_type == "Conv" for node in graph)


def test_the_masks_of_recipro_cam_are_gaussians_that_the_edge_crops() -> None:
    np.testing.assert_allclose(_around((0,), (4,), 3), [0.5, 0.25, 0, 0])
    np.testing.assert_allclose(_around((2,), (6,), 5), np.array([1, 4, 6, 4, 1, 0]) / 16)
    np.testing.assert_allclose(_around((1, 0, 2), (3, 1, 3), 3).sum(), 1 * 0.5 * 0.75)


def test_the_kernel_of_recipro_cam_is_odd() -> None:
    explainer = Explainer(hand_model(), method="recipro-cam", settings={"kernel": 2})
    with pytest.raises(MethodError, match=r"the setting kernel of recipro-cam is odd, .*, not 2"):
        explainer.attribute(HAND_X)


def test_recipro_cam_of_integers_is_refused() -> None:
    proto = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    bytes (uint8[n, 1, 2, 2] x) => (float[n, 2] logits) <float[2, 1] v = {1, -1}>
    { c = Cast<to = 1>(x) p = GlobalAveragePool(c) f = Flatten(p) logits = Gemm<transB = 1>(f, v) }
    """)
    with pytest.raises(MethodError, match="changes an activation in floating point, but 'x' holds uint8"):
        Explainer(proto, method="recipro-cam", layer="x")


@pytest.mark.parametrize(("method", "settings"), [("scorecam", {}), ("sscam", {"samples": 1}), ("ablationcam", {})])
def test_memory_holds_one_batch(method: str, settings: dict[str, float]) -> None:
    """All masks of 2,048 channels at the image's size would be 34 MB, all images 101 MB."""
    proto = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    wide (float[n, 3, 64, 64] x) => (float[n, 2] logits)
    { p = AveragePool<kernel_shape = [16, 16], strides = [16, 16]>(x) c = Conv(p, w) a = Relu(c)
      g = GlobalAveragePool(a) f = Flatten(g) logits = MatMul(f, v) }
    """)
    rng = np.random.default_rng(0)
    for name, shape in (("w", (2048, 3, 1, 1)), ("v", (2048, 2))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(shape, np.float32), name))
    explainer, x = Explainer(proto, method=method, settings=settings), rng.random((1, 3, 64, 64), np.float32)
    tracemalloc.start()
    try:
        assert explainer.attribute(x, target=0).shape == (1, 4, 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8e6


def test_one_step_of_iscam_masks_nothing_in() -> None:
    """With N = 1 the only share is 0: all channels weigh the same."""
    raw = Explainer(hand_model(), method="iscam", settings={"samples": 1}).attribute(HAND_X, target=0)
    np.testing.assert_allclose(raw, [[[0.5, 1], [1.5, 2]]])
