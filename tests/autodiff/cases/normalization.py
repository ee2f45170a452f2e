"""Cases for onnxcam.autodiff.rules.normalization."""

from collections.abc import Callable

from tests.autodiff.cases import case, distinct, normal, uniform
from tests.autodiff.cases.special import AgainstTorch, special
from tests.optional import torch

IMAGE = normal(2, 4, 3, 2)
STATISTICS = {
    "scale": normal(4, seed=1),
    "b": normal(4, seed=2),
    "mean": normal(4, seed=3),
    "var": uniform(4, low=0.5, high=2),
}
AFFINE = {"scale": normal(4, seed=1), "b": normal(4, seed=2)}


def standardise(*axes: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: (x - x.mean(axes, keepdim=True)) / x.std(axes, correction=0, keepdim=True)


def group_norm(eps: float) -> Callable[..., torch.Tensor]:
    return lambda x, scale, b: torch.nn.functional.group_norm(x, 2, scale, b, eps)


# ONNX gives GroupNormalization a body that computes the statistics in float32.
GROUPED = [
    special(
        AgainstTorch,
        case("GroupNormalization", "inputs", {"x": IMAGE, **AFFINE}, opset=21, num_groups=2),
        *IMAGE.shape,
        function=group_norm(1e-5),
    ),
    special(
        AgainstTorch,
        case(
            "GroupNormalization",
            "constants",
            {"x": IMAGE, **AFFINE},
            tuple(AFFINE),
            opset=21,
            num_groups=2,
            epsilon=0.1,
        ),
        *IMAGE.shape,
        function=group_norm(0.1),
    ),
]

# ONNX gives MeanVarianceNormalization a body with float32 constants, so the reference cannot run it in float64.
MEAN_VARIANCE = [
    special(
        AgainstTorch,
        case("MeanVarianceNormalization", "default", {"x": IMAGE}),
        *IMAGE.shape,
        function=standardise(0, 2, 3),
    ),
    special(
        AgainstTorch,
        case("MeanVarianceNormalization", "axes", {"x": normal(2, 3, 4)}, axes=[-1]),
        *(2, 3, 4),
        function=standardise(-1),
    ),
]

CASES = [
    case("BatchNormalization", "constants", {"x": IMAGE, **STATISTICS}, tuple(STATISTICS)),
    case("BatchNormalization", "inputs", {"x": IMAGE, **STATISTICS}, epsilon=0.1),
    case("BatchNormalization", "rank 2", {"x": normal(3, 4), **STATISTICS}),
    case("BatchNormalization", "rank 3", {"x": normal(2, 4, 3), **STATISTICS}, tuple(STATISTICS)),
    case("LayerNormalization", "default", {"x": normal(2, 3, 4), "scale": normal(4), "b": normal(4, seed=1)}),
    case("LayerNormalization", "no bias", {"x": normal(2, 3, 4), "scale": normal(4)}, ("scale",)),
    case("LayerNormalization", "axis 1", {"x": normal(2, 3, 4), "scale": normal(3, 4)}, axis=1, epsilon=0.01),
    case("LayerNormalization", "axis -2", {"x": normal(2, 3, 4), "scale": normal(3, 4)}, axis=-2),
    case("LayerNormalization", "three outputs", {"x": normal(3, 4), "scale": normal(4)}, outputs=3),
    case("RMSNormalization", "default", {"x": normal(2, 3, 4), "scale": normal(4)}, opset=23),
    case("RMSNormalization", "axis 1", {"x": normal(2, 3, 4), "scale": normal(3, 4)}, opset=23, axis=1),
    case("InstanceNormalization", "inputs", {"x": IMAGE, **AFFINE}, epsilon=0.01),
    case("InstanceNormalization", "constants", {"x": IMAGE, **AFFINE}, tuple(AFFINE)),
    *GROUPED,
    *MEAN_VARIANCE,
    case("LpNormalization", "default", {"x": normal(2, 3)}),
    # The reference evaluator takes no absolute values.
    special(
        AgainstTorch,
        case("LpNormalization", "l1", {"x": distinct(2, 3, 2)}, axis=1, p=1),
        *(2, 3, 2),
        function=lambda x: torch.nn.functional.normalize(x, p=1, dim=1),
    ),
    # ONNX Runtime has odd sizes only; the reference evaluator loops over the batch for the channels: both are 4.
    case("LRN", "odd", {"x": normal(4, 4, 1, 2)}, size=3, alpha=0.3, bias=1.5),
    case("LRN", "even", {"x": normal(4, 4, 1, 2)}, size=4, alpha=0.3, beta=0.6, check={"runtime": False}),
    case("Softmax", "default", {"x": normal(2, 3)}),
    case("Softmax", "axis", {"x": normal(2, 3, 2)}, axis=1),
    case("LogSoftmax", "default", {"x": normal(2, 3)}),
    case("LogSoftmax", "axis", {"x": normal(2, 3, 2)}, axis=1),
]
