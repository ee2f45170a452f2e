"""Instrumentation: add activations and gradients to a model's outputs, for any runtime to read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import connected
from onnxcam.autodiff.differentiate import add_output
from onnxcam.errors import LayerError, ModelError, TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import ModelLike, save
from onnxcam.metadata.reserved import CHOSEN, SCORE, load_bare
from onnxcam.model.diagnose import choose_layer
from onnxcam.model.prepared import PreparedModel
from onnxcam.passes import canonical
from onnxcam.structure.blocks import blocks
from onnxcam.structure.layer import candidates
from onnxcam.structure.layout import picture_layout
from onnxcam.structure.names import find, module_outputs
from onnxcam.targets import ClassAim, find_scores
from onnxcam.targets.aim import emit_gradients

__all__ = ["ALL_BLOCKS", "AUTO", "Tap", "expose", "instrument", "taps"]

AUTO, ALL_BLOCKS = "auto", "all-blocks"


@dataclass(frozen=True)
class Tap:
    """A tensor to expose, and the framework's layer whose output it is, if known."""

    value: ir.Value
    layer: str | None = None

    def __str__(self) -> str:
        return f"{self.layer} ({self.value.name})" if self.layer not in (None, self.value.name) else self.name

    @property
    def name(self) -> str:
        """Return the tensor's name."""
        return self.value.name or ""


def instrument(
    model: ModelLike,
    path: str | os.PathLike[str],
    layers: Sequence[str],
    *,
    gradients: bool = True,
    input_gradient: bool = False,
    overwrite: bool = False,
) -> list[tuple[str, str]]:
    """Write *model* with additional outputs to *path*; return the name and meaning of each.

    Args:
        model: The model; it is not changed.
        path: The file to write.
        layers: Names of tensors, nodes or framework layers, ``"auto"`` or ``"all-blocks"``. The activation of each
            becomes an output under the name of its tensor.
        gradients: Add ``<tensor>.gradient`` for each layer, of the tensor's shape: the gradient of one class score.
            The new input ``onnxcam.class``, int64 [N], selects the class; −1 is the model's top class. The class and
            its score, [N], become outputs too.
        input_gradient: Add the gradient at each floating input as well.
        overwrite: Replace a file that onnxcam did not write.

    Raises:
        LayerError: the model has no such layer.
        TargetError: gradients are requested and the model has no class scores.
        OutputError: *path* cannot be written, is the model itself or its weights, or is a file that onnxcam did not
            write, without *overwrite*.

    Example:
        >>> instrument("model.onnx", "instrumented.onnx", ["layer4"])
    """
    opened = canonical(load_bare(model), STANDARD)
    added = expose(opened, taps(opened, layers), gradients=gradients, input_gradient=input_gradient)
    save(opened, path, model, overwrite=overwrite)
    return added


def taps(model: ir.Model, layers: Sequence[str]) -> list[Tap]:
    """Return the tensors that *layers* (names, ``auto``, ``all-blocks``) select in *model*, which is canonical."""
    outputs = module_outputs(model.graph)
    by_tensor = {value: name for name, value in outputs.items()}  # the innermost module comes last
    found: dict[ir.Value, Tap] = {}
    for name in layers:
        for value in _tensors(model, name):
            layer = name if outputs.get(name) is value else by_tensor.get(value)
            found.setdefault(value, Tap(value, layer))
    return list(found.values())


def expose(model: ir.Model, wanted: Sequence[Tap], *, gradients: bool, input_gradient: bool) -> list[tuple[str, str]]:
    """Make the tensors of *wanted* outputs of *model*, which is canonical, with their gradients; see `instrument`."""
    graph, inputs = model.graph, list(model.graph.inputs)
    sources = [x for x in inputs if x.dtype is not None and x.dtype.is_floating_point()] if input_gradient else []
    after = [*(tap.value for tap in wanted if gradients), *sources]
    graph.outputs.extend(tap.value for tap in wanted if tap.value not in graph.outputs)
    rows = list(_add_gradients(graph, after)) if after else []
    return [(tap.name, f"activation of {tap}") for tap in wanted] + rows


def _add_gradients(graph: ir.Graph, wanted: Sequence[ir.Value]) -> Iterator[tuple[str, str]]:
    op = Emitter(graph)
    first = graph.inputs[0].shape
    aimed, found = emit_gradients(op, ClassAim(), first[0] if first is not None and len(first) else None, wanted)
    for value, gradient in zip(wanted, found, strict=True):
        dx = connected(value, gradient, [aimed.value], STANDARD)
        add_output(op, dx, f"{value.name}.gradient", like=value)
        yield f"{value.name}.gradient", f"gradient of the class score at {value.name}"
    for value, name, meaning in ((aimed.outputs[CHOSEN], CHOSEN, "the class"), (aimed.score, SCORE, "its score")):
        add_output(op, value, name, shape=[None])
        yield name, meaning
    op.place(graph.outputs)


def _tensors(model: ir.Model, name: str) -> list[ir.Value]:
    if name == AUTO:
        return [_best(model)]
    if name != ALL_BLOCKS:
        return [find(model.graph, name)]
    image, target = _picture(model.graph), _target(model.graph)
    found = [layer.value for layer in blocks(model.graph, image, target, STANDARD)]
    return found or [_none(name, image, target)]


def _best(model: ir.Model) -> ir.Value:
    """Return the layer that explanations use; without class scores the last one with spatial axes."""
    try:
        return choose_layer(PreparedModel.of(model), ClassAim(), None).layer.value
    except (ModelError, TargetError):
        image, target = _picture(model.graph), _target(model.graph)
        layers = candidates(model.graph, image, target, STANDARD)
        return layers[0].value if layers else _none(AUTO, image, target)


def _none(name: str, image: ir.Value, target: ir.Value) -> NoReturn:
    raise LayerError(
        f"{name}: the model has no activation with spatial extent between {image.name!r} and {target.name!r}; "
        "name a tensor or a layer"
    )


def _picture(graph: ir.Graph) -> ir.Value:
    """Return the first input that can be an image, else the first input."""
    inputs = list(graph.inputs)
    return next((value for value in inputs if picture_layout(value) is not None), inputs[0])


def _target(graph: ir.Graph) -> ir.Value:
    """Return the class scores, else the first output."""
    try:
        return find_scores(graph).value
    except TargetError:
        return graph.outputs[0]
