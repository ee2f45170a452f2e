"""What added nodes read of a quantised model: quantised tensors, so that ONNX Runtime computes what it did before.

ONNX Runtime fuses an operator between DequantizeLinear and QuantizeLinear into one on integers only while nothing else
reads its output. A fused operator rounds differently from single ones, and is several times faster.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.subgraph import bodies, graphs, prune

__all__ = ["read_quantised"]

_CHEAP = operators(Trait.ACTIVATES | Trait.GATES | Trait.ARITHMETIC) - operators(Trait.RECTIFIES)
"""Operators that are computed again from dequantised inputs, to the last bit, in place of reading their rounded output.
A rectifier's rounded output is as good: it is read for its sign."""
_QUANTISES = operators(Trait.QUANTISES)
_MEASURES = operators(Trait.MEASURES)


def read_quantised(graph: ir.Graph, own: Collection[ir.Node], *, mirror: bool = True) -> None:
    """Let the nodes of *graph* that are not the model's *own* read quantised tensors, in place.

    *mirror*: change int8 tensors that they read to uint8, as ONNX Runtime does on x86 with those of one reader.
    """
    if not any(node.op_type in _QUANTISES or node.op_type.startswith("QLinear") for node in own):
        return
    nodes = set(own)
    taps = _Taps(Emitter(graph, "onnxcam.tap"), nodes)
    added = [node for node in graph if node not in nodes]
    for node in added:
        for reader in (node, *(inner for body in bodies(node) for each in graphs(body) for inner in each)):
            for place, x in enumerate(reader.inputs):
                if x is not None and (y := taps.read(x, reader)) is not x:
                    reader.replace_input_with(place, y)
        if node.op_type == "DequantizeLinear" and (real := taps.folded(node)) is not None:
            node.outputs[0].replace_all_uses_with(real)
    taps.place(graph)
    if mirror:
        _mirror(graph, nodes)
    graph.sort()
    prune(graph)


class _Taps:
    """Emits what added nodes read in place of the tensors of the nodes *own*."""

    def __init__(self, op: Emitter, own: set[ir.Node]) -> None:
        self.op, self._own = op, own
        self._known: dict[ir.Value, ir.Value] = {}

    def read(self, x: ir.Value, reader: ir.Node) -> ir.Value:
        """Return what *reader* reads in place of *x*."""
        node = x.producer()
        if node not in self._own or (reader.op_type == "Identity" and reader.outputs[0].is_graph_output()):
            return x
        if reader.op_type in _MEASURES:
            return self._codes(x) or x
        if x not in self._known:
            self._known[x] = self._real(x, node)
        return self._known[x]

    def folded(self, node: ir.Node) -> ir.Value | None:
        """Return the output of an added DequantizeLinear of constants, such that ONNX Runtime computes it once."""
        if any(x is not None and constant(x) is None for x in node.inputs):
            return None
        y = node.outputs[0]
        self._known[y] = self._dequantised(node, node.inputs[0])
        return self._known[y]

    def place(self, graph: ir.Graph) -> None:
        """Add the emitted nodes to *graph*."""
        self.op.place(self._known.values())

    def _real(self, x: ir.Value, node: ir.Node) -> ir.Value:
        """Return the floats *x*, the output of *node*, read from quantised tensors; *x* where there are none."""
        if node.op_type == "DequantizeLinear":
            found = self._dequantised(node, node.inputs[0])
        elif (user := self._rounds(x)) is None or not self._may_fuse(node):
            return x
        elif node.op_type in _CHEAP and all(self._is_read(z) for z in node.inputs):
            found = self._again(node, x)
        else:
            found = self._dequantised(user, user.outputs[0])
        found.shape, found.type = x.shape, x.type
        return found

    def _may_fuse(self, node: ir.Node | None) -> bool:
        """Whether *node*, or one that it rectifies the output of, reads a dequantised tensor."""
        makers = [] if node is None else [None if z is None else z.producer() for z in node.inputs]
        if node is not None and node.op_type in operators(Trait.RECTIFIES):
            return self._may_fuse(makers[0])
        return any(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)

    def _is_read(self, z: ir.Value | None) -> bool:
        node = None if z is None else z.producer()
        return node is None or node.op_type == "DequantizeLinear"

    def _again(self, node: ir.Node, x: ir.Value) -> ir.Value:
        """Emit *node* again, reading dequantised tensors; return its output in place of *x*."""
        inputs = [z if z is None else self.read(z, node) for z in node.inputs]
        settings = {name: one.value for name, one in node.attributes.items()}
        settings = {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()}
        made: ir.Value = self.op.emit(node.op_type, inputs, domain=node.domain, attributes=settings)
        return made

    def _rounds(self, x: ir.Value) -> ir.Node | None:
        """Return the QuantizeLinear that alone of the model's nodes reads *x*."""
        users = [(node, at) for node, at in x.uses() if node in self._own]
        if len(users) != 1 or users[0][0].op_type != "QuantizeLinear" or users[0][1] or x.is_graph_output():
            return None
        return users[0][0]

    def _codes(self, x: ir.Value) -> ir.Value | None:
        """Return the codes of *x*: of the same shape."""
        node, user = x.producer(), self._rounds(x)
        if node is not None and node.op_type == "DequantizeLinear":
            return node.inputs[0]
        return None if user is None else user.outputs[0]

    def _dequantised(self, node: ir.Node, codes: ir.Value | None) -> ir.Value:
        """Return *codes* in the units of *node*; of constants by operators that ONNX Runtime computes once.

        It computes DequantizeLinear of constants in every run.
        """
        op, known = self.op, constant(codes)
        scale, zero = (constant(x) for x in (*node.inputs, None)[1:3])
        blocked = node.attributes.get_int("block_size", 0)
        made: ir.Value
        if codes is None or known is None or scale is None or blocked or (zero is None and len(node.inputs) > 2):
            settings = {name: one.value for name, one in node.attributes.items() if name != "precision"}
            made = op.emit("DequantizeLinear", [codes, *node.inputs[1:]], domain=node.domain, attributes=settings)
            return made
        behind = known.ndim - 1 - node.attributes.get_int("axis", 1) % max(known.ndim, 1)
        wide = [] if scale.size == 1 else [-1, *[1] * behind]
        real = op.Cast(codes, to=int(ir.DataType.from_numpy(scale.dtype)))
        if zero is not None and zero.any():
            real = op.Sub(real, op.const(zero.astype(scale.dtype).reshape(wide)))
        made = op.Mul(real, op.const(scale.reshape(wide)))
        return made


