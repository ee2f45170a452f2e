"""The inputs and outputs that onnxcam adds to a model, by name, and the model without them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.errors import ModelError
from onnxcam.graph.io import ModelLike, load
from onnxcam.graph.subgraph import values

CLASS = "onnxcam.class"
"""The explanation graph's own input: the wanted class, int64 [N]."""
WEIGHTS, DIRECTION = "onnxcam.weights", "onnxcam.direction"
"""Its input for other targets: weights over a tensor [N, …], or a direction among embeddings [N, D]."""
ACTIVATION = "onnxcam.activation"
"""The input of a model that was cut at a layer."""
AROUND = "onnxcam.around."
"""What its other inputs begin with: tensors that go around the layer, by their own names."""
MAP, CHOSEN, SCORE = "onnxcam.map", "onnxcam.class.chosen", "onnxcam.score"
"""Its own outputs: the raw map, the class that was explained [N], its score [N]."""

PICTURE = "picture"
"""The input of a baked model that has the preprocessing inside."""
HEATMAP, OVERLAY = "heatmap", "overlay"
"""The outputs that `bake` adds."""
BAKED = "onnxcam.baked"
"""What a baked model's metadata have."""


def stamp_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what `bake` says of itself in a model's *metadata* (docs/web.md); nothing where no version of ours did."""
    try:
        found = json.loads(metadata.get(BAKED, ""))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def load_bare(source: ModelLike) -> ir.Model:
    """Load a model without what onnxcam added to it.

    That is the outputs of `bake`, and the preprocessing inside, so that the model takes its own tensor again; and the
    class input, with all that depends on it, if `onnxcam.instrument` gave it one. ModelError where another maker gave
    a tensor a name that onnxcam adds.
    """
    model = load(source)
    _strip(model)
    taken = next((value.name for value in values(model.graph) if _is_ours(value.name or "")), None)
    if taken is not None:
        raise ModelError(f"the model has a tensor called {taken!r}, a name that onnxcam gives itself; rename it")
    return model


def _is_ours(name: str) -> bool:
    return name in (CLASS, WEIGHTS, DIRECTION, ACTIVATION, MAP, CHOSEN, SCORE) or name.startswith(AROUND)


def _strip(model: ir.Model) -> None:
    graph = model.graph
    if BAKED in model.metadata_props:
        graph.outputs[:] = [y for y in graph.outputs if y.name not in (HEATMAP, OVERLAY, MAP, CHOSEN)]
        _take_tensor(graph, stamp_of(model.metadata_props))
        RemoveUnusedNodesPass()(model)
    wanted = next((value for value in graph.inputs if value.name == CLASS), None)
    if wanted is None:
        return
    behind = {wanted}
    for node in graph:
        if not behind.isdisjoint(node.inputs):
            behind.update(node.outputs)
    graph.outputs[:] = [y for y in graph.outputs if y not in behind]
    RemoveUnusedNodesPass()(model)
    graph.inputs.remove(wanted)


def _take_tensor(graph: ir.Graph, stamp: Mapping[str, Any]) -> None:
    """Let the tensor that the preprocessing inside makes be the input again."""
    picture = next((value for value in graph.inputs if value.name == PICTURE), None)
    told = stamp.get("picture")
    name = told.get("tensor") if isinstance(told, dict) else None
    made = next((y for node in graph for y in node.outputs if y.name == name), None)
    if picture is None or made is None:
        return
    tensor = ir.Value(name=name, shape=made.shape, type=made.type)
    made.name = None
    made.replace_all_uses_with(tensor)
    graph.inputs[list(graph.inputs).index(picture)] = tensor
