"""The maps of several targets in one image, from the tensors of one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.differentiate import set_outputs
from onnxcam.autodiff.window_elements import KnownPlace
from onnxcam.autodiff.windows import Window
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
        few: So many weights of a target are not zero: the session takes them and their places. 0: it takes all weights.
    """

    compiled: CompiledExplanation
    kept: tuple[str, ...]
    few: int = 0

    @classmethod
    def build(
        cls,
        network: ModelDescription,
        method: Method,
        aim: WeightsAim,
        choice: Choice,
        settings: Mapping[str, Any],
        *,
        places: Sequence[KnownPlace] = (),
        spin: bool = True,
    ) -> SharedExplanation | None:
        """Build the session; None where the targets of one image cannot share a pass.

        *places* are those of the weights that are not zero, where these are few.
        """
        if not (isinstance(method, GraphMethod) and method.gradient_cam) or "aug" in settings.get(SMOOTH, NONE):
            return None
        prepared = network.open()
        if prepared.batch not in (None, 1) and isinstance(prepared.batch, int):
            return None
        graph, image, layer = prepared.model.graph, prepared.image, choice.layer.in_graph(prepared.model.graph)
        where = find_places(network, prepared, [layer])
        own = list(graph)
        with building():
            op, few = Emitter(graph), len(places)
            try:
                given, windows = _elements(op, aim, places)
                if not windows:
                    given, few = [_input(op, aim.input, _lengths(op, aim), ir.DataType.FLOAT)], 0
                seeds = {} if windows else dict([aim.cotangent(op, given[0])])
                flat = emit_maps(op, image, method, layer, seeds, _first_image(op, given[0]), settings, windows)
            except (GradientError, MissingRuleError):
                return None
            if flat is None:
                return None
            set_outputs(op, {MAP: flat}, replace=True)
            kept = _cut(graph, own, given)
        session = Session(prepared.model, network.provider, spin=spin)
        return cls(CompiledExplanation(network, aim, [choice], session, None, None, where), kept, few)

    def maps(self, tensors: Mapping[str, np.ndarray], weights: Sequence[np.ndarray]) -> Arrays:
        """Return the raw maps of targets with *weights* as output `MAP`, [M, h, w]."""
        session = self.compiled.session
        given = {**tensors, **self._given(weights)}
        return session.run({name: given[name] for name in session.inputs}, [MAP])

    def _given(self, weights: Sequence[np.ndarray]) -> Arrays:
        """Return the inputs for targets with *weights*."""
        name = self.compiled.aim.input
        if not self.few:
            return {name: np.stack(weights)}
        places = np.zeros((len(weights), self.few), np.int64)
        values = np.zeros((len(weights), self.few), np.float32)
        for row, one in enumerate(weights):
            found = np.flatnonzero(one)
            places[row, : len(found)], values[row, : len(found)] = found, one.reshape(-1)[found]
        return {name: values, f"{name}{_PLACES}": places}


_PLACES = ".places"


def _elements(
    op: Emitter, aim: WeightsAim, places: Sequence[KnownPlace]
) -> tuple[list[ir.Value], list[tuple[ir.Value, Window]]]:
    """Return new inputs for the weights of targets, [M, few], and their *places*, and the cotangents of these."""
    if not places or aim.windows(op, op.const(np.zeros(1, np.int64)), []) is None:
        return [], []
    values = _input(op, aim.input, [len(places)], ir.DataType.FLOAT)
    flat = _input(op, f"{aim.input}{_PLACES}", [len(places)], ir.DataType.INT64)
    columns = [[op.Gather(x, op.const(np.array(n)), axis=1) for x in (flat, values)] for n in range(len(places))]
    found = aim.windows(op, _first_image(op, values), [(place, weight) for place, weight in columns], places)
    return [values, flat], found or []


def _first_image(op: Emitter, given: ir.Value) -> ir.Value:
    """Return the first image for each target."""
    images: ir.Value = op.ConstantOfShape(op.Shape(given, start=0, end=1), value=ir.tensor(np.zeros(1, np.int64)))
    return images


def _lengths(op: Emitter, aim: WeightsAim) -> list[Any]:
    """Return the lengths of the weights of a target."""
    y = all_tensors(op.graph)[aim.tensor]
    return [length for axis, length in enumerate(y.shape or ()) if axis != aim.batch]


def _input(op: Emitter, name: str, lengths: Sequence[Any], dtype: ir.DataType) -> ir.Value:
    """Return a new input [M, *lengths]."""
    given = ir.Value(name=name, shape=ir.Shape([None, *lengths]), type=ir.TensorType(dtype))
    op.graph.inputs.append(given)
    return given


def _cut(graph: ir.Graph, own: Sequence[ir.Node], given: Sequence[ir.Value]) -> tuple[str, ...]:
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
    graph.inputs[:] = [x for x in graph.inputs if x.uses() or x in given]
    return tuple(x.name or "" for x in graph.inputs if x not in given)
