"""Inputs without an axis of channels, such as sounds [N, T]: give each one, as the network itself does first."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.graph.infer import no_numbers
from onnxcam.model.unbatched import reshaping
from onnxcam.structure.channel_axis import last_by_use

__all__ = ["add_channel_axis", "remove_channel_axis"]

_ADDED = "onnxcam.channels"
"""The key in the metadata of an input value that was given an axis of channels here."""


def add_channel_axis(model: ir.Model) -> None:
    """Give each input [N, T] or [N, C, T] of numbers an axis of one channel, in place, where the network adds one.

    The input becomes [N, 1, T], or [N, 1, C, T].
    """
    for position, value in enumerate(list(model.graph.inputs)):
        added = [node.outputs[0] for node in value.consumers() if _adds_channels(value, node)]
        if added and value.dtype is not None and value.dtype.is_floating_point() and no_numbers(value) is None:
            _lift(model.graph, position, value, added)


def remove_channel_axis(model: ir.Model) -> None:
    """Undo `add_channel_axis` in place: the inputs are those of the file again."""
    for position, value in enumerate(list(model.graph.inputs)):
        if value.metadata_props.pop(_ADDED, None) is None:
            continue
        name = value.name or ""
        images, _, *rest = list(value.shape or ())
        plain = ir.Value(name=name, shape=ir.Shape([images, *rest]), type=value.type)
        value.name = f"{name}.with_channels"
        axis, unsqueeze = reshaping("Unsqueeze", plain, value.name, value.shape, 1)
        value.name = f"{name}.replaced"
        ir.convenience.replace_all_uses_with(value, unsqueeze.outputs[0])
        model.graph.inputs[position] = plain
        model.graph.insert_before(next(iter(model.graph)), [axis, unsqueeze])


def _adds_channels(value: ir.Value, node: ir.Node) -> bool:
    """Whether *node* only adds an axis of length 1 behind that of the images of *value*."""
    made, shape = node.outputs[0].shape, list(value.shape or ())
    return (
        node.op_type in ("Unsqueeze", "Reshape")
        and made is not None
        and len(shape) in (2, 3)
        and list(made)[1:] == [1, *shape[1:]]
        and any(n != 1 for n in shape[1:])
        and (len(shape) == 2 or last_by_use(node.outputs[0]) is False)
    )


def _lift(graph: ir.Graph, position: int, value: ir.Value, added: list[ir.Value]) -> None:
    name = value.name or ""
    images, *rest = list(value.shape or (1,))
    lifted = ir.Value(name=name, shape=ir.Shape([images, 1, *rest]), type=value.type)
    lifted.metadata_props[_ADDED] = "1"
    for y in added:
        node = y.producer()
        ir.convenience.replace_all_uses_with(y, lifted)
        if node is not None:
            graph.remove(node, safe=True)
    graph.inputs[position] = lifted
    if value.uses():
        value.name = f"{name}.without_channels"
        axis, squeeze = reshaping("Squeeze", lifted, f"{name}.flat", value.shape, 1)
        ir.convenience.replace_all_uses_with(value, squeeze.outputs[0])
        first = next(iter(graph))
        graph.insert_before(first, [axis, squeeze])
