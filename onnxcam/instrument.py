"""A model with activations and gradients as extra outputs, for any runtime to read."""

from __future__ import annotations

import os
from collections.abc import Sequence

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import backward, connected
from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.jacobian import add_output
from onnxcam.errors import OutputError
from onnxcam.graph import ModelLike, save
from onnxcam.methods.base import CHOSEN, SCORE, class_input
from onnxcam.subject import Subject


def instrument(
    model: ModelLike, path: str | os.PathLike[str], layers: Sequence[str], *, input_gradient: bool = False
) -> list[tuple[str, str]]:
    """Write *model* to *path* with more outputs; return their names and meanings.

    For each layer its activation, under the tensor's own name, and ``<tensor>.gradient``, that of the score of the
    class in the new input ``onnxcam.class`` (int64 [N]; −1: the model's own top class); with *input_gradient* also
    that of the input; and which class it was, and its score. LayerError for a layer that is not there.
    """
    subject = Subject.open(model)
    graph, image, scores = subject.model.graph, subject.image, subject.scores
    chosen = [subject.choose(name).layer.value for name in layers]
    wanted = list(dict.fromkeys(chosen + [image] * input_gradient))
    op = Emitter(graph)
    index, score = scores.select(op, class_input(graph, image))
    seeds = {scores.value: scores.seed(op, index)}
    added = []
    for value, gradient in zip(wanted, backward(op, seeds, wanted, STANDARD), strict=True):
        found = connected(value, gradient, seeds, STANDARD)
        add_output(op, found, f"{value.name}.gradient", like=value)
        if value is not image and value not in graph.outputs:
            graph.outputs.append(value)
            added.append((value.name or "", "activation"))
        added.append((f"{value.name}.gradient", "gradient of the class score"))
    for value, name, meaning in ((index, CHOSEN, "the class"), (score, SCORE, "its score")):
        add_output(op, value, name, shape=[None])
        added.append((name, meaning))
    op.place(graph.outputs)
    _write(subject.model, path)
    return added


def _write(model: ir.Model, path: str | os.PathLike[str]) -> None:
    try:
        save(model, path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror}; choose another file with -o") from None
