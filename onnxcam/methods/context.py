"""What a graph method emits its map from: the image, the layer, the score, and their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff.core import backward, connected
from onnxcam.autodiff.rulesets import past_rounding, ruleset
from onnxcam.autodiff.table import RuleSet
from onnxcam.errors import MethodError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype
from onnxcam.metadata.reserved import CHOSEN
from onnxcam.structure.layer import Layer
from onnxcam.structure.layout import BlockedLayout, GridLayout, picture_layout
from onnxcam.targets.aim import Aimed
from onnxcam.targets.scores import Scores

__all__ = ["MapContext", "layer_value"]


@dataclass(frozen=True)
class MapContext:
    """The image, the layer and the score from which a graph method emits its map.

    Attributes:
        op: Adds nodes to the graph.
        image: The input that is explained.
        chosen_layer: The layer; None for methods that use none.
        target: The score that is explained.
        eigen: Sums over channels are replaced by their principal component.
        signed: The map keeps its negative part, the evidence against the target.
    """

    op: Emitter
    image: ir.Value
    chosen_layer: Layer | None
    target: Aimed
    eigen: bool = False
    signed: bool = False

    @property
    def layer(self) -> Layer:
        """The layer; MethodError where the method uses none."""
        if self.chosen_layer is None:
            raise MethodError("this method looks at a layer; name one")
        return self.chosen_layer

    @property
    def scores(self) -> Scores:
        """The scores of the classes; MethodError where the target is no class."""
        if self.target.scores is None:
            raise MethodError("this method compares classes; it applies to classifiers only: use --method gradcam")
        return self.target.scores

    @property
    def index(self) -> ir.Value:
        """The index of the class, int64 [N]; MethodError where the target is not a single class."""
        if CHOSEN not in self.target.outputs:
            raise MethodError("this method needs one class of a classifier as its target: use --method gradcam")
        return self.target.outputs[CHOSEN]

    @property
    def image_layout(self) -> GridLayout:
        """The layout of the image; MethodError where the input has no spatial axes."""
        layout = picture_layout(self.image)
        if layout is None:
            raise MethodError(
                f"this method needs spatial axes, which the input {self.image.name!r} has not; use --method gradient"
            )
        return layout

    def positive(self, maps: ir.Value) -> ir.Value:
        """Return ReLU(*maps*), the last step of many methods; *maps* unchanged if `signed`."""
        return maps if self.signed else self.op.Relu(maps)

    def gradient(self, value: ir.Value, rules: str | RuleSet = "standard") -> ir.Value:
        """Return the gradient of the score with respect to *value*, of its shape.

        GradientError where no path connects them; MissingRuleError where an operator has no rule.
        """
        seeds = self.target.seeds
        table = past_rounding(ruleset(rules), seeds)
        (found,) = backward(self.op, seeds, [value], table)
        gradient = connected(value, found, seeds, table)
        gradient.shape, gradient.type = value.shape, ir.TensorType(gradient_dtype(value))
        return gradient

    def activation(self) -> ir.Value:
        """Return the layer's activation A, [N, K, *space]."""
        return self.layer.layout.maps(self.op, self.layer.dequantised(self.op))

    def activation_gradient(self) -> ir.Value:
        """Return the gradient of the score with respect to A, [N, K, *space]."""
        layer = self.layer
        return layer.layout.maps(self.op, layer.dequantised_gradient(self.op, self.gradient(layer.value)))

    def size(self) -> tuple[Any, ...]:
        """Return the lengths of A's spatial axes, ints where they are fixed."""
        return self.layer.layout.size(self.layer.value)

    def space(self) -> list[int]:
        """Return the indices of A's spatial axes."""
        return list(range(2, 2 + len(self.size())))

    def unfolded(self, flat: ir.Value) -> ir.Value:
        """Return *flat*, one number for each image and position of A, as [N, *space]."""
        op, lengths = self.op, self.size()
        if all(isinstance(length, int) for length in lengths):
            return op.Reshape(flat, [-1, *lengths])
        a = self.activation()
        return op.Reshape(flat, op.Concat(op.Shape(a, end=1), op.Shape(a, start=2), axis=0))


def layer_value(context: MapContext) -> ir.Value:
    """Emit the layer's tensor; MethodError where its channels cannot be set to zero."""
    layer = context.layer
    value = layer.value
    if isinstance(layer.layout, BlockedLayout) or value.dtype is None or not value.dtype.is_floating_point():
        form = "is in the blocked layout" if isinstance(layer.layout, BlockedLayout) else f"holds {value.dtype}".lower()
        raise MethodError(
            f"this method changes an activation in floating point, but {layer.tensor!r} {form}; name another --layer, "
            "or use --method scorecam"
        )
    return value
