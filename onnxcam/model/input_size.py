"""Fix the open height and width of the image input."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxcam.errors import ModelError
from onnxcam.passes.inputs import fix_inputs
from onnxcam.structure.layout import picture_input, picture_layout

__all__ = ["fix_size"]

_MOST = 16384


def fix_size(model: ir.Model, size: Sequence[int], image: str | None = None) -> None:
    """Set the open lengths of the axes of space of the image input to *size*, such as (height, width), in place.

    Open lengths of computed tensors are forgotten: inference finds them.

    Raises:
        ModelError: *size* is none, or the input has another number of axes of space, or another size.
    """
    told = " × ".join(map(str, size))
    if not all(1 <= length <= _MOST for length in size):
        raise ModelError(f"--input-size is {told}; give a height and a width of 1 to {_MOST} pixels")
    fix_inputs(model)
    value = picture_input(model.graph, image)
    layout = picture_layout(value)
    if layout is None:
        raise ModelError(f"the input {value.name!r} has no height and width to fix (--input-size, --window)")
    if len(layout.space) != len(size):
        raise ModelError(
            f"{told} has {len(size)} lengths, and the input {value.name!r} has {len(layout.space)} axes of space; give "
            "one for each (--input-size, --window)"
        )
    own = layout.size(value)
    if any(isinstance(old, int) and old != new for old, new in zip(own, size, strict=True)):
        fixed = " × ".join("?" if not isinstance(n, int) else str(n) for n in own)
        raise ModelError(f"the input {value.name!r} is of the size {fixed}, not {told}; give that")
    lengths = list(value.shape or ())
    for axis, length in zip(layout.space, size, strict=True):
        lengths[axis] = length
    value.shape = ir.Shape(lengths)
    for y in (y for node in model.graph for y in node.outputs if y.shape is not None):
        y.shape = ir.Shape([n if isinstance(n, int) or axis == 0 else None for axis, n in enumerate(y.shape or ())])
