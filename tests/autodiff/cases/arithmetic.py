"""Cases for onnxcam.autodiff.rules.arithmetic."""

from tests.autodiff.cases import case, normal

CASES = [
    case("Add", "same", {"a": normal(2, 3), "b": normal(2, 3, seed=1)}),
    case("Add", "broadcast", {"a": normal(2, 3, 4), "b": normal(3, 1)}),
    case("Mul", "broadcast", {"a": normal(3, 1), "b": normal(2, 3, 4)}),
    case("Sub", "broadcast", {"a": normal(2, 3, 4), "b": normal(1)}),
    case("Neg", "plain", {"x": normal(2, 3)}),
    case("Identity", "plain", {"x": normal(2, 3)}),
    case(
        "Where", "broadcast", {"c": normal(2, 1) > 0, "a": normal(2, 3), "b": normal(3)}
    ),
]
