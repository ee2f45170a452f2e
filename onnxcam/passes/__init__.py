"""Passes: bring a model into its canonical form. One pass a file, in this order.

1. `names`: copy the layer names of the model's card into the nodes.
2. `inputs`: make constants of weights that are listed as inputs; make dimensions of -1 unknown.
3. `inline`: replace model-local functions by their bodies, except functions that have a rule.
4. `bounds`: refuse tensors that do not fit into memory, as far as constants show it; again after shape inference.
5. `declared`: forget the declared shapes of computed tensors; after 7, believe those that are not inferred.
6. `opset`: raise the default domain to opset 18 if it is older. Rules support opset 18 and newer.
7. `shapes`: infer shapes and dtypes. `loops` infers the states of loops; `constants` helps if the rank is unknown.
8. `branches`: replace an If of known condition (`constants`) by its branch.
9. `softmax`: undo the reshapes that step 6 adds to a softmax.

The graph computes the same function; the names of tensors, inputs and outputs, and the metadata are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import onnx_ir as ir

from onnxcam.errors import ModelError
from onnxcam.graph.compositions import Compositions
from onnxcam.passes.bounds import refuse_giant_shapes, refuse_giants
from onnxcam.passes.branches import take_branches
from onnxcam.passes.constants import fold_shapes
from onnxcam.passes.declared import believe, forget, forget_made_up
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
    refuse_giants(model)
    declared = forget(model)
    model = _raised(model, declared)
    infer(model, known)
    if believe(model, declared):
        infer_shapes(model, known.compositions, anew=True)
        _fold(model, known)
    while take_branches(model, known.compositions):
        infer_shapes(model, known.compositions, anew=True)
    restore_softmax(model)
    refuse_giant_shapes(model)
    return model


def infer(model: ir.Model, known: DifferentiableOperators) -> None:
    """Infer the shapes of *model* in place, also those that follow from computed axes and sizes."""
    infer_shapes(model, known.compositions)
    _fold(model, known)


def _raised(model: ir.Model, declared: Mapping[str, ir.Shape]) -> ir.Model:
    """Return *model* at a newer opset; the *declared* shapes help only where onnx's converter cannot do without."""
    try:
        raised = raise_opset(model)
    except ModelError:
        if not declared:
            raise
        believe(model, declared)
        raised = raise_opset(model)
        forget(raised)
    forget_made_up(raised)  # the converter infers less than `infer_shapes`
    return raised


def _fold(model: ir.Model, known: DifferentiableOperators) -> None:
    while fold_shapes(model):
        infer_shapes(model, known.compositions, anew=True)
