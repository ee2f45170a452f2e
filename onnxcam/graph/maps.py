"""Outputs that are sequences of maps, from classes to scores: replaced by the tensors that they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from onnxcam.errors import ModelError
from onnxcam.graph.class_names import names_of

__all__ = ["without_maps"]


def without_maps(proto: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return *proto* with the scores before a ZipMap as output, in place of maps, which tensors cannot hold.

    The names of the classes become the metadata ``names``. ModelError for maps of other operators.
    """
    makers = {name: node for node in proto.graph.node for name in node.output}
    maps = [y for y in proto.graph.output if y.name in makers and y.type.sequence_type.elem_type.HasField("map_type")]
    for output in maps:
        node = makers[output.name]
        if node.op_type != "ZipMap":
            raise ModelError(
                f"output {output.name!r} of {where} is a sequence of maps (node {node.name!r}, {node.op_type}); "
                f"make that node's input {node.input[0]!r} the output in its place"
            )
    if not maps:
        return proto
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    _cut_maps(made, [output.name for output in maps])
    return made


def _cut_maps(proto: onnx.ModelProto, maps: Sequence[str]) -> None:
    """Replace the outputs *maps* by the inputs of the nodes that make them, in place."""
    cut = {name: node for node in proto.graph.node for name in node.output if name in maps}
    kept = [output for output in proto.graph.output if output.name not in maps]
    scores = dict.fromkeys(name for node in cut.values() for name in node.input[:1])
    new = [onnx.ValueInfoProto(name=name) for name in scores if name not in {output.name for output in kept}]
    del proto.graph.output[:]
    proto.graph.output.extend([*kept, *new])
    for node in cut.values():
        proto.graph.node.remove(node)
        names = names_of([label for one in node.attribute for label in (*one.strings, *one.ints)])
        if names and not any(entry.key == "names" for entry in proto.metadata_props):
            proto.metadata_props.add(key="names", value=repr(names))
