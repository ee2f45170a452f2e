"""A small network in any floating-point type."""

from __future__ import annotations

import onnx

from tests.autodiff.cases import normal

HALF = """
<ir_version: 10, opset_import: ["" : 18]>
g (TYPE[N, 3, 8, 8] x) => (TYPE[N, 3] y) <TYPE[4, 3, 3, 3] w, TYPE[4] b, TYPE[4, 3] m>
{
    c = Conv<pads = [1, 1, 1, 1]>(x, w, b)
    r = Relu(c)
    h = HardSwish(r)
    q = GlobalAveragePool(h)
    f = Flatten(q)
    y = MatMul(f, m)
}
"""
WEIGHTS = {"w": normal(4, 3, 3, 3), "b": normal(4), "m": normal(4, 3)}


def network(kind: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(HALF.replace("TYPE", kind))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    for name, weight in WEIGHTS.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(dtype), name))
    return model
