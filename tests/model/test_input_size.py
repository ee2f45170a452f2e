"""An open height and width are fixed, and what is computed from them."""

from __future__ import annotations

import onnx
import pytest

from onnxcam.errors import ModelError
from onnxcam.model.prepared import PreparedModel

OPEN = """<ir_version: 8, opset_import: ["": 17]>
g (float[N, 3, H, W] x) => (float[N, 3, h, w] y) { y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) }"""
VECTOR = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }'


def test_what_follows_has_its_size_too() -> None:
    prepared = PreparedModel.open(onnx.parser.parse_model(OPEN), size=(32, 48))
    assert [str(n) for n in prepared.image.shape or ()] == ["N", "3", "32", "48"]
    assert list(prepared.model.graph.outputs[0].shape or ())[2:] == [16, 24]
    assert PreparedModel.open(onnx.parser.parse_model(OPEN)).image.shape[2] != 32  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        (OPEN, (0, 4), "--input-size is 0 × 4; give a height and a width of 1 to 16384 pixels"),
        (OPEN.replace("H, W]", "8, W]"), (4, 8), "the input 'x' is of the size 8 × [?], not 4 × 8"),
        (VECTOR, (4, 8), "the input 'x' has no height and width to fix"),
    ],
)
def test_sizes_that_do_not_fit(text: str, size: tuple[int, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        PreparedModel.open(onnx.parser.parse_model(text), size=size)
