"""Cases for onnxcam.autodiff.rules.reduction."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.autodiff.cases import Case, case, distinct, ints, normal, uniform
from tests.autodiff.cases.special import Declared, special

X = uniform(2, 3, 4, low=0.5, high=2)
NONE = ints()


def variants(op: str, x: np.ndarray) -> Iterator[Case]:
    yield case(op, "axes", {"x": x, "axes": ints(-1, 0)}, ("axes",))
    yield case(op, "without keepdims", {"x": x, "axes": ints(1)}, ("axes",), keepdims=0)
    yield case(op, "all axes", {"x": x}, keepdims=0)


def plumbing(op: str, x: np.ndarray) -> Iterator[Case]:
    def reduction(name: str, axes: np.ndarray | None, constants: tuple[str, ...] = (), **more: Any) -> Case:
        inputs = {"x": x} if axes is None else {"x": x, "axes": axes}
        return case(op, name, inputs, constants, **more)

    yield reduction("all axes kept", None)
    yield reduction("without axes a no-op", None, noop_with_empty_axes=1)
    yield reduction("empty axes", NONE, ("axes",), keepdims=0)
    yield reduction("empty axes a no-op", NONE, ("axes",), noop_with_empty_axes=1)
    yield special(Declared, reduction("run-time axes", ints(2, -3)), 1, 3, 1)
    yield special(Declared, reduction("run-time axes without keepdims", ints(2, -3), keepdims=0), 3)


CASES = [
    *variants("ReduceSum", X),
    *plumbing("ReduceSum", X),
    *variants("ReduceMean", X),
    *plumbing("ReduceMean", X),
    *variants("ReduceMax", distinct(2, 3, 4)),
    *plumbing("ReduceMax", distinct(2, 3, 4)),
    *variants("ReduceMin", distinct(2, 3, 4)),
    *variants("ReduceProd", X),
    *plumbing("ReduceProd", X),
    *variants("ReduceL1", distinct(2, 3, 4)),
    *variants("ReduceL2", X),
    *variants("ReduceSumSquare", X),
    *variants("ReduceLogSum", X),
    *variants("ReduceLogSumExp", X),
    case("CumSum", "plain", {"x": normal(2, 3), "axis": np.asarray(1)}, ("axis",)),
    case("CumSum", "exclusive", {"x": normal(2, 3), "axis": np.asarray(-1)}, ("axis",), exclusive=1),
    case("CumSum", "reverse", {"x": normal(2, 3), "axis": np.asarray(0)}, reverse=1),
    case("CumSum", "both", {"x": normal(2, 3), "axis": np.asarray(1)}, exclusive=1, reverse=1),
    case("CumProd", "plain", {"x": X, "axis": np.asarray(1)}, ("axis",), opset=26),
    case("CumProd", "both", {"x": X, "axis": np.asarray(-1)}, opset=26, exclusive=1, reverse=1),
    case("TopK", "largest", {"x": distinct(2, 5), "k": ints(3)}, ("k",), outputs=2, axis=1),
    # Order 1: the reference evaluator's GatherElements, the gradient's gradient, mistakes negative axes.
    case("TopK", "default axis", {"x": distinct(2, 5), "k": ints(3)}, ("k",), outputs=2, order=1),
    case("TopK", "smallest", {"x": distinct(3, 4), "k": ints(2)}, outputs=2, axis=0, largest=0),
]
