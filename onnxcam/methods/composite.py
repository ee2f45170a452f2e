"""CAMs computed from other CAMs: of the difference between classes, or of several layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from itertools import groupby
from typing import Annotated, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import dense
from onnxcam.errors import MethodError
from onnxcam.graph.emitter import Emitter
from onnxcam.methods.activation import layercam
from onnxcam.methods.base import METHODS, Emit, GraphMethod, MethodsWith, method
from onnxcam.methods.context import MapContext
from onnxcam.methods.fullgrad import enlarged
from onnxcam.structure.blocks import blocks
from onnxcam.structure.layer import Layer, ancestors

__all__ = ["Base", "finercam", "fused", "refinecam", "refined_layercam"]

Base: TypeAlias = Annotated[str, MethodsWith("gradient_cam")]
"""A CAM of the gradient of a score."""


@method("finercam", at_layer=True, summed=True)
def finercam(context: MapContext, alpha: float = 0.6, classes: int = 3, base: Base = "gradcam") -> ir.Value:
    """L = the map of *base* for y − α mean_d y_d, d the *classes* with the scores closest to y.

    Zhang et al., Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation, 2501.11309, with the
    paper's α of 0.6 and three similar classes. As in the authors' code, the similar classes are those whose scores for
    this image are closest to the target's. With α = 0 the map is that of *base*. The model must have two classes.

    Example:
        >>> onnxcam.explain("birds.onnx", "wren.jpg", method="finercam", settings={"alpha": 1, "classes": 1})
    """
    return _emit(base, replace(context, target=replace(context.target, seed=_difference(context, alpha, classes))))


def _difference(context: MapContext, alpha: float, classes: int) -> ir.Value:
    """Return the cotangent of the scores for y − α mean_d y_d."""
    op, scores = context.op, context.scores
    if scores.classes < 2:
        raise MethodError("finercam compares a class with others, but the model has only one; use --method gradcam")
    count = min(classes, scores.classes - 1)
    nearest = _nearest(context, count)
    seeds = [dense(op, context.target.seed, scores.value)]
    for rank in range(count):
        other = scores.seed(op, op.Gather(nearest, np.asarray(rank), axis=1))
        seeds.append(op.Mul(dense(op, other, scores.value), -alpha / count))
    difference = op.total(*seeds)
    difference.shape = scores.value.shape
    return difference


def _nearest(context: MapContext, count: int) -> ir.Value:
    """Return the *count* other classes with the scores closest to that of the class, int64 [N, count]."""
    op, classes = context.op, context.scores.classes
    flat = op.Cast(op.Reshape(context.scores.value, [-1, classes]), to=int(ir.DataType.FLOAT))
    index = op.Unsqueeze(context.index, [1])
    own = op.Unsqueeze(op.GatherND(flat, index, batch_dims=1), [1])
    itself = op.Equal(index, op.Range(0, classes, 1))
    distance = op.Where(itself, float("inf"), op.Abs(op.Sub(flat, own)))
    _, nearest = op.TopK(distance, [count], axis=1, largest=0, outputs=2)
    return nearest


@method("refinecam", at_layer=True, summed=True)
def refinecam(context: MapContext, stages: int = 4, base: Base = "gradcam++") -> ir.Value:
    """M = Π_l U(N(ReLU L_l)), L_l the map of *base* at the end of each stage, N: to [0, 1], U: to the image's size.

    Domeniconi et al., How to Evaluate and Refine your CAM, 2605.14641. A stage is the part of the network
    between two changes of resolution; the last of the *stages* ends with the layer, the others with their last block.
    In a network of one resolution, as most transformers are, the map is that of the layer.

    Example:
        >>> onnxcam.explain("resnet50.onnx", "cat.jpg", method="refinecam", settings={"base": "layercam"})
    """
    maps = [_emit(base, replace(context, chosen_layer=layer)) for layer in _ends(context, stages)]
    return _product(context, maps)


@method("refined-layercam", at_layer=True, summed=True)
def refined_layercam(context: MapContext, stages: int = 8, blur: float = 1.0) -> ir.Value:
    """M = Π_l U(N(G ReLU L_l)), L_l LayerCAM at the end of each stage, G a Gaussian with σ = *blur* cells of L_l.

    It is the product of RefineCAM, 2605.14641, over LayerCAM's maps, each locally smoothed: the last stages say which
    object it is, the first ones where it is. Stages are those of refinecam, at most the last *stages*. It is the
    default for text recognisers, whose last layers have one or two rows of cells (docs/decisions/0014).

    Example:
        >>> onnxcam.explain("reader.onnx", "sign.png", method="refined-layercam", target="text=FN1LBY at=4")
    """
    if blur < 0:
        raise MethodError(f"the setting blur of refined-layercam is 0 or a number of cells above 0, not {blur:g}")
    maps = [layercam(replace(context, chosen_layer=layer)) for layer in _ends(context, stages)]
    return _product(context, [_blurred(context, one, blur) for one in maps] if blur else maps)


def _product(context: MapContext, maps: Sequence[ir.Value]) -> ir.Value:
    return _joined_at_image_size(context, maps, lambda op, large: reduce(op.Mul, large))


def _blurred(context: MapContext, maps: ir.Value, sigma: float) -> ir.Value:
    """Return ReLU(*maps*) [N, *space] blurred along each axis by a Gaussian of 3 *sigma* on either side, 0 outside."""
    op, axes = context.op, len(context.space())
    reach = math.ceil(3 * sigma)
    weights = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    found = op.Unsqueeze(op.Cast(op.Relu(maps), to=int(ir.DataType.FLOAT)), [1])
    for axis in range(axes):
        shape, pads = [1] * axes, [0] * axes
        shape[axis], pads[axis] = len(weights), reach
        kernel = (weights / weights.sum()).reshape(1, 1, *shape)
        found = op.Conv(found, op.const(kernel, ir.DataType.FLOAT), pads=[*pads, *pads])
    return op.Squeeze(found, [1])


def fused(context: MapContext, emit: Emit, layers: Sequence[Layer], **settings: Any) -> ir.Value:
    """Return M = mean_l U(N(ReLU L_l)), L_l the map of *emit* at each of *layers*, as in pytorch-grad-cam."""
    maps = [emit(replace(context, chosen_layer=layer, signed=False), **settings) for layer in layers]
    return _joined_at_image_size(context, maps, lambda op, large: op.Div(op.total(*large), float(len(large))))


def _joined_at_image_size(
    context: MapContext, maps: Sequence[ir.Value], join: Callable[[Emitter, Sequence[ir.Value]], ir.Value]
) -> ir.Value:
    """Return *maps* of several sizes joined by *join*, each scaled to [0, 1] and resized to the image."""
    op, image, layout = context.op, context.image, context.image_layout
    scaled = [op.Unsqueeze(_scaled(op, op.Relu(one)), [1]) for one in maps]
    joined = op.Squeeze(join(op, [enlarged(op, one, image, layout) for one in scaled]), [1])
    joined.shape = ir.Shape([None, *layout.size(image)])
    return joined


def _ends(context: MapContext, stages: int) -> Sequence[Layer]:
    """Return the layers that end the last *stages*, the layer of *context* among them as the last."""
    last = context.layer
    before = ancestors(last.value) - {last.value}
    found = blocks(context.op.graph, context.image, context.target.value, STANDARD)
    ends = [*(layer for layer in found if layer.value in before), last]
    runs = groupby(ends, key=lambda layer: tuple(map(str, layer.layout.size(layer.value))))  # lengths may be symbols
    return [list(run)[-1] for _, run in runs][-stages:]


def _scaled(op: Emitter, maps: ir.Value) -> ir.Value:
    """Return *maps* [N, *space], each scaled to [0, 1]; zero where a map is constant."""
    space = op.axes(maps, 1)
    above = op.Sub(maps, op.ReduceMin(maps, space, keepdims=1))
    top = op.ReduceMax(above, space, keepdims=1)
    return op.Div(above, op.Where(op.Equal(top, 0.0), 1.0, top))


def _emit(base: str, context: MapContext) -> ir.Value:
    method = METHODS[base]
    assert isinstance(method, GraphMethod)
    return method.emit(context)
