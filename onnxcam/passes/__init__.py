"""Passes: bring a model into its canonical form. One pass a file, in this order.

1. `names`: copy the layer names of the model's card into the nodes.
2. `inputs`: make constants of weights that are listed as inputs; make dimensions of -1 unknown.
3. `inline`: replace model-local functions by their bodies, except functions that have a rule.
4. `bounds`: refuse tensors that do not fit into memory, as far as constants show it; again after shape inference.
5. `declared`: replace the declared shapes of computed tensors by inferred ones; at the end, believe the others.
6. `opset`: raise the default domain to opset 18 if it is older. Rules support opset 18 and newer.
7. `shapes`: infer shapes and dtypes. `loops` infers the states of loops; `constants` helps if the rank is unknown.
8. `branches`: replace an If of known condition (`constants`) by its branch.
9. `softmax`: undo the reshapes that step 6 adds to a softmax.

The graph computes the same function; the names of tensors, inputs and outputs, and the metadata are kept.
"""

from __future__ import annotations

from typing import Protocol

import onnx_ir as ir

from onnxcam.graph.compositions import Compositions
from onnxcam.graph.infer import LONG
from onnxcam.passes.bounds import refuse_giant_shapes, refuse_giants
from onnxcam.passes.branches import take_branches
from onnxcam.passes.constants import fold_shapes
from onnxcam.passes.declared import believe, doubt, forget
from onnxcam.passes.inline import inline_functions
from onnxcam.passes.inputs import fix_inputs
from onnxcam.passes.names import name_layers
from onnxcam.passes.opset import raise_opset
from onnxcam.passes.shapes import infer_shapes
from onnxcam.passes.softmax import restore_softmax


class DifferentiableOperators(Protocol):
    """The operators that have a gradient rule, such as a `RuleSet`."""

    def __contains__(self, key: object) -> bool:
        """Whether the operator (domain, name) has a rule."""

    @property
    def compositions(self) -> Compositions:
        """The operators that onnx does not know, as compositions of operators that it knows."""


def canonical(model: ir.Model, known: DifferentiableOperators) -> ir.Model:
    """Return *model* in canonical form; *model* itself may be edited.

    Raises:
        ModelError: the model exceeds the memory, or onnx cannot convert or inline it.
    """
    name_layers(model)
    fix_inputs(model)
    inline_functions(model, known)
    declared = doubt(model, refuse_giants(model) <= LONG)
    believe(model, declared)
    model = raise_opset(model)
    forget(model, declared)
    infer_shapes(model, known.compositions)
    while fold_shapes(model):
        infer_shapes(model, known.compositions, anew=True)
    while take_branches(model, known.compositions):
        infer_shapes(model, known.compositions, anew=True)
    if believe(model, declared):
        infer_shapes(model, known.compositions, anew=True)
    restore_softmax(model)
    refuse_giant_shapes(model)
    return model
