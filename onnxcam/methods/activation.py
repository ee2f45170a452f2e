"""Class activation maps: weighted sums of a layer's channels, the weights for the whole layer or by position.

Notation: A_k is channel k of the layer at a position, y the class score before softmax, ∂ = ∂y/∂A. A map is
[N, *space] at the layer's size, raw: neither scaled nor enlarged. All take the setting ``smooth``: ``eigen`` (see
`summed`), ``aug`` (see `augment`) or ``aug+eigen``.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import backward, dependents
from onnxcam.errors import MethodError
from onnxcam.graph.infer import infer_nodes
from onnxcam.graph.operators import Trait, operators
from onnxcam.methods.base import method
from onnxcam.methods.component import principal_map
from onnxcam.methods.context import MapContext

__all__ = [
    "cam",
    "fem",
    "gradcam",
    "gradcam_elementwise",
    "gradcam_plus_plus",
    "hirescam",
    "layercam",
    "mean_gradient",
    "shapleycam",
    "summed",
    "weighted",
    "xgradcam",
]

_LINEAR = operators(Trait.AVERAGES | Trait.COPIES | Trait.RESHAPES)
_LINEAR |= {"Dropout", "Transpose", "Gemm", "MatMul", "Add", "Mul", "Div"}
"""Operators that CAM allows between the layer and the scores: pooling over space, then a linear layer."""


def weighted(context: MapContext, weights: ir.Value) -> ir.Value:
    """Return Σ_k w_k A_k, for weights [N, K, 1, …], as a matrix product over flattened positions."""
    op, a = context.op, context.activation()
    if context.eigen:
        return summed(context, op.Mul(weights, a))
    return context.unfolded(op.MatMul(op.Reshape(weights, [0, 1, -1]), op.Reshape(a, [0, 0, -1])))


def summed(context: MapContext, maps: ir.Value) -> ir.Value:
    """Return Σ_k of *maps* [N, K, *space]; with ``smooth=eigen`` their projection on their principal component.

    pytorch-grad-cam reduces the noise of a map in this way (``eigen_smooth``). The sign is that of Σ_k.
    """
    return principal_map(context, maps) if context.eigen else context.op.ReduceSum(maps, [1], keepdims=0)


@method("cam", at_layer=True, summed=True, pooled=True)
def cam(context: MapContext) -> ir.Value:
    """M = Σ_k w_k A_k, w the class's weights in the linear layer that follows global average pooling.

    Zhou et al., Learning Deep Features for Discriminative Localization, 1512.04150. The model must end in
    global average pooling and a linear layer; there w_k is the sum of ∂_k over all positions, for every form of such a
    head. There is no ReLU.

    Example:
        >>> onnxcam.explain("resnet18.onnx", "cat.jpg", method="cam")
    """
    _require_linear_head(context)
    return weighted(context, context.op.ReduceSum(context.activation_gradient(), context.space(), keepdims=1))


def mean_gradient(context: MapContext) -> ir.Value:
    """Return α, [N, K, 1, …]: the mean of ∂_k over all positions."""
    return context.op.ReduceMean(context.activation_gradient(), context.space(), keepdims=1)


@method("gradcam", at_layer=True, summed=True, pooled=True, gradient_cam=True, weights=mean_gradient)
def gradcam(context: MapContext) -> ir.Value:
    """L = ReLU(Σ_k α_k A_k), α_k the mean of ∂_k over all positions.

    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 1610.02391.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="gradcam", target=281)
    """
    return context.positive(weighted(context, mean_gradient(context)))


@method("gradcam++", at_layer=True, summed=True, pooled=True, gradient_cam=True)
def gradcam_plus_plus(context: MapContext) -> ir.Value:
    """L = ReLU(Σ_k w_k A_k), w_k = Σ_ij α_k ReLU(∂_k), α_k = ∂_k² / (2 ∂_k² + ∂_k³ Σ_ij A_k).

    Chattopadhay et al., Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks, 1710.11063, in the
    closed form that the paper gives for Y = exp(y). The factor exp(y) is common to all w_k; it would overflow
    and is left out. Where ∂_k is zero, α_k is zero.

    Example:
        >>> onnxcam.explain("model.onnx", "dogs.jpg", method="gradcam++")
    """
    op, a, g = context.op, context.activation(), context.activation_gradient()
    g2 = op.Mul(g, g)
    below = op.Add(op.Add(g2, g2), op.Mul(op.Mul(g2, g), op.ReduceSum(a, context.space(), keepdims=1)))
    zero = op.Equal(below, 0.0)
    alpha = op.Div(op.Where(zero, 0.0, g2), op.Where(zero, 1.0, below))
    return context.positive(weighted(context, op.ReduceSum(op.Mul(alpha, op.Relu(g)), context.space(), keepdims=1)))


@method("xgradcam", at_layer=True, summed=True, pooled=True, gradient_cam=True)
def xgradcam(context: MapContext) -> ir.Value:
    """M = Σ_k w_k A_k, w_k = Σ_ij ∂_k A_k / Σ_ij A_k.

    Fu et al., Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs, 2008.02312. There is no
    ReLU: the paper's axiom of conservation is about the sum of the map. Where Σ_ij A_k is zero, w_k is zero.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="xgradcam")
    """
    op, a, space = context.op, context.activation(), context.space()
    total = op.ReduceSum(a, space, keepdims=1)
    zero = op.Equal(total, 0.0)
    above = op.ReduceSum(op.Mul(context.activation_gradient(), a), space, keepdims=1)
    return weighted(context, op.Div(op.Where(zero, 0.0, above), op.Where(zero, 1.0, total)))


@method("hirescam", at_layer=True, summed=True, gradient_cam=True, additive=True)
def hirescam(context: MapContext) -> ir.Value:
    """M = Σ_k ∂_k A_k, position by position.

    Draelos & Carin, Use HiResCAM instead of Grad-CAM for Faithful Explanations of Convolutional Neural Networks,
    2011.08891. There is no ReLU: if one linear layer follows the layer, the map sums to the score without its
    bias.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="hirescam")
    """
    return summed(context, context.op.Mul(context.activation_gradient(), context.activation()))


@method("gradcam-elementwise", at_layer=True, summed=True, gradient_cam=True, additive=True)
def gradcam_elementwise(context: MapContext) -> ir.Value:
    """L = Σ_k ReLU(∂_k A_k): the evidence for the class, without the evidence against it at the same position.

    A variant of Grad-CAM (1610.02391) without the mean over positions that pytorch-grad-cam introduced; it has no
    paper of its own.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="gradcam-elementwise")
    """
    return summed(context, context.positive(context.op.Mul(context.activation_gradient(), context.activation())))


@method("layercam", at_layer=True, summed=True, gradient_cam=True, additive=True)
def layercam(context: MapContext) -> ir.Value:
    """L = ReLU(Σ_k ReLU(∂_k) A_k): each position has its own weights, which suits early layers too.

    Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, IEEE TIP 30, 2021.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="layercam", layer="layer2")
    """
    op = context.op
    return context.positive(summed(context, op.Mul(op.Relu(context.activation_gradient()), context.activation())))


@method("shapleycam", at_layer=True, summed=True, pooled=True, gradient_cam=True)
def shapleycam(context: MapContext) -> ir.Value:
    """L = ReLU(Σ_k w_k A_k), w_k the mean of (∂ − ½ H A)_k over all positions, H the Hessian of y by A.

    Cai, CAMs as Shapley Value-based Explainers, 2501.06261: y(A) − y(0) to the second order. Where y is piecewise
    linear in A (pooling, ReLU, linear layers), H is zero and the map is Grad-CAM's.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="shapleycam", layer="layer3")
    """
    op, g = context.op, context.activation_gradient()
    curvature = _hessian_product(context)
    if curvature is not None:
        g = op.Sub(g, op.Mul(curvature, 0.5))
    return context.positive(weighted(context, op.ReduceMean(g, context.space(), keepdims=1)))


@method("fem", at_layer=True, summed=True, class_independent=True)
def fem(context: MapContext) -> ir.Value:
    """M = Σ_k μ_k [A_k > μ_k + 2 σ_k], μ_k and σ_k the mean and standard deviation of A_k over all positions.

    Fuad et al., Features Understanding in 3D CNNs for Actions Recognition in Video, IPTA 2020. The feature
    explanation method: the positions of unusually high activations, for any class. It is meant for layers behind a
    ReLU: where activations can be negative, so can μ_k, and then the map is negative at unusual positions.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="fem")
    """
    op, a, space = context.op, context.activation(), context.space()
    mean = op.ReduceMean(a, space, keepdims=1)
    apart = op.Sub(a, mean)
    deviation = op.Sqrt(op.ReduceMean(op.Mul(apart, apart), space, keepdims=1))
    unusual = op.flag(op.Greater(apart, op.Add(deviation, deviation)), a)
    return summed(context, op.Mul(mean, unusual))


def _hessian_product(context: MapContext) -> ir.Value | None:
    """Return H A: the gradient of ⟨∂, A⟩ for a constant A, of the layer's layout; None where H is zero throughout."""
    op, layer = context.op, context.layer
    g = context.gradient(layer.value)
    first = op.pending((), [g])
    infer_nodes(first, op.opset)
    (product,) = backward(op, {g: layer.dequantised(op)}, [layer.value], STANDARD, [*op.graph, *first])
    if product is None:
        return None
    return layer.layout.maps(op, layer.dequantised_gradient(op, layer.dequantised_gradient(op, product)))


def _require_linear_head(context: MapContext) -> None:
    """Raise MethodError unless only pooling over space and a linear layer lie between the layer and the scores."""
    layer = context.layer
    active = dependents(context.op.graph, [layer.value], STANDARD)
    seen, stack = {layer.value}, [context.target.value]
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
