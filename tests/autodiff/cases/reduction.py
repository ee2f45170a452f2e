"""Cases for onnxcam.autodiff.rules.reduction."""

from tests.autodiff.cases import case, ints, normal

CASES = [
    case("ReduceSum", "axes", {"x": normal(2, 3, 4), "axes": ints(1)}, ("axes",)),
]
