"""The reference of each value of a graph: the value for a reference image, emitted beside the graph.

If the reference image is constant, so are all references: the runtime folds them when it loads the model.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.relevance import refusal
from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.rules.compose import copied
from onnxcam.autodiff.table import Rule, RuleSet, V
from onnxcam.graph.compositions import Key
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import same
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.subgraph import bodies, used_values

__all__ = ["ReferenceRules", "rules_of"]

_NUMBERLESS = operators(Trait.MEASURES)


class ReferenceRules(RuleSet):
    """The rules for one graph and one reference image, with the reference of each value."""

    def __init__(
        self, name: str, table: MutableMapping[Key, Rule | None], op: Emitter, image: V, baseline: float
    ) -> None:
        super().__init__(name, table)
        self._op = op
        self.settled: list[V] = []
        self._varying = core.dependents(_with_numbers(op.graph), [image], RuleSet("", {}))
        self.whole = not _batch_stands_alone(image, core.dependents(op.graph, [image], STANDARD))
        reference = self._reference(image, baseline)
        self._references = {image: reference, reference: reference}
        for node in op.graph:
            if not bodies(node) and not self._references.keys().isdisjoint(node.inputs):
                self._copy(node)

    def find(self, node: ir.Node) -> Rule:
        """Return the rule for *node*; MethodError if there is none."""
        row = self.get((node.domain, node.op_type))
        if row is None:
            raise refusal(self.name, node)
        return row

    def reference_of(self, x: V) -> V:
        """Return the reference of *x*; *x* itself if it does not depend on the image."""
        node = x.producer()
        if x in self._references or node is None:
            return self._references.get(x, x)
        if node.graph is None:  # emitted by a rule
            if any(self.reference_of(operand) is not operand for operand in node.inputs if operand is not None):
                self._copy(node)
        elif bodies(node) and not self._references.keys().isdisjoint(used_values(node)):
            raise refusal(self.name, node)
        return self._references.get(x, x)

    def varies(self, x: V) -> bool:
        """Whether *x* depends on the numbers of the image, not on its shape alone."""
        node = x.producer()
        if node is None or node.graph is not None or self._references.get(x) is x:
            return x in self._varying
        return node.op_type not in _NUMBERLESS and any(self.varies(z) for z in node.inputs if z is not None)

    def settle(self, x: V) -> None:
        """Treat *x* as a constant, equal for image and reference."""
        self._references[x] = x
        self.settled.append(x)

    def _reference(self, image: V, baseline: float) -> V:
        """Return the image filled with *baseline*; with batch 1 if the batch is an axis of its own everywhere."""
        op, dtype = self._op, (image.dtype or ir.DataType.FLOAT).numpy()
        shape = op.Shape(image) if self.whole else op.Concat([1], op.Shape(image, start=1), axis=0)
        reference = op.ConstantOfShape(shape, value=ir.tensor(np.asarray([baseline]).astype(dtype)))
        reference.type = image.type
        return reference

    def _copy(self, node: ir.Node) -> None:
        inputs = [x if x is None else self.reference_of(x) for x in node.inputs]
        made: Any
        if node.domain == "onnxcam":  # a Clamp, which represents a Clip and is never placed
            bounds = (float(node.attributes.get_float(name) or 0) for name in ("low", "high"))
            made = self._op.Clip(inputs[0], *bounds)
        else:
            attributes = copied(node, *node.attributes)
            made = self._op.emit(node.op_type, inputs, len(node.outputs), node.domain, attributes)
        for y, y0 in zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True):
            y0.type = y0.type or y.type
            self._references.update({y: y0, y0: y0})


def _with_numbers(graph: ir.Graph) -> list[ir.Node]:
    """Return the nodes whose outputs depend on the numbers of their inputs, not on shapes alone."""
    return [node for node in graph if node.op_type not in _NUMBERLESS]


def _batch_stands_alone(image: V, active: Iterable[V]) -> bool:
    """Whether the batch size is open, and all other lengths of the *active* values are known."""
    batch = None if image.shape is None else image.shape[0]
    if isinstance(batch, int) or batch is None:
        return False
    shapes = [y.shape for y in active]
    return all(
        shape is not None and all(isinstance(length, int) or same(length, batch) for length in shape)
        for shape in shapes
    )


def rules_of(scope: core.Scope) -> ReferenceRules:
    """Return the rules of *scope*, with the references."""
    assert isinstance(scope.rules, ReferenceRules)
    return scope.rules
