"""Which axis of a model's input holds the channels: the first behind the images, or the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from onnxcam.graph.operators import Trait, operators

__all__ = ["FEW", "channels_last", "last_by_use"]

FEW = (1, 3, 4)
"""The numbers of channels of an image."""


def channels_last(image: ir.Value) -> bool:
    """Return whether the channels of the input *image*, of rank 3 or more, come last: by its use, else by lengths."""
    last = last_by_use(image)
    return _last_by_length(list(image.shape or ())[1:]) if last is None else last


def _last_by_length(lengths: Sequence[Any]) -> bool:
    known = all(isinstance(length, int) for length in lengths)
    if len(lengths) == 2:  # a signal: the axis of time is longer, or open
        return lengths[1] < lengths[0] if known else isinstance(lengths[1], int)
    few = [length in FEW for length in (lengths[0], lengths[-1])]
    if any(few):
        return few == [False, True]
    return known and all(lengths[-1] < length for length in lengths[:-1])


def last_by_use(image: ir.Value) -> bool | None:
    """Return whether channels come last, by the first transpose or convolution behind pointwise operators.

    None where neither is found.
    """
    if image.shape is None:
        return None
    rank = len(image.shape)
    axes = list(range(rank))
    to_first, to_last = [0, rank - 1, *axes[1:-1]], [0, *axes[2:], 1]
    values = [image]
    for value in values:  # grows on the way
        for node in dict.fromkeys(value.consumers()):
            if node.op_type == "Transpose":
                perm = list(node.attributes.get_ints("perm", axes[::-1]) or ())
                if rank > 3 and perm in (to_first, to_last):
                    return perm == to_first
                if rank == 3 and perm == to_first:  # of a signal it is also that to channels last
                    return _is_convolved(node.outputs[0])
            elif node.op_type in _CONVOLUTIONS and node.inputs[0] is value:
                return bool(node.attributes.get_int("channels_last", 0))
            elif node.op_type in _POINTWISE and len(values) < _NEAR:
                values.append(node.outputs[0])
    return None


def _is_convolved(value: ir.Value) -> bool | None:
    """Whether the signal *value* goes to a convolution, behind operators that add axes; None if it does not."""
    values = [value]
    for one in values:  # grows on the way
        for node in dict.fromkeys(one.consumers()):
            if node.op_type in _CONVOLUTIONS and node.inputs[0] is one:
                return True
            if node.op_type in _POINTWISE | _ADDS_AXES and len(values) < _NEAR:
                values.append(node.outputs[0])
    return None


_NEAR = 32  # values that are followed from the input
_CONVOLUTIONS = frozenset(("Conv", "FusedConv", "ConvInteger", "QLinearConv", "NhwcFusedConv"))
_POINTWISE = operators(Trait.COPIES | Trait.QUANTISES) | {"Add", "Sub", "Mul", "Div", "Clip", "BatchNormalization"}
_ADDS_AXES = {"Unsqueeze", "Reshape", "Pad"}
