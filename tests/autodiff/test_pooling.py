"""What the case table cannot say about pooling."""

import numpy as np
import onnx.parser

from onnxcam.autodiff import vjp
from onnxcam.testing import run


def test_max_unpool_counts_places_in_the_given_shape() -> None:
    # As ONNX Runtime does; the reference evaluator counts them in the smallest shape. ONNX infers no shape here.
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 21]>
        g (float[1,1,2,2] x, int64[1,1,2,2] i) => (float[1,1,5,5] y) <int64[4] shape = {1, 1, 5, 5}> {
            y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (x, i, shape)
        }
    """)
    places = np.asarray([6, 8, 16, 24])
    feeds = {"x": np.ones((1, 1, 2, 2), np.float32), "i": places.reshape(1, 1, 2, 2)}
    u = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    results = run(vjp(model, ["y"], ["x"]), {**feeds, "y.cotangent": u})
    np.testing.assert_array_equal(np.flatnonzero(results["y"]), places)
    np.testing.assert_array_equal(results["x.gradient"].ravel(), places)


def test_max_pool_gives_ties_to_the_first() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 21]>
        g (float[1,1,3] x) => (float[1,1,2] y) { y = MaxPool <kernel_shape = [2]> (x) }
    """)
    feeds = {"x": np.ones((1, 1, 3), np.float32), "y.cotangent": np.asarray([[[1, 2]]], np.float32)}
    np.testing.assert_array_equal(run(vjp(model), feeds)["x.gradient"], [[[1, 2, 0]]])
