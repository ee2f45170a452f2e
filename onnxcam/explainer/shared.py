"""The maps of several targets in one image, from the tensors of one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.differentiate import set_outputs
from onnxcam.engine import Session
from onnxcam.errors import GradientError, MissingRuleError
from onnxcam.explainer.compiled import Arrays, CompiledExplanation, find_places
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors, building
from onnxcam.graph.subgraph import prune, used_values
from onnxcam.metadata.reserved import MAP
from onnxcam.methods.base import NONE, SMOOTH, GraphMethod, Method
from onnxcam.methods.repeated import emit_maps
from onnxcam.model.description import ModelDescription
from onnxcam.structure.layer import Choice
from onnxcam.targets.aim import WeightsAim

__all__ = ["SharedExplanation"]


@dataclass(frozen=True)
class SharedExplanation:
    """The reverse pass of one aim at one layer, for any number of targets in one image.

    Attributes:
        compiled: Its session, which takes the tensors *kept* and the weights of the targets.
        kept: The tensors of the forward pass that it reads.
    """

    compiled: CompiledExplanation
    kept: tuple[str, ...]

    @classmethod
    def build(
        cls,
        network: ModelDescription,
        method: Method,
        aim: WeightsAim,
        choice: Choice,
        settings: Mapping[str, Any],
        *,
        spin: bool = True,
    ) -> SharedExplanation | None:
        """Build the session; None where the targets of one image cannot share a pass."""
        if not (isinstance(method, GraphMethod) and method.gradient_cam) or "aug" in settings.get(SMOOTH, NONE):
            return None
        prepared = network.open()
        if prepared.batch not in (None, 1) and isinstance(prepared.batch, int):
            return None
        graph, image, layer = prepared.model.graph, prepared.image, choice.layer.in_graph(prepared.model.graph)
        places = find_places(network, prepared, [layer])
        own = list(graph)
        with building():
            op = Emitter(graph)
            given = _weights(op, aim)
            try:
                value, seed = aim.cotangent(op, given)
                images = op.ConstantOfShape(op.Shape(given, start=0, end=1), value=ir.tensor(np.zeros(1, np.int64)))
                flat = emit_maps(op, image, method, layer, {value: seed}, images, settings)
            except (GradientError, MissingRuleError):
                return None
            if flat is None:
                return None
            set_outputs(op, {MAP: flat}, replace=True)
            kept = _cut(graph, own, given)
        session = Session(prepared.model, network.provider, spin=spin)
        return cls(CompiledExplanation(network, aim, [choice], session, None, None, places), kept)

    def maps(self, tensors: Mapping[str, np.ndarray], weights: Sequence[np.ndarray]) -> Arrays:
        """Return the raw maps of targets with *weights* as output `MAP`, [M, h, w]."""
        session = self.compiled.session
        given = {**tensors, self.compiled.aim.input: np.stack(weights)}
        return session.run({name: given[name] for name in session.inputs}, [MAP])


def _weights(op: Emitter, aim: WeightsAim) -> ir.Value:
    """Return a new input for the weights of targets, [M, …]."""
    y = all_tensors(op.graph)[aim.tensor]
    rest = [length for axis, length in enumerate(y.shape or ()) if axis != aim.batch]
    given = ir.Value(name=aim.input, shape=ir.Shape([None, *rest]), type=ir.TensorType(ir.DataType.FLOAT))
    op.graph.inputs.append(given)
    return given


def _cut(graph: ir.Graph, own: Sequence[ir.Node], given: ir.Value) -> tuple[str, ...]:
    """Make the tensors of the nodes *own* that others read, and the image, inputs of *graph*; return their names."""
    nodes = set(own)
    made = {y for node in own for y in node.outputs}
    used = dict.fromkeys(
        x for node in graph if node not in nodes for x in used_values(node) if x is not None and x in made
    )
    for x in used:
        name, x.name = x.name or "", f"onnxcam.inner.{x.name}"
        taken = ir.Value(name=name, shape=x.shape, type=x.type)
        graph.inputs.append(taken)
        for node, place in list(x.uses()):
            if node not in nodes:
                node.replace_input_with(place, taken)
    prune(graph)
    graph.inputs[:] = [x for x in graph.inputs if x.uses() or x is given]
    return tuple(x.name or "" for x in graph.inputs if x is not given)