def _mirror(graph: ir.Graph, own: set[ir.Node]) -> None:
    """Change QuantizeLinear to uint8 where ONNX Runtime does so without the added nodes, but not with them."""
    op = Emitter(graph, "onnxcam.tap")
    turned = [node for node in own if node.op_type == "QuantizeLinear" and _turns(node, own)]
    for node in turned:
        _as_unsigned(op, node)
    if turned:
        op.place([x for node in graph for x in node.inputs if x is not None])


def _turns(node: ir.Node, own: set[ir.Node]) -> bool:
    """Whether QuantizeLinear *node* writes int8 for one operator of the model alone, and added nodes read it too."""
    y = node.outputs[0]
    readers = [user for user, _ in y.uses() if user in own]
    if len(readers) != 1 or len(y.uses()) < 2 or readers[0].op_type != "DequantizeLinear" or y.is_graph_output():
        return False
    zeros = [constant((*each.inputs, None, None)[2]) for each in (node, readers[0])]
    if any(zero is None or zero.dtype != np.int8 or zero.size != 1 for zero in zeros) or zeros[0] != zeros[1]:
        return False
    real = readers[0].outputs[0]
    return len([user for user, _ in real.uses() if user in own]) + real.is_graph_output() == 1


def _as_unsigned(op: Emitter, node: ir.Node) -> None:
    """Let int8 QuantizeLinear *node* write uint8, its zero point moved, and its readers read that."""
    turned = [node.outputs[0]]
    node.replace_input_with(2, _moved(op, node.inputs[2]))
    for y in turned:
        y.type = ir.TensorType(ir.DataType.UINT8)
        for user, at in list(y.uses()):
            if at == 0 and user.op_type in _HELD_AGAINST:
                for place, x in enumerate(user.inputs[1:], 1):
                    user.replace_input_with(place, _moved(op, x))
                turned += user.outputs if user.op_type == "Clip" else []
            elif user.op_type not in _MEASURES and not (user.op_type == "Equal" and set(user.inputs) <= {*turned}):
                user.replace_input_with(at, _signed(op, y))


_HELD_AGAINST = {"Clip", "DequantizeLinear", "Greater", "Less"}
"""Operators that hold integers against constants of their type."""


def _moved(op: Emitter, x: ir.Value | None) -> ir.Value | None:
    """Return the int8 constant *x* as uint8, its place in the range kept."""
    known = constant(x)
    return x if known is None or known.dtype != np.int8 else op.const((known.astype(np.int16) + 128).astype(np.uint8))


def _signed(op: Emitter, y: ir.Value) -> ir.Value:
    """Return the uint8 *y* as the int8 that it was."""
    made: ir.Value = op.Cast(op.Sub(op.Cast(y, to=int(ir.DataType.INT32)), np.int32(128)), to=int(ir.DataType.INT8))
    return made
