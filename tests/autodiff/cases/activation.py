"""Cases for onnxcam.autodiff.rules.activation."""

from tests.autodiff.cases import case, distinct, normal

CASES = [
    case("Relu", "plain", {"x": distinct(2, 3, 4)}),
    case("Sigmoid", "plain", {"x": normal(2, 3, 4)}),
]
