"""Where quantised tensors lie in a file: in QDQ form, and with operators that compute with integers."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.diagnosis.places import find_places
from tests.diagnosis.test_report import tensor

QDQ = """<ir_version: 8, opset_import: ["": 17]>
g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
<float s = {0.1}, uint8 z = {0}, int8 w_q = {3}, int8 n = {0}> {
  [quantise_x] x_q = QuantizeLinear (x, s, z)
  [read_x] x_d = DequantizeLinear (x_q, s, z)
  [read_w] w = DequantizeLinear (w_q, s, n)
  [multiply] p = Mul (x_d, w)
  [rectify] r = Relu (p)
  [quantise_r] r_q = QuantizeLinear (r, s, z)
  [read_r] y = DequantizeLinear (r_q, s, z)
}"""
INTEGERS = """<ir_version: 8, opset_import: ["": 17]>
g (uint8[1, 1, 4, 4] x) => (uint8[1, 1, 4, 4] y)
<float s = {0.1}, uint8 z = {0}, uint8[1, 1, 1, 1] w = {3}> {
  [convolve] y = QLinearConv (x, s, z, w, s, z, s, z)
}"""


def places(text: str, *tensors: tuple[str, str]) -> dict[str, tuple[list[str], str, str]]:
    """Return the names of the nodes that round, the operator and the activation, by tensor."""
    given = [tensor(name, at, kind=kind) for at, (name, kind) in enumerate(tensors)]
    return {
        name: ([node.name or "" for node in one.rounding], (one.owner and one.owner.name) or "", one.activation)
        for name, one in find_places(ir.from_onnx_text(text), given).items()
    }


def test_a_tensor_in_qdq_form() -> None:
    assert places(QDQ, ("x_q", "activation"), ("w_q", "weight"), ("r_q", "activation"), ("lost", "weight")) == {
        "x_q": (["quantise_x", "read_x"], "", "x_q"),
        "w_q": (["read_w"], "multiply", "r_q"),
        "r_q": (["quantise_r", "read_r"], "rectify", "r_q"),
    }


def test_a_tensor_of_an_operator_on_integers() -> None:
    assert places(INTEGERS, ("x", "activation"), ("w", "weight"), ("y", "activation")) == {
        "x": ([], "", "x"),
        "w": ([], "convolve", "y"),
        "y": ([], "convolve", "y"),
    }
