"""Weights of a few bits, packed into bytes, as constants that DequantizeLinear reads in blocks (MatMulNBits)."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant

__all__ = ["unpacked_product"]


def unpacked_product(op: Emitter, node: ir.Node) -> ir.Value:
    """Emit a MatMulNBits *node* as DequantizeLinear, MatMul and Add; return the product.

    Raises:
        ModelError: the weights are no constants, or are in another order.
    """
    a, packed, scales, zeros, order, bias = (*node.inputs, *[None] * 6)[:6]
    codes, steps = constant(packed), constant(scales)
    shift = constant(zeros)
    known = shift is None or bool(np.all(shift == np.rint(shift)))  # zero points may be floats
    if codes is None or steps is None or (zeros is not None and shift is None) or order is not None or not known:
        raise ModelError(
            f"operator MatMulNBits (node '{node.name}') has weights that are computed or reordered (g_idx), or zero "
            "points between integers; give the model with constant weights in order"
        )
    n, k, bits, block = (node.attributes.get_int(name, 4) for name in ("N", "K", "bits", "block_size"))
    count = -(-k // block)
    integers = _numbers(codes, bits).reshape(n, -1)[:, :k]
    if shift is None:
        shift = np.full((n, count), 2 ** (bits - 1), np.uint8)
    elif shift.dtype == np.uint8:  # packed too, each row padded to whole bytes
        shift = _numbers(shift, bits).reshape(n, -1)[:, :count]
    dtype = _TYPES[bits]
    scale, zero = steps.reshape(n, count), shift.reshape(n, count).astype(dtype)
    given = [op.const(x.T) for x in (integers.astype(dtype), scale, zero)]
    given[0].name = op.name(f"{packed.name if packed is not None else node.name}_unpacked")
    w = op.DequantizeLinear(*given, axis=0, block_size=block)
    w.shape, w.dtype = ir.Shape([k, n]), ir.DataType.from_numpy(steps.dtype)
    y = op.MatMul(a, w)
    return y if bias is None else op.Add(y, bias)


_TYPES: dict[int, Any] = {2: ml_dtypes.uint2, 4: ml_dtypes.uint4, 8: np.uint8}  # by bits


def _numbers(packed: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return the numbers of *bits* bits in bytes, the lowest bits first."""
    parts = [(packed >> place) & (2**bits - 1) for place in range(0, 8, bits)]
    return np.stack(parts, -1).astype(np.uint8)
