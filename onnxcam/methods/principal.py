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

MOST = 4096
"""So many positions may be compared with each other: the matrix is 64 MiB then, and there are a few of its size."""


@method("eigencam", at_layer=True, blind=True)
def eigencam(context: MapContext) -> ir.Value:
    """M = X v, v the first right singular vector of X: the channels' principal component, whatever the class.

    Muhammad & Yeasin, Eigen-CAM: Class Activation Map using Principal Components, 2008.00299. As in pytorch-grad-cam,
    and unlike in the paper, X is centred. A singular vector has no sign of its own: the map gets the one with which few
    positions stand out, a positive third moment.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="eigencam")
    """
    return outstanding(context, projected(context, context.activation()))


@method("eigengradcam", at_layer=True, gradient_cam=True)
def eigengradcam(context: MapContext) -> ir.Value:
    """M = X v, v the first right singular vector of X, X being ∂ A: Eigen-CAM of the class.

    Eigen-CAM (Muhammad & Yeasin, 2008.00299) of the activations times their gradients, as pytorch-grad-cam introduced
    it. The sign is the one with which the map goes along with the sum of ∂ A over all channels.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="eigengradcam")
    """
    return principal_map(context, context.op.Mul(context.activation_gradient(), context.activation()))


@method("kpcacam", at_layer=True, blind=True)
def kpcacam(context: MapContext) -> ir.Value:
    """M = √λ u, λ and u the first eigenvalue and vector of the centred kernel matrix tanh(X Xᵀ / K + 1).

    Karmani et al., KPCA-CAM: Visual Explainability of Deep Computer Vision Models using Kernel PCA, 2410.00267, with
    the sigmoid kernel. The matrix is P × P, and the sigmoid of a sum has no smaller form: a layer of more than 4,096
    positions is refused. Where the file leaves the sizes open nothing can be refused; then mind the picture's. The sign
    is Eigen-CAM's.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="kpcacam")
    """
    _require_few_positions(context)
    op, a = context.op, context.activation()
    x = centred(op, flattened(op, a))  # [N, K, P]
    channels = op.Cast(op.dim(a, 1), to=int(ir.DataType.FLOAT))
    t = op.Tanh(op.Div(op.MatMul(op.Transpose(x, perm=[0, 2, 1]), x), channels))
    # tanh(s + 1) − tanh(1), in which small s are not lost; centring takes off the constant anyway.
    kernel = op.Div(op.Mul(t, 1 - tanh(1) ** 2), op.Add(op.Mul(t, tanh(1)), 1.0))
    for axis in (1, 2):
        kernel = op.Sub(kernel, op.ReduceMean(kernel, [axis], keepdims=1))
    u = dominant(op, kernel)
    stretched = op.MatMul(kernel, u)  # λ u
    scale = op.Sqrt(op.Max(op.ReduceL2(stretched, [1], keepdims=1), TINY))
    return outstanding(context, op.Squeeze(op.Mul(u, scale), [2]))


def _require_few_positions(context: MapContext) -> None:
    """MethodError, naming a layer that would do, where the layer has too many positions to compare them all."""
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
    """Return how many positions *layer* has, None where its size is open."""
    lengths = layer.layout.size(layer.value)
    return prod(lengths) if all(isinstance(length, int) for length in lengths) else None
