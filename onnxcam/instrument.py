"""A model with activations and gradients as extra outputs, for any runtime to read."""

from __future__ import annotations

import os
from collections.abc import Sequence

import onnx_ir as ir

from onnxcam.autodiff.core import backward, connected
from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.rulesets import ruleset
from onnxcam.autodiff.vjp import add_output
from onnxcam.diagnose import cells_reached
from onnxcam.errors import OutputError
from onnxcam.graph import ModelLike, load, save
from onnxcam.layer import choose
from onnxcam.layout import picture_input
from onnxcam.methods.base import CHOSEN, SCORE, class_input
from onnxcam.passes import canonical
from onnxcam.target import find_scores


def instrument(
    model: ModelLike, path: str | os.PathLike[str], layers: Sequence[str], *, input_gradient: bool = False
) -> list[tuple[str, str]]:
    """Write *model* to *path* with more outputs; return their names and meanings.

    For each layer its activation, under the tensor's own name, and ``<tensor>.gradient``, that of the score of the
    class in the new input ``onnxcam.class`` (int64 [N]; −1: the model's own top class); with *input_gradient* also
    that of the input; and which class it was, and its score. LayerError for a layer that is not there.
    """
    rules = ruleset("standard")
    twin = canonical(load(model), rules)
    graph, image, scores = twin.graph, picture_input(twin.graph), find_scores(twin.graph)

    def probe(found: Sequence[object]) -> list[bool]:
        return cells_reached(twin, image, scores, found)  # type: ignore[arg-type]

    chosen = [choose(graph, image, scores.value, rules, name, probe).layer for name in layers]
    wanted = list(dict.fromkeys([layer.value for layer in chosen] + [image] * input_gradient))
    op = Emitter(graph)
    index, score = scores.select(op, class_input(graph, image))
    seeds = {scores.value: scores.seed(op, index)}
    added = []
    for value, gradient in zip(wanted, backward(op, seeds, wanted, rules), strict=True):
        found = connected(value, gradient, seeds, rules)
        add_output(op, found, f"{value.name}.gradient", like=value)
        if value is not image and value not in graph.outputs:
            graph.outputs.append(value)
            added.append((value.name or "", "activation"))
        added.append((f"{value.name}.gradient", "gradient of the class score"))
    for value, name, meaning in ((index, CHOSEN, "the class"), (score, SCORE, "its score")):
        add_output(op, value, name, shape=[None])
        added.append((name, meaning))
    op.place(graph.outputs)
    _write(twin, path)
    return added


def _write(model: ir.Model, path: str | os.PathLike[str]) -> None:
    try:
        save(model, path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror}; choose another file with -o") from None
