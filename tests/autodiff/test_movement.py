"""Operators whose output's rank is only known when the model runs stand between others."""

import numpy as np
import pytest
from onnx import parser

from onnxcam.testing import check_grads
from tests.autodiff.cases import ints, normal


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        ("z = Squeeze(x, k)", ints(1)),
        ("z = Unsqueeze(x, k)", ints(-1, 1)),
        ("z = Reshape(x, k)", ints(3, -1)),
        ("z = Expand(x, k)", ints(2, 3, 2, 4)),
        ("a, z = Split<axis = -1>(x, k)", ints(1, 3)),
        ("a, b = Split<axis = 2>(x, k) z = Concat<axis = -1>(b, x, a)", ints(1, 3)),
        ("z = Tile(x, k)", ints(2, 1, 2)),
    ],
)
def test_unknown_rank(body: str, extra: np.ndarray) -> None:
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        case (float[A, 1, B] v, int64[K] k) => (float[M] y)
            <int64[3] s = {{3, 1, 4}}, int64[1] flat = {{-1}}> {{
            x = Reshape(v, s)
            {body}
            w = Mul(z, z)
            y = Reshape(w, flat)
        }}"""
    )
    check_grads(model, {"v": normal(4, 1, 3), "k": extra})
