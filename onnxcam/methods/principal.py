"""Maps along the principal component of a layer's channels. Notation as in `component`."""

from __future__ import annotations

from math import prod, tanh

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.errors import MethodError
from onnxcam.methods.base import method
from onnxcam.methods.component import TINY, centred, dominant, flattened, outstanding, principal_map, projected
from onnxcam.methods.context import MapContext
from onnxcam.structure.layer import Layer, candidates

__all__ = ["MOST", "eigencam", "eigengradcam", "kpcacam"]

MOST = 4096
"""The largest number of positions: the kernel matrix then has 64 MiB, and a few of its size are in memory."""


@method("eigencam", at_layer=True, class_independent=True)
def eigencam(context: MapContext) -> ir.Value:
    """M = X v, v the first right singular vector of X: the channels' principal component, for any class.

    Muhammad & Yeasin, Eigen-CAM: Class Activation Map using Principal Components, 2008.00299. As in pytorch-grad-cam,
    and unlike the paper, X is centred. The sign of a singular vector is arbitrary: the map gets the one with a positive
    third moment, so that the few positions with large values are positive.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="eigencam")
    """
    return outstanding(context, projected(context, context.activation()))


@method("eigengradcam", at_layer=True, gradient_cam=True)
def eigengradcam(context: MapContext) -> ir.Value:
    """M = X v, v the first right singular vector of X = ∂ A: Eigen-CAM of the class.

    Eigen-CAM (Muhammad & Yeasin, 2008.00299) of the activations times their gradients, as introduced by
    pytorch-grad-cam. The sign is that of the product with the sum of ∂ A over all channels.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="eigengradcam")
    """
    return principal_map(context, context.op.Mul(context.activation_gradient(), context.activation()))


@method("kpcacam", at_layer=True, class_independent=True)
def kpcacam(context: MapContext) -> ir.Value:
    """M = √λ u, λ and u the first eigenvalue and vector of the centred kernel matrix tanh(X Xᵀ / K + 1).

    Karmani et al., KPCA-CAM: Visual Explainability of Deep Computer Vision Models using Kernel PCA, 2410.00267, with
    the sigmoid kernel. The matrix is P × P, P the number of positions; a layer of more than 4,096 is refused. Where the
    model's sizes are open nothing is refused; then limit the image's size. The sign is Eigen-CAM's.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="kpcacam")
    """
    _require_few_positions(context)
    op, a = context.op, context.activation()
    x = centred(op, flattened(op, a))  # [N, K, P]
    channels = op.Cast(op.dim(a, 1), to=int(ir.DataType.FLOAT))
    t = op.Tanh(op.Div(op.MatMul(op.Transpose(x, perm=[0, 2, 1]), x), channels))
    # tanh(s + 1) − tanh(1), exact for small s; centring removes the constant in any case.
    kernel = op.Div(op.Mul(t, 1 - tanh(1) ** 2), op.Add(op.Mul(t, tanh(1)), 1.0))
    for axis in (1, 2):
        kernel = op.Sub(kernel, op.ReduceMean(kernel, [axis], keepdims=1))
    u = dominant(op, kernel)
    stretched = op.MatMul(kernel, u)  # λ u
    scale = op.Sqrt(op.Max(op.ReduceL2(stretched, [1], keepdims=1), TINY))
    return outstanding(context, op.Squeeze(op.Mul(u, scale), [2]))


def _require_few_positions(context: MapContext) -> None:
    """Raise MethodError, naming a layer that is small enough, where the layer has too many positions."""
    layer, graph = context.layer, context.op.graph
    count = _positions(layer)
    if count is None or count <= MOST:
        return
    others = candidates(graph, context.image, context.target.value, STANDARD)
    small = next((other for other in others if (_positions(other) or MOST + 1) <= MOST), None)
    instead = "" if small is None else f"name a smaller layer, --layer {small.name} say, or "
    raise MethodError(
        f"kpcacam compares each position of a layer with every other, at most {MOST:,} of them, and {layer.name!r} "
        f"has {count:,}; {instead}use --method eigencam"
    )


def _positions(layer: Layer) -> int | None:
    """Return the number of positions of *layer*; None where its size is open."""
    lengths = layer.layout.size(layer.value)
    return prod(lengths) if all(isinstance(length, int) for length in lengths) else None
