"""One canonical form, one pass a file, in this order.

1. `names`: the layer names of the model's card are put beside the nodes.
2. `inputs`: weights that are also listed as inputs become constants, open dimensions of -1 become unknown ones.
3. `inline`: model-local functions are replaced by their bodies, but those that a rule differentiates.
4. `bounds`: what no memory holds is refused, where constants tell it; again when the shapes are known.
5. `opset`: the default domain is raised to opset 18 if it is older. Rules speak 18 and newer.
6. `shapes`: shapes and dtypes are inferred, of what loops carry by induction (`loops`), with the help of `constants`
   where onnx does not tell how many axes.
7. `branches`: an If whose condition is known is replaced by the branch that it takes (`constants` tells).

The graph computes what it did before: names of tensors, inputs and outputs, and metadata stay.
"""

from __future__ import annotations

from typing import Protocol

import onnx_ir as ir

from onnxcam.graph.compositions import Compositions
from onnxcam.passes.bounds import refuse_giant_shapes, refuse_giants
from onnxcam.passes.branches import take_branches
from onnxcam.passes.constants import fold_shapes
from onnxcam.passes.inline import inline_functions
from onnxcam.passes.inputs import fix_inputs
from onnxcam.passes.names import name_layers
from onnxcam.passes.opset import raise_opset
from onnxcam.passes.shapes import infer_shapes


class DifferentiableOperators(Protocol):
    """The operators that have a gradient rule: a `RuleSet`, say."""

    def __contains__(self, key: object) -> bool:
        """Whether the operator (domain, name) has a rule."""

    @property
    def compositions(self) -> Compositions:
        """What operators compute that onnx does not know."""


def canonical(model: ir.Model, known: DifferentiableOperators) -> ir.Model:
    """Return *model* in the form that `onnxcam.autodiff` works on. *model* itself may be edited."""
    name_layers(model)
    fix_inputs(model)
    inline_functions(model, known)
    refuse_giants(model)
    model = raise_opset(model)
    infer_shapes(model, known.compositions)
    while fold_shapes(model):
        infer_shapes(model, known.compositions, anew=True)
    while take_branches(model, known.compositions):
        infer_shapes(model, known.compositions, anew=True)
    refuse_giant_shapes(model)
    return model
