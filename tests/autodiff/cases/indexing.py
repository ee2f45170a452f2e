"""Cases for onnxcam.autodiff.rules.indexing."""

import numpy as np

from tests.autodiff.cases import case, distinct, ints, normal

MAX = np.iinfo(np.int64).max


def slices(name, shape, constant=True, **inputs):
    given = {key: None if value is None else ints(*value) for key, value in inputs.items()}
    known = tuple(key for key, value in given.items() if value is not None) if constant else ()
    return case("Slice", name, {"x": normal(*shape), **given}, known)


CASES = [
    slices("plain", (3, 4, 5), starts=[1, 0], ends=[3, 2]),
    slices("axes", (2, 3, 5), starts=[1], ends=[4], axes=[-1]),
    slices("negative", (3, 6), starts=[-4, -9], ends=[-1, MAX], axes=[1, 0]),
    slices("clamped", (3, 4), starts=[1, -99], ends=[MAX, 99], axes=[0, 1]),
    slices("steps", (5, 7), starts=[0, 1], ends=[MAX, 6], axes=[0, 1], steps=[2, 3]),
    slices("blocks", (1, 2, 4, 6), starts=[0, 1], ends=[MAX, MAX], axes=[2, 3], steps=[2, 2]),
    slices("steps-and-none", (5, 4), starts=[1, 1], ends=[3, 4], axes=[1, 0], steps=[1, 2]),
    slices("backwards", (5, 4), starts=[-1, 3], ends=[-MAX, 0], axes=[0, 1], steps=[-1, -2]),
    slices("backwards-and-forwards", (7, 5), starts=[5, 0], ends=[0, MAX], axes=[0, 1], steps=[-2, 2]),
    slices("backwards-clamped", (5,), starts=[99], ends=[1], axes=[0], steps=[-3]),
    slices("run-time", (4, 5), constant=False, starts=[-3, 1], ends=[MAX, 3], axes=[1, 0]),
    slices("run-time-no-axes", (4, 5), constant=False, starts=[1, 2], ends=[3, 9]),
    slices("run-time-steps", (4, 5), constant=False, starts=[-1, 0], ends=[-9, 5], axes=[1, 0], steps=[-2, 1]),
    case(
        "Slice",
        "run-time-axes",
        {"x": normal(4, 5), "starts": ints(3), "ends": ints(0), "axes": ints(1), "steps": ints(-1)},
        ("starts", "ends", "steps"),
    ),
    case(
        "Slice",
        "int32",
        {"x": normal(4), "starts": np.asarray([-3], np.int32), "ends": np.asarray([-1], np.int32)},
        ("starts", "ends"),
    ),
    case("Gather", "scalar", {"x": normal(3, 4), "i": np.asarray(1)}, ("i",), axis=1),
    case("Gather", "negative-scalar", {"x": normal(3, 4), "i": np.asarray(-1)}, ("i",)),
    case("Gather", "run-time-scalar", {"x": normal(3, 4), "i": np.asarray(-2)}, axis=-1),
    case("Gather", "consecutive", {"x": normal(5, 2), "i": ints(2, 3)}, ("i",)),
    case("Gather", "permutation", {"x": normal(2, 3), "i": ints(2, 0, -2)}, ("i",), axis=1),
    case("Gather", "distinct", {"x": normal(2, 5), "i": ints(4, 1)}, ("i",), axis=1),
    case("Gather", "repeated", {"x": normal(3, 2), "i": ints(0, 2, -1)}, ("i",)),
    case("Gather", "wraps", {"x": normal(3, 2), "i": ints(-1, 0)}, ("i",)),
    case("Gather", "table", {"x": normal(2, 3, 2), "i": np.asarray([[0, 2], [1, 0]])}, ("i",), axis=1),
    case("Gather", "run-time", {"x": normal(3, 2, 2), "i": np.asarray([[0, -1], [2, 1]])}, axis=0),
    case("Gather", "int32", {"x": normal(3, 2), "i": np.asarray([1, 1], np.int32)}, axis=1),
    case("GatherElements", "plain", {"x": normal(3, 2), "i": np.asarray([[0, 2], [0, -1]])}),
    case("GatherElements", "axis", {"x": normal(2, 3), "i": np.asarray([[0, 0, 2, 1], [1, -3, 0, 2]])}, axis=1),
    case("GatherND", "elements", {"x": normal(3, 2), "i": np.asarray([[0, 1], [2, -1], [0, 1]])}, ("i",)),
    case("GatherND", "rows", {"x": normal(3, 2), "i": np.asarray([[[0], [2]], [[0], [1]]])}, ("i",)),
    case("GatherND", "batch", {"x": normal(2, 3, 2), "i": np.asarray([[0], [2]])}, ("i",), batch_dims=1),
    case("Compress", "flat", {"x": normal(2, 3), "c": np.asarray([False, True, True, False, True])}, ("c",)),
    case("Compress", "axis", {"x": normal(2, 3), "c": np.asarray([True, False, True])}, axis=-1),
    case("Pad", "constant", {"x": normal(2, 3), "pads": ints(1, 0, 0, 2)}, ("pads",)),
    case("Pad", "value", {"x": normal(2, 3), "pads": ints(1, 0, 0, 2), "value": normal()}, ("pads",)),
    case("Pad", "run-time", {"x": normal(2, 3), "pads": ints(1, 0, 0, 2), "value": normal()}),
    case(
        "Pad",
        "axes",
        {"x": normal(2, 3, 2), "pads": ints(1, 0, 0, 2), "value": None, "axes": ints(-1, 0)},
        ("pads", "axes"),
    ),
    case("Pad", "reflect", {"x": normal(3, 4), "pads": ints(1, 2, 2, 1)}, ("pads",), mode="reflect"),
    case("Pad", "edge", {"x": normal(3, 2), "pads": ints(1, 2, 0, 3)}, mode="edge"),
    case("Pad", "wrap", {"x": normal(3, 2), "pads": ints(1, 1, 2, 0)}, ("pads",), mode="wrap"),
    *[
        case(
            "ScatterElements",
            f"{reduction}-axis-{axis}",
            {"x": distinct(3, 4), "i": np.asarray(i), "u": distinct(*np.shape(i), seed=1) + np.float32(0.03)},
            axis=axis,
            reduction=reduction,
        )
        for reduction in ("none", "add", "mul", "max", "min")
        for axis, i in ((0, [[0, 2, 1, 1], [2, 0, 0, 2]]), (-1, [[3, 0], [1, 2], [0, 1]]))
    ],
    case(
        "ScatterElements",
        "repeated",
        {"x": distinct(3, 2), "i": np.asarray([[0, -1], [0, 2], [0, 2]]), "u": distinct(3, 2, seed=1)},
        reduction="mul",
    ),
    case(
        "ScatterElements",
        "zeros",
        {"x": distinct(4), "i": ints(0, 0, 1, 2, 2), "u": np.asarray([0, 2, 3, 0, 0], np.float32)},
        reduction="mul",
        order=1,  # away from zero, where the gradient is not spelt as a polynomial, the cases above go on
    ),
    *[
        case(
            "ScatterND",
            f"{reduction}-{name}",
            {"x": distinct(4, 3), "i": np.asarray(i), "u": distinct(*shape, seed=1) + np.float32(0.03)},
            reduction=reduction,
        )
        for reduction in ("none", "add", "mul", "max", "min")
        for name, i, shape in (("rows", [[2], [0]], (2, 3)), ("elements", [[0, 1], [3, -1]], (2,)))
    ],
    case("TensorScatter", "rows", {"x": normal(2, 4, 3), "u": normal(2, 2, 3), "i": ints(1, 2)}, ("i",), opset=24),
    case("TensorScatter", "start", {"x": normal(2, 2, 4, 3), "u": normal(2, 2, 3, 3)}, opset=24),
    case(
        "TensorScatter",
        "circular",
        {"x": normal(2, 2, 4), "u": normal(2, 2, 3), "i": ints(1, 3)},
        opset=24,
        axis=2,
        mode="circular",
    ),
]
