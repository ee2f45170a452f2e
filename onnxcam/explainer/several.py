"""Several classes of one image in one run: the forward pass once, the reverse pass for all classes as a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.differentiate import add_output, set_outputs
from onnxcam.engine import Session
from onnxcam.errors import GradientError, MissingRuleError
from onnxcam.explainer.compiled import Arrays, CompiledExplanation
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import building
from onnxcam.graph.taps import read_quantised
from onnxcam.metadata.reserved import CHOSEN, FEATURES, MAP, SCORE
from onnxcam.methods.base import NONE, SMOOTH, GraphMethod, Method
from onnxcam.methods.explanation_graph import channel_means
from onnxcam.methods.repeated import emit_maps
from onnxcam.targets.aim import ClassAim

__all__ = ["explain_classes", "sessions_of_classes"]

_OF_CLASSES = (MAP, SCORE, CHOSEN)


def sessions_of_classes(
    single: CompiledExplanation,
    method: Method,
    settings: Mapping[str, Any],
    *,
    signed: bool = False,
    features: bool = False,
    spin: bool = True,
) -> CompiledExplanation | None:
    """Return a session like that of *single*, which takes one image [1, …] and M classes, int64 [M].

    A class of −r is the one with the r-th highest score. The maps, scores and chosen classes are [M, …], the model's
    outputs [1, …]. None where the classes cannot share a pass: the method is no CAM of the gradient, or a tensor
    between layer and scores mixes the images of a batch.
    """
    network, aim = single.network, single.aim
    if not (isinstance(method, GraphMethod) and method.gradient_cam and isinstance(aim, ClassAim)):
        return None
    prepared = network.open()
    mixed = isinstance(prepared.batch, int) and prepared.batch != 1
    if mixed or "aug" in settings.get(SMOOTH, NONE) or len(single.layers) != 1:
        return None
    graph, own = prepared.model.graph, list(prepared.model.graph)
    layer = single.layers[0].in_graph(graph)
    with building():
        op = Emitter(graph)
        aimed = aim.emit_several(op)
        images = op.ConstantOfShape(op.Shape(aimed.score, start=0, end=1), value=ir.tensor(np.zeros(1, np.int64)))
        try:
            flat = emit_maps(op, prepared.image, method, layer, aimed.seeds, images, settings, signed=signed)
        except (GradientError, MissingRuleError):
            return None
        if flat is None:
            return None
        if features:
            add_output(op, channel_means(op, layer), FEATURES)
        set_outputs(op, {MAP: flat, **aimed.outputs, SCORE: aimed.score})
        read_quantised(graph, own)
    session = Session(prepared.model, network.provider, spin=spin)
    return CompiledExplanation(network, aim, single.choices, session, None, None, single.places)


def explain_classes(several: CompiledExplanation, feeds: Arrays, classes: Sequence[int]) -> list[Arrays]:
    """Return the outputs of *several* for each of *classes*, [1, …] each; *feeds* are those of one image."""
    found = several.run({**feeds, several.aim.input: np.array(classes, np.int64)})
    return [
        {name: value[row : row + 1] if name in _OF_CLASSES else value for name, value in found.items()}
        for row in range(len(classes))
    ]
