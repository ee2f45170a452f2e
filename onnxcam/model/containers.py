"""Outputs that hold tensors, sequences and optionals: their tensors take their place."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["unpack_outputs"]

_HOLD = ("SequenceConstruct", "Optional")


def unpack_outputs(model: ir.Model) -> None:
    """Make outputs of the tensors in sequences and optionals, in place, if all outputs are such."""
    outputs = model.graph.outputs
    held = [_held(y) for y in outputs]
    if all(held):
        outputs[:] = dict.fromkeys(x for tensors in held for x in tensors)


def _held(y: ir.Value) -> list[ir.Value]:
    """Return the computed tensors that *y* holds; none where it is no sequence or optional, or holds an input."""
    node = y.producer()
    tensors = [] if node is None or node.op_type not in _HOLD else [x for x in node.inputs if x is not None]
    return [] if any(x.producer() is None for x in tensors) else tensors
