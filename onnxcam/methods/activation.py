"""Class activation maps: weighted sums of a layer's channels.

Notation: A_k is channel k of the layer at a position, y the class score before softmax, ∂ = ∂y/∂A. A map is
[N, *space] at the layer's size, raw: neither scaled nor enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import dependents
from onnxcam.errors import MethodError
from onnxcam.methods.base import Scene, method

_LINEAR = frozenset(
    (
        "GlobalAveragePool ReduceMean ReduceSum AveragePool Flatten Reshape Squeeze Unsqueeze Transpose Identity Cast "
        "Dropout Gemm MatMul Add Mul Div"
    ).split()
)
"""What may stand between the layer and the scores for CAM: pooling over space, then a linear layer."""


def weighted(scene: Scene, weights: ir.Value) -> ir.Value:
    """Return Σ_k w_k A_k, for weights [N, K, 1, …]: a product of matrices, space in one axis."""
    op, a = scene.op, scene.activation()
    flat = op.MatMul(op.Reshape(weights, [0, 1, -1]), op.Reshape(a, [0, 0, -1]))
    lengths = scene.size()
    if all(isinstance(length, int) for length in lengths):
        return op.Reshape(flat, [-1, *lengths])
    return op.Reshape(flat, op.Concat(op.Shape(a, end=1), op.Shape(a, start=2), axis=0))


@method("cam", at_layer=True)
def cam(scene: Scene) -> ir.Value:
    """M = Σ_k w_k A_k, w the class's weights in the linear layer that follows global average pooling.

    Zhou et al., Learning Deep Features for Discriminative Localization, 1512.04150. It needs a head of global average
    pooling and a linear layer; there w_k is the sum of ∂_k over all positions, whatever way the head is spelt. There
    is no ReLU.

    Example:
        >>> onnxcam.explain("resnet18.onnx", "cat.jpg", method="cam")
    """
    _require_linear_head(scene)
    return weighted(scene, scene.op.ReduceSum(scene.activation_gradient(), scene.space(), keepdims=1))


@method("gradcam", at_layer=True)
def gradcam(scene: Scene) -> ir.Value:
    """L = ReLU(Σ_k α_k A_k), α_k the mean of ∂_k over all positions.

    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 1610.02391.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="gradcam", target=281)
    """
    op = scene.op
    weights = op.ReduceMean(scene.activation_gradient(), scene.space(), keepdims=1)
    return op.Relu(weighted(scene, weights))


@method("gradcam++", at_layer=True)
def gradcam_plus_plus(scene: Scene) -> ir.Value:
    """L = ReLU(Σ_k w_k A_k), w_k = Σ_ij α_k ReLU(∂_k), α_k = ∂_k² / (2 ∂_k² + ∂_k³ Σ_ij A_k).

    Chattopadhay et al., Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks, 1710.11063, in the
    closed form that the paper gives for Y = exp(y). The factor exp(y) itself is common to all w_k; it would overflow
    and is left out. Where ∂_k is zero, α_k is zero.

    Example:
        >>> onnxcam.explain("model.onnx", "dogs.jpg", method="gradcam++")
    """
    op, a, g = scene.op, scene.activation(), scene.activation_gradient()
    g2 = op.Mul(g, g)
    below = op.Add(op.Add(g2, g2), op.Mul(op.Mul(g2, g), op.ReduceSum(a, scene.space(), keepdims=1)))
    zero = op.Equal(below, 0.0)
    alpha = op.Div(op.Where(zero, 0.0, g2), op.Where(zero, 1.0, below))
    return op.Relu(weighted(scene, op.ReduceSum(op.Mul(alpha, op.Relu(g)), scene.space(), keepdims=1)))


def _require_linear_head(scene: Scene) -> None:
    """MethodError unless only pooling over space and a linear layer stand between the layer and the scores."""
    layer = scene.layer
    assert layer is not None
    active = dependents(scene.op.graph, [layer.value], STANDARD)
    seen, stack = {layer.value}, [scene.scores.value]
    while stack:
        value = stack.pop()
        node = value.producer()
        if value in seen or value not in active or node is None:
            continue
        seen.add(value)
        varying = [x for x in node.inputs if x in active]
        if not _is_linear(node, varying):
            raise MethodError(
                f"cam needs a network that ends in global average pooling and a linear layer; between "
                f"{layer.tensor!r} and the scores stands {node.op_type} (node {node.name!r}); use --method gradcam"
            )
        stack.extend(x for x in varying if x is not None)


def _is_linear(node: ir.Node, varying: Sequence[ir.Value | None]) -> bool:
    """Whether *node* pools over space, or is linear in each position's channels."""
    if node.op_type == "Conv":
        kernel = node.inputs[1].shape if node.inputs[1] is not None else None
        return kernel is not None and all(length == 1 for length in kernel[2:])
    return node.op_type in _LINEAR and (len(varying) == 1 or node.op_type == "Add")
