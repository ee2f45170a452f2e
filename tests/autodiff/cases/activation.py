"""Cases for onnxcam.autodiff.rules.activation."""

import numpy as np

from tests.autodiff.cases import case, distinct, normal, uniform
from tests.autodiff.cases.special import AgainstTorch, special
from tests.optional import torch

X = distinct(2, 3, 4)  # -1.15, -1.05, … 1.15
WIDE = distinct(2, 3, 4, gap=0.41)  # -4.7 … 4.7


def scalar(value: float) -> np.ndarray:
    return np.asarray(value, np.float32)


# The reference evaluator computes erf in float32.
ERF = [
    special(AgainstTorch, case("Erf", "real", {"x": WIDE}), 2, 3, 4, function=torch.erf),
    special(AgainstTorch, case("Gelu", "exact", {"x": WIDE}, opset=20), 2, 3, 4, function=torch.nn.functional.gelu),
]

CASES = [
    *ERF,
    case("Relu", "plain", {"x": X}),
    case("LeakyRelu", "plain", {"x": X}),
    case("LeakyRelu", "steeper than one", {"x": X}, alpha=1.5),
    case("LeakyRelu", "negative", {"x": X}, alpha=-0.3),
    case("PRelu", "constant slope a channel", {"x": X, "s": uniform(3, 1)}, ("s",)),
    case("PRelu", "constant slope outside 0 and 1", {"x": X, "s": normal(3, 1)}, ("s",)),
    case("PRelu", "slope a channel", {"x": X, "s": uniform(3, 1)}),
    case("PRelu", "one slope", {"x": X, "s": uniform(1)}),
    case("PRelu", "full slope", {"x": X, "s": normal(2, 3, 4)}),
    case("ThresholdedRelu", "default", {"x": WIDE}),
    case("ThresholdedRelu", "alpha", {"x": X}, alpha=-0.5),
    case("Shrink", "default", {"x": X}),
    case("Shrink", "soft", {"x": X}, lambd=0.3, bias=0.3),
    case("Clip", "without bounds", {"x": X}),
    case("Clip", "constant bounds", {"x": WIDE, "low": scalar(0), "high": scalar(3)}, ("low", "high")),
    case("Clip", "low only", {"x": X, "low": scalar(-0.5)}),
    case("Clip", "high only", {"x": X, "low": None, "high": scalar(0.5)}),
    case("Clip", "run-time bounds", {"x": X, "low": scalar(-0.5), "high": scalar(0.5)}),
    case("Clip", "low above high", {"x": X, "low": scalar(0.7), "high": scalar(0.5)}),
    case("Elu", "default", {"x": X}),
    case("Elu", "alpha", {"x": X}, alpha=0.7),
    case("Selu", "default", {"x": X}),
    case("Selu", "attributes", {"x": X}, alpha=1.1, gamma=0.9),
    case("Celu", "default", {"x": X}),
    case("Celu", "alpha", {"x": X}, alpha=0.7),
    case("Celu", "negative alpha", {"x": X}, alpha=-0.7),
    case("Sigmoid", "plain", {"x": normal(2, 3, 4)}),
    case("HardSigmoid", "default", {"x": WIDE}),
    case("HardSigmoid", "attributes", {"x": WIDE}, alpha=1 / 6, beta=0.4),
    case("HardSwish", "plain", {"x": WIDE}),
    case("Swish", "default", {"x": WIDE}, opset=24),
    case("Swish", "alpha", {"x": WIDE}, opset=24, alpha=1.702),
    case("Softsign", "plain", {"x": X}),
    case("Mish", "plain", {"x": WIDE}),
    case("Gelu", "tanh", {"x": WIDE}, opset=20, approximate="tanh"),
    *(
        case(op, "real", {"x": X})
        for op in ("Abs", "Asinh", "Atan", "Cos", "Cosh", "Exp", "Sin", "Sinh", "Softplus", "Tan", "Tanh")
    ),
    *(case(op, "positive", {"x": uniform(2, 3, low=0.5, high=2)}) for op in ("Log", "Reciprocal", "Sqrt")),
    *(case(op, "inside", {"x": uniform(2, 3, low=-0.8, high=0.8)}) for op in ("Acos", "Asin", "Atanh")),
    case("Acosh", "above one", {"x": uniform(2, 3, low=1.5, high=3)}),
]
