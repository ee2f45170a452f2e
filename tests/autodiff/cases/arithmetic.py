"""Cases for onnxcam.autodiff.rules.arithmetic."""

import numpy as np
import onnx

from tests.autodiff.cases import case, distinct, normal, uniform

POSITIVE = uniform(2, 3, 4, low=0.5, high=2)
FLAG = np.asarray(False)


def scalar(value: float) -> np.ndarray:
    return np.asarray(value, np.float32)


CASES = [
    case("Add", "same", {"a": normal(2, 3), "b": normal(2, 3, seed=1)}),
    case("Add", "broadcast", {"a": normal(2, 3, 4), "b": normal(3, 1)}),
    case("Sub", "broadcast", {"a": normal(2, 3, 4), "b": normal(1)}),
    case("Mul", "broadcast", {"a": normal(3, 1), "b": normal(2, 3, 4)}),
    case("Div", "broadcast", {"a": normal(3, 1), "b": POSITIVE}),
    case("Div", "by a constant", {"a": normal(2, 3), "b": scalar(3)}, ("b",)),
    case("Neg", "plain", {"x": normal(2, 3)}),
    case("Pow", "both", {"a": POSITIVE, "b": normal(3, 1)}),
    case("Pow", "square", {"a": normal(2, 3), "b": scalar(2)}, ("b",)),
    case("Pow", "square of a vector", {"a": normal(3), "b": np.full((1, 1), 2, np.float32)}, ("b",)),
    case("Pow", "cube", {"a": normal(2, 3), "b": scalar(3)}, ("b",)),
    case("Pow", "root", {"a": POSITIVE, "b": scalar(0.5)}, ("b",)),
    case("Pow", "exponents", {"a": normal(2, 3), "b": np.asarray([0, 1, 4], np.float32)}, ("b",)),
    case("Pow", "integer exponent", {"a": normal(2, 3), "b": np.asarray(3, np.int64)}, ("b",)),
    case("Pow", "run-time integer exponent", {"a": normal(2, 3), "b": np.asarray([0, 2, 3], np.int64)}),
    case("Mod", "fmod", {"a": distinct(2, 5, gap=0.3), "b": scalar(0.7)}, fmod=1),
    case("Max", "one", {"a": normal(2, 3)}),
    case("Max", "broadcast", {"a": distinct(2, 3, 4), "b": distinct(3, 1, gap=0.31)}),
    case("Max", "constant", {"a": distinct(2, 3, 4), "b": scalar(0)}, ("b",)),
    case("Max", "three", {"a": distinct(2, 3), "b": distinct(1, gap=0.3), "c": distinct(2, 1, gap=0.33)}),
    case("Min", "broadcast", {"a": distinct(2, 3, 4), "b": distinct(3, 1, gap=0.31)}),
    case("Min", "three", {"a": distinct(2, 3), "b": distinct(1, gap=0.3), "c": distinct(2, 1, gap=0.33)}),
    case("Sum", "one", {"a": normal(2, 3)}),
    case("Sum", "three", {"a": normal(2, 3), "b": normal(3), "c": normal(2, 1)}),
    case("Mean", "one", {"a": normal(2, 3)}),
    case("Mean", "three", {"a": normal(2, 3), "b": normal(3), "c": normal(2, 1)}),
    case("Where", "broadcast", {"c": normal(2, 1) > 0, "a": normal(2, 3), "b": normal(3)}),
    case("Where", "condition broadcasts neither", {"c": normal(2, 3) > 0, "a": normal(3), "b": scalar(2)}),
    case("Identity", "plain", {"x": normal(2, 3)}),
    case("Cast", "float to float", {"x": normal(2, 3)}, to=onnx.TensorProto.DOUBLE),
    case("CastLike", "float to float", {"x": normal(2, 3), "like": np.zeros(1)}, ("like",)),
    case("Dropout", "plain", {"x": normal(2, 3)}),
    case("Dropout", "ratio", {"x": normal(2, 3), "ratio": scalar(0.3)}, ("ratio",)),
    case("Dropout", "mask", {"x": normal(2, 3), "r": scalar(0.3), "t": FLAG}, ("r", "t"), outputs=2),
]
