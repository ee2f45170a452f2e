"""Maps along the principal component of a layer's channels, by powers of their Gram matrix: graphs have no SVD.

Notation as in `activation`; X [P, K] are the P positions of a layer, each channel's mean taken off.
"""

from __future__ import annotations

from math import prod, tanh

import onnx_ir as ir

from onnxcam.autodiff.emit import Emitter
from onnxcam.methods.activation import unfolded
from onnxcam.methods.base import Scene, method

SQUARINGS = 12
"""Squared so often, a matrix is its 4096th power: an eigenvalue 1 % below the largest is 1e-18 of it."""

_TINY = 1e-30


@method("eigencam", at_layer=True)
def eigencam(scene: Scene) -> ir.Value:
    """M = X v, v the first right singular vector of X: the channels' principal component, whatever the class.

    Muhammad & Yeasin, Eigen-CAM: Class Activation Map using Principal Components, 2008.00299. As in pytorch-grad-cam,
    and unlike in the paper, X is centred. A singular vector has no sign of its own: the map gets the one with which it
    goes along with the sum of all channels.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="eigencam")
    """
    return principal_map(scene, scene.activation())


@method("eigengradcam", at_layer=True)
def eigengradcam(scene: Scene) -> ir.Value:
    """M = X v, v the first right singular vector of X, X being ∂ A: Eigen-CAM of the class.

    Eigen-CAM (Muhammad & Yeasin, 2008.00299) of the activations times their gradients, as pytorch-grad-cam introduced
    it. The sign is the one with which the map goes along with the sum of ∂ A over all channels.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="eigengradcam")
    """
    return principal_map(scene, scene.op.Mul(scene.activation_gradient(), scene.activation()))


@method("kpcacam", at_layer=True)
def kpcacam(scene: Scene) -> ir.Value:
    """M = √λ u, λ and u the first eigenvalue and vector of the centred kernel matrix tanh(X Xᵀ / K + 1).

    Karmani et al., KPCA-CAM: Visual Explainability of Deep Computer Vision Models using Kernel PCA, 2410.00267, with
    the sigmoid kernel. The matrix is P × P: layers of a few thousand positions are its limit. The sign is Eigen-CAM's.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="kpcacam")
    """
    op, a = scene.op, scene.activation()
    x = _centred(op, _flat(op, a))  # [N, K, P]
    channels = op.Cast(op.dim(a, 1), to=int(ir.DataType.FLOAT))
    t = op.Tanh(op.Div(op.MatMul(op.Transpose(x, perm=[0, 2, 1]), x), channels))
    # tanh(s + 1) − tanh(1), in which small s are not lost; centring takes off the constant anyway.
    kernel = op.Div(op.Mul(t, 1 - tanh(1) ** 2), op.Add(op.Mul(t, tanh(1)), 1.0))
    for axis in (1, 2):
        kernel = op.Sub(kernel, op.ReduceMean(kernel, [axis], keepdims=1))
    u = leading(op, kernel)
    stretched = op.MatMul(kernel, u)  # λ u
    scale = op.Sqrt(op.Max(op.ReduceL2(stretched, [1], keepdims=1), _TINY))
    return _signed(scene, op.Squeeze(op.Mul(u, scale), [2]), a)


def principal_map(scene: Scene, maps: ir.Value) -> ir.Value:
    """Return the projection of *maps* [N, K, *space] on their principal component, [N, *space]."""
    op = scene.op
    x = _centred(op, _flat(op, maps))  # [N, K, P]
    largest = op.ReduceMax(op.Abs(x), [1, 2], keepdims=1)
    scaled = op.Div(x, op.Max(largest, _TINY))  # whose squares neither overflow nor vanish
    turned = op.Transpose(scaled, perm=[0, 2, 1])
    if _fewer_positions(scene):
        v = _unit(op, op.MatMul(scaled, leading(op, op.MatMul(turned, scaled))))
    else:
        v = leading(op, op.MatMul(scaled, turned))
    return _signed(scene, op.Squeeze(op.MatMul(op.Transpose(x, perm=[0, 2, 1]), v), [2]), maps)


def leading(op: Emitter, gram: ir.Value) -> ir.Value:
    """Return the unit eigenvector [N, n, 1] of the eigenvalue of *gram* [N, n, n], symmetric, largest in magnitude.

    A high power of it is λ u uᵀ: its largest row is u.
    """
    power = gram
    for _ in range(SQUARINGS):
        power = op.Div(power, op.Max(op.ReduceMax(op.Abs(power), [1, 2], keepdims=1), _TINY))
        power = op.MatMul(power, power)
    row = op.ArgMax(op.ReduceMax(op.Abs(power), [2], keepdims=0), axis=1, keepdims=1)
    return _unit(op, op.Unsqueeze(op.GatherND(power, row, batch_dims=1), [2]))


def _signed(scene: Scene, flat: ir.Value, maps: ir.Value) -> ir.Value:
    """Return *flat* [N, P] as [N, *space], with the sign of its product with the sum of *maps* over the channels."""
    op = scene.op
    total = op.ReduceSum(_flat(op, maps), [1], keepdims=0)
    along = op.ReduceSum(op.Mul(flat, total), [1], keepdims=1)
    return unfolded(scene, op.Where(op.Less(along, 0.0), op.Neg(flat), flat))


def _flat(op: Emitter, maps: ir.Value) -> ir.Value:
    """Return *maps* as float32 [N, K, P]."""
    return op.Reshape(op.Cast(maps, to=int(ir.DataType.FLOAT)), [0, 0, -1])


def _centred(op: Emitter, x: ir.Value) -> ir.Value:
    return op.Sub(x, op.ReduceMean(x, [2], keepdims=1))


def _unit(op: Emitter, v: ir.Value) -> ir.Value:
    return op.Div(v, op.Max(op.ReduceL2(v, [1], keepdims=1), _TINY))


def _fewer_positions(scene: Scene) -> bool:
    """Whether the layer is known to have fewer positions than channels."""
    layer, lengths = scene.layer, scene.size()
    assert layer is not None
    channels = None if layer.value.shape is None else layer.value.shape[layer.layout.channel]
    known = isinstance(channels, int) and all(isinstance(length, int) for length in lengths)
    return known and prod(lengths) < channels
