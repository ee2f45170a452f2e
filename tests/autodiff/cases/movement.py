"""Cases for onnxcam.autodiff.rules.movement."""

import numpy as np

from tests.autodiff.cases import case, ints, normal

# What sets an output's rank is a constant here, as a model must declare the rank of its outputs; see test_movement.
CASES = [
    case("Reshape", "copy-and-infer", {"x": normal(2, 3, 4), "shape": ints(0, -1)}, ("shape",)),
    case("Reshape", "run-time", {"x": normal(2, 3, 4), "shape": ints(4, 6)}, symbolic=False),
    case("Reshape", "allowzero", {"x": normal(2, 3), "shape": ints(3, 2)}, ("shape",), allowzero=1),
    case("Flatten", "plain", {"x": normal(2, 3, 4)}),
    case("Flatten", "axis", {"x": normal(2, 3, 4)}, axis=-1),
    case("Flatten", "axis-0", {"x": normal(2, 3)}, axis=0),
    case("Squeeze", "axes", {"x": normal(2, 1, 3, 1), "axes": ints(-1, 1)}, ("axes",)),
    case("Squeeze", "no-axes", {"x": normal(2, 1, 3, 1)}, symbolic=False),
    case("Unsqueeze", "axes", {"x": normal(2, 3), "axes": ints(3, 0)}, ("axes",)),
    case("Transpose", "reversed", {"x": normal(2, 3, 4)}),
    case("Transpose", "perm", {"x": normal(2, 3, 4)}, perm=[2, 0, 1]),
    case("Expand", "constant", {"x": normal(3, 1), "shape": ints(2, 1, 4)}, ("shape",)),
    case("Expand", "run-time", {"x": normal(3, 1), "shape": ints(2, 3, 4)}, symbolic=False),
    case("Expand", "scalar", {"x": normal(), "shape": ints(2, 2)}, symbolic=False),
    case("Tile", "constant", {"x": normal(2, 3), "repeats": ints(3, 2)}, ("repeats",)),
    case("Tile", "run-time", {"x": normal(2, 3), "repeats": ints(1, 2)}),
    case("Concat", "two", {"a": normal(2, 3), "b": normal(2, 1)}, axis=1),
    case("Concat", "three", {"a": normal(2, 3), "b": normal(1, 3), "c": normal(3, 3)}, axis=-2),
    case("Concat", "one", {"a": normal(2, 3)}, axis=0),
    case("Split", "num-outputs", {"x": normal(2, 5)}, outputs=2, axis=1, num_outputs=2),
    case("Split", "uneven", {"x": normal(6, 2), "sizes": ints(1, 3, 2)}, ("sizes",), outputs=3),
    case(
        "Split",
        "one-unused",
        {"x": normal(2, 5), "sizes": ints(2, 1, 2)},
        ("sizes",),
        outputs=3,
        axis=1,
        check={"outputs": ["y2"]},
    ),
    case("DepthToSpace", "DCR", {"x": normal(1, 8, 2, 3)}, blocksize=2),
    case("DepthToSpace", "CRD", {"x": normal(2, 8, 2, 3)}, blocksize=2, mode="CRD"),
    case("SpaceToDepth", "plain", {"x": normal(1, 2, 4, 6)}, blocksize=2),
    case("Trilu", "upper", {"x": normal(2, 3, 4)}),
    case("Trilu", "lower", {"x": normal(3, 4), "k": np.asarray(-1)}, ("k",), upper=0),
    case("Trilu", "run-time", {"x": normal(3, 4), "k": np.asarray(1)}),
    case("ReverseSequence", "time-major", {"x": normal(4, 3, 2), "lengths": ints(2, 4, 1)}),
    case("ReverseSequence", "batch-major", {"x": normal(2, 4), "lengths": ints(3, 4)}, batch_axis=0, time_axis=1),
]
