"""Images and maps without an axis of images: give such an input, [H, W, 3], or output, [H, W], one of length 1."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.graph.infer import no_numbers
from onnxcam.graph.operators import Trait, operators
from onnxcam.structure.propagate import layouts

__all__ = ["add_batch_axis", "reshaping"]

_NEAR = 32  # values that are followed from the input
_POINTWISE = operators(Trait.COPIES | Trait.QUANTISES) | {"Add", "Sub", "Mul", "Div", "Clip", "Transpose", "Gather"}
_POINTWISE |= {"Concat", "Slice", "Split"}
_DROPS = operators(Trait.COPIES | Trait.RESHAPES | Trait.ACTIVATES) | {"Gather", "ArgMax"}


def add_batch_axis(model: ir.Model) -> None:
    """Give each image input without an axis of images one of length 1, in place; its outputs get one too.

    An input is such an image if it has rank 3 and the network adds an axis of length 1 in front of it, as before a
    convolution. An output is of a single image if the network removes its first axis, of length 1, or if it is a vector
    [K] or a number made of one image [1, …].
    """
    graph = model.graph
    tables = all(map(_is_single_table, graph.outputs))  # not beside scores [K] of detections
    for position, y in enumerate(graph.outputs):
        if tables or _is_single_map(y):
            _lift_output(graph, position, y)
    for position, value in enumerate(list(graph.inputs)):
        if _is_single_picture(value):
            _lift_input(graph, position, value)
            _lift_outputs(graph, graph.inputs[position])
    if _are_of_one_image(graph):
        for position, y in enumerate(graph.outputs):
            if y.shape is not None and list(y.shape) != [1] and y.producer() is not None:
                _lift_output(graph, position, y)


def _are_of_one_image(graph: ir.Graph) -> bool:
    """Return whether the batch of an image is fixed at 1, and the outputs are vectors of fixed length, and numbers."""
    images = [x for x in graph.inputs if x.shape is not None and len(x.shape) >= 4]
    shapes = [y.shape for y in graph.outputs]
    known = all(shape is not None and len(shape) < 2 and all(isinstance(n, int) for n in shape) for shape in shapes)
    return known and any(x.shape is not None and x.shape[0] == 1 for x in images)


def _is_single_picture(value: ir.Value) -> bool:
    if value.shape is None or len(value.shape) != 3 or no_numbers(value) is not None:
        return False
    if not any(length in (1, 3, 4) for length in (value.shape[0], value.shape[-1])):
        return False
    values = [value]
    for value in values:  # grows on the way
        for node in value.consumers():
            shape = node.outputs[0].shape
            if node.op_type in ("Unsqueeze", "Reshape") and shape is not None and len(shape) == 4 and shape[0] == 1:
                return list(shape)[1:] == list(node.inputs[0].shape or ()) if node.inputs[0] is not None else True
            if node.op_type in _POINTWISE and len(values) < _NEAR:
                values.append(node.outputs[0])
    return False


def _lift_input(graph: ir.Graph, position: int, value: ir.Value) -> None:
    name = value.name or ""
    lifted = ir.Value(name=name, shape=ir.Shape([1, *(value.shape or ())]), type=value.type)
    axis, squeeze = reshaping("Squeeze", lifted, f"{name}.single", value.shape)
    value.name = f"{name}.without_batch"
    graph.inputs[position] = lifted
    ir.convenience.replace_all_uses_with(value, squeeze.outputs[0])
    first = next(iter(graph), None)
    nodes = [axis, squeeze]
    graph.extend(nodes) if first is None else graph.insert_before(first, nodes)


def _lift_outputs(graph: ir.Graph, image: ir.Value) -> None:
    """Add an axis to outputs that are maps of the single image; and to vectors, if all outputs are vectors."""
    found = layouts(graph, image, STANDARD)
    vectors = all(y.shape is not None and len(y.shape) == 1 for y in graph.outputs)
    for position, y in enumerate(graph.outputs):
        layout = found.get(y)
        if y.producer() is None or not (vectors or (layout is not None and layout.batch is None)):
            continue
        _lift_output(graph, position, y)


def _lift_output(graph: ir.Graph, position: int, y: ir.Value) -> None:
    name, shape = y.name or "", ir.Shape([1, *(y.shape or ())])
    y.name = f"{name}.single"
    axis, unsqueeze = reshaping("Unsqueeze", y, name, shape)
    graph.extend([axis, unsqueeze])
    graph.outputs[position] = unsqueeze.outputs[0]


def _is_single_map(y: ir.Value) -> bool:
    """Return whether *y* is [H, W] or [C, H, W] of a grid [1, …] of rank 4, without axes of length 1."""
    if y.shape is None or len(y.shape) not in (2, 3) or y.shape[0] == 1:  # 1: of images
        return False
    long, value = [n for n in y.shape if n != 1], y
    while (node := value.producer()) is not None and node.op_type in _DROPS and node.inputs[0] is not None:
        value = node.inputs[0]
        shape = list(value.shape or ())
        if len(shape) == 4 and shape[0] == 1 and len(long) > 1:
            return _kept(shape[1:], node) == long
    return False


def _is_single_table(y: ir.Value) -> bool:
    """Return whether *y* is [T, D] or longer, and the network only removes the first axis, of length 1, at its end."""
    node = y.producer()
    before = node.inputs[0] if node is not None and node.op_type in ("Squeeze", "Reshape", "Gather") else None
    if before is None or y.shape is None or len(y.shape) < 2 or before.shape is None:
        return False
    return list(before.shape) == [1, *y.shape]


def _kept(shape: Sequence[int | ir.SymbolicDim], node: ir.Node) -> list[int | ir.SymbolicDim]:
    """Return the lengths of a grid without those of length 1, and without the axis that an ArgMax removes."""
    axis = node.attributes.get_int("axis", 0) % 4 if node.op_type == "ArgMax" else None
    return [n for i, n in enumerate(shape, 1) if n != 1 and i != axis]


def reshaping(
    op_type: str, x: ir.Value, name: str, shape: ir.Shape | Sequence[int] | None, at: int = 0
) -> tuple[ir.Node, ir.Node]:
    """Return a node that removes or adds the axis *at* of *x*, and before it the constant that it needs."""
    axis = ir.node("Constant", [], {"value_ints": [at]})
    axis.outputs[0].name, axis.outputs[0].dtype = f"{name}.axis", ir.DataType.INT64
    axis.outputs[0].shape = ir.Shape([1])
    node = ir.node(op_type, [x, axis.outputs[0]])
    node.outputs[0].name, node.outputs[0].type = name, x.type
    node.outputs[0].shape = ir.Shape(shape) if shape is not None else None
    return axis, node
