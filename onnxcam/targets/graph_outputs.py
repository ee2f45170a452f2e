"""Questions about a graph's outputs that recognise what a model does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.errors import TargetError
from onnxcam.graph.infer import no_numbers
from onnxcam.metadata.labels import ClassNames
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.structure.propagate import layouts

__all__ = ["channels", "class_names", "grids", "length", "numeric_outputs"]


def numeric_outputs(graph: ir.Graph, rank: int) -> list[ir.Value]:
    """Return the outputs of *graph* that are tensors of numbers with *rank* axes."""
    return [y for y in graph.outputs if no_numbers(y) is None and y.shape is not None and len(y.shape) == rank]


def length(y: ir.Value, axis: int) -> object:
    """Return the length of an axis: an int, a symbolic dimension, or None where the shape is unknown."""
    return y.shape[axis] if y.shape is not None else None


def channels(image: ir.Value) -> object:
    """Return the number of channels of the image input."""
    layout = picture_layout(image)
    return length(image, layout.channel) if layout is not None else None


def grids(graph: ir.Graph, image: ir.Value) -> Iterator[tuple[ir.Value, GridLayout, int]]:
    """Yield the outputs that are grids over the image, with their layouts and numbers of channels."""
    own = picture_layout(image)
    if own is None:
        return
    known = layouts(graph, image, STANDARD)
    for y in numeric_outputs(graph, own.rank):
        layout = known.get(y)
        layout = layout if isinstance(layout, GridLayout) and type(layout) is GridLayout else own
        count = length(y, layout.channel)
        if isinstance(count, int) and y.dtype is not None and y.dtype != ir.DataType.BOOL:
            yield y, layout, count


def class_names(names: ClassNames, count: object, known: bool) -> Sequence[str] | None:
    """Return *count* class names; None if the user gave another number and the task is not *known* from the card."""
    try:
        return names.of(count if isinstance(count, int) else None)
    except TargetError:
        if known:
            raise
        return None
