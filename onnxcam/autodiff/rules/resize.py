"""Interpolation between grids.

Interpolation is linear and separable: along each axis y = M x with a matrix M, the operator's result for the identity
matrix. So dx = Mᵀ dy is exact in all modes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.errors import GradientError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.infer import rank


def contract(op: Emitter, dy: V, axes: Iterable[int], matrix: Callable[[int, bool], V], dims: int) -> V:
    """Return Mᵀ dy along each of *axes* of *dy*, which has *dims* axes.

    ``matrix(axis, left)`` is Mᵀ where it multiplies from the left, along the last axis but one, else M.
    """
    last = dims - 1
    for axis in sorted(axes, reverse=True):
        if axis == last:
            dy = op.MatMul(dy, matrix(axis, False))
        elif axis == last - 1:
            dy = op.MatMul(matrix(axis, True), dy)
        else:
            exchange = list(range(dims))
            exchange[axis], exchange[last] = last, axis
            dy = op.Transpose(op.MatMul(op.Transpose(dy, perm=exchange), matrix(axis, False)), perm=exchange)
    return dy


@rule("Resize")
def resize(
    op: Emitter, node: ir.Node, dy: V, x: V, roi: V | None = None, scales: V | None = None, sizes: V | None = None
) -> Gradients:
    """y = M x along each axis, M = Resize(I): dx = Mᵀ dy."""
    scales, sizes = (None if v is None or _empty(v) else v for v in (scales, sizes))
    roi = roi if _crops(node) else None
    dims = rank(x)
    axes = [axis % dims for axis in node.attributes.get_ints("axes", range(dims))]
    moved = {axis: i for i, axis in enumerate(axes) if not _fixed(node, x, axis, i, roi, scales, sizes)}
    blocks = _blocks(node, x, axes, scales)
    if blocks is not None:
        sums = op.Mul(op.AveragePool(dy, kernel_shape=blocks, strides=blocks), float(np.prod(blocks)))
        return sums, None, None, None

    def matrix(axis: int, left: bool) -> V:
        i, n = moved[axis], op.dim(x, axis)

        def line(given: V, position: int, rest: Any, other: Any = None) -> V:
            """Return one number of *given* inside the values for the unchanged axes of [1, 1, n, n]."""
            pair = [rest if other is None else other, op.Gather(given, [position])]
            return op.Concat(rest, rest, *(pair if left else reversed(pair)), axis=0)

        whole = np.zeros(1, np.float32), np.ones(1, np.float32)
        ends = () if roi is None else (line(roi, i, whole[0]), line(roi, i + len(axes), whole[1]))
        window = (
            op.Concat(*ends, axis=0) if ends else None,
            None if scales is None else line(scales, i, whole[1]),
            None if sizes is None else line(sizes, i, [1], n),
        )
        resized = op.Resize(op.Unsqueeze(_identity(op, n, x), [0, 1]), *window, **_settings(node))
        return op.Reshape(resized, op.Concat(*([n, [-1]] if left else [[-1], n]), axis=0))

    def matrix_at_common_scale(axis: int, left: bool) -> V:
        return _at_common_scale(op, node, x, axis, left, (roi, scales, sizes))

    stretch = node.attributes.get_string("keep_aspect_ratio_policy", "stretch") == "stretch"
    made = matrix if stretch or scales is not None else matrix_at_common_scale
    return contract(op, dy, moved, made, dims), None, None, None


def _settings(node: ir.Node) -> dict[str, Any]:
    """Return the interpolation attributes of *node*; outside the image the derivative is zero."""
    dropped = {"axes", "keep_aspect_ratio_policy", "extrapolation_value"}
    return {name: a.value for name, a in node.attributes.items() if name not in dropped}


def _identity(op: Emitter, n: V, like: V) -> V:
    zero = ir.tensor(np.zeros(1, (like.dtype or ir.DataType.FLOAT).numpy()))
    return op.EyeLike(op.ConstantOfShape(op.Concat(n, n, axis=0), value=zero))


def _at_common_scale(op: Emitter, node: ir.Node, x: V, axis: int, left: bool, window: tuple[V | None, ...]) -> V:
    """Return the matrix of *axis* if all axes share one scale, which depends on all sizes.

    Resize whole grids: n images, the identity along *axis* and constant along the others.
    """
    dims, n = rank(x), op.dim(x, axis)
    axes = [axis % dims for axis in node.attributes.get_ints("axes", range(dims))]
    if min(axes) < 2:
        raise GradientError(
            f"node {node.name!r} (Resize) keeps the aspect ratio of axes {axes}, batch or channels among them; "
            f"there is a gradient where it resizes spatial axes only"
        )
    picture = op.Unsqueeze(_identity(op, n, x), [i for i in range(1, dims) if i != axis])
    whole = op.Expand(picture, op.Concat(n, [1], op.Shape(x, start=2), axis=0))
    attributes = {**_settings(node), "keep_aspect_ratio_policy": node.attributes["keep_aspect_ratio_policy"].value}
    resized = op.Resize(whole, *window, axes=axes, **attributes)
    others = [i for i in range(1, dims) if i != axis]
    lines = op.Squeeze(op.Slice(resized, [0] * len(others), [1] * len(others), others), others)
    return lines if left else op.Transpose(lines, perm=[1, 0])


def _crops(node: ir.Node) -> bool:
    """Whether *node* reads its roi."""
    return node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"


def _empty(v: V) -> bool:
    known = constant(v)
    return (known is not None and known.size == 0) or (v.shape is not None and list(v.shape) == [0])


def _fixed(node: ir.Node, x: V, axis: int, i: int, roi: V | None, scales: V | None, sizes: V | None) -> bool:
    """Whether the length of *axis* is known not to change."""
    if _crops(node):
        window = constant(roi)
        if window is None or window[i] != 0 or window[i + len(window) // 2] != 1:
            return False
    if scales is not None:
        known = constant(scales)
        return known is not None and known[i] == 1
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    y = node.outputs[0]
    if x.shape is None or y.shape is None:
        return False
    before, after = x.shape[axis], y.shape[axis]
    return before == after and (isinstance(before, int) or before.value is not None)


def _blocks(node: ir.Node, x: V, axes: list[int], scales: V | None) -> list[int] | None:
    """Return the size of the block of repetitions of each pixel; None unless pixels are only repeated.

    Sums over small blocks are up to 2.5 times faster than the matrices: 1.3 against 3.3 ms for 64 channels,
    112 × 112 to 224 × 224.
    """
    known = constant(scales)
    attributes = node.attributes
    if known is None or rank(x) not in (3, 4, 5) or attributes.get_string("mode", "nearest") != "nearest":
        return None
    factors = dict.fromkeys(range(rank(x)), 1.0) | dict(zip(axes, known.tolist(), strict=True))
    blocks = [int(factor) for factor in factors.values()]
    if blocks != list(factors.values()) or blocks[:2] != [1, 1] or not 1 < max(blocks) <= 4:
        return None
    coordinates = attributes.get_string("coordinate_transformation_mode", "half_pixel")
    rounding = attributes.get_string("nearest_mode", "round_prefer_floor")
    repeats = (
        (coordinates == "asymmetric" and rounding == "floor")
        or (coordinates == "asymmetric" and rounding == "round_prefer_floor" and max(blocks) == 2)
        or (coordinates in ("half_pixel", "half_pixel_symmetric") and rounding.startswith("round"))
    )
    return blocks[2:] if repeats else None
