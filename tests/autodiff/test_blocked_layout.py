"""Sums of cotangents stay in the blocked layout, and are right."""

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import vjp
from onnxcam.testing import check_grads
from tests.autodiff.cases import normal


def network(channels: int, pool: str = "Relu (s)") -> onnx.ModelProto:
    """Return a residual block: the skip's cotangent comes from *pool*, the other from a convolution."""
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[1, {channels}, 4, 4] x) => (float[1, {channels}, H, W] y)
        {{ c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w) s = Add (x, c) y = {pool} }}""")
    w = (0.2 * normal(channels, channels, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    return model


def added(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the depthwise convolutions of the gradient of x."""
    nodes = vjp(model, ["y"], ["x"]).graph.node
    return [
        node for node in nodes if node.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in node.attribute)
    ]


def test_a_plain_operand_of_a_sum_gets_the_layout_of_the_convolution() -> None:
    (node,) = added(network(16))
    assert node.name.startswith("onnxcam")
    check_grads(network(16), {"x": normal(1, 16, 4, 4).astype(np.float32)}, order=1)


@pytest.mark.parametrize("channels", [3, 12])
def test_channels_that_fill_no_block_stay_plain(channels: int) -> None:
    assert not added(network(channels))


def test_a_sum_of_blocked_operands_is_left() -> None:
    """The second block's sum is blocked already: one convolution is added for both."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[1, 16, 4, 4] x) => (float[1, 16, 1, 1] y)
        { c = Conv <kernel_shape = [1, 1]> (x, w) s = Add (x, c)
          d = Conv <kernel_shape = [1, 1]> (s, w) t = Add (s, d) y = GlobalAveragePool (t) }""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(normal(16, 16, 1, 1).astype(np.float32), "w"))
    assert len(added(model)) == 1
