"""Names of the inputs and outputs that onnxcam adds to a model, and a model without them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.errors import ModelError
from onnxcam.graph.io import ModelLike, load
from onnxcam.graph.subgraph import all_nodes, values

__all__ = [
    "ACTIVATION",
    "AROUND",
    "BAKED",
    "BOXES",
    "CHOSEN",
    "CLASS",
    "CLASSES",
    "COSINE",
    "DIRECTION",
    "EMBEDDING",
    "FEATURES",
    "HEATMAP",
    "MAP",
    "OVERLAY",
    "PATCH",
    "PICTURE",
    "POINT",
    "REFERENCE",
    "REGION",
    "SCORE",
    "SCORES",
    "SHARES",
    "TEXT",
    "THRESHOLD",
    "WEIGHTS",
    "baked_names",
    "load_bare",
    "stamp_of",
]

CLASS = "onnxcam.class"
"""Input of an explanation graph: the class to explain, int64 [N]."""
WEIGHTS, DIRECTION = "onnxcam.weights", "onnxcam.direction"
"""Its inputs for other targets: weights over a tensor [N, …]; a direction among embeddings [N, D]."""
POINT, REGION, PATCH = "onnxcam.point", "onnxcam.region", "onnxcam.patch"
"""Inputs of a baked model: a point [N, 2] and a rectangle [N, 4] in pixels of its input, a patch of its output."""
SHARES = "onnxcam.class.shares"
"""Output of a baked segmentation: which part of the image each class covers, [N, classes]."""
REFERENCE, COSINE, EMBEDDING = "onnxcam.reference", "onnxcam.cosine", "onnxcam.embedding"
"""Of a baked embedding: the input of a reference [N, D], the cosine with it [N], the image's unit vector [N, D]."""
TEXT = "onnxcam.text"
"""Output of a baked text recogniser: the letters that it reads, by index."""
THRESHOLD = "onnxcam.threshold"
"""Input of a baked detector: the least probability of a detection, float32 [1]."""
BOXES, SCORES, CLASSES = "onnxcam.boxes", "onnxcam.scores", "onnxcam.classes"
"""Outputs of a baked detector for its K best detections: [N, K, 4] in pixels of its input, [N, K], int64 [N, K]."""
ACTIVATION = "onnxcam.activation"
"""Input of a model that was cut at a layer: the layer's activation."""
AROUND = "onnxcam.around."
"""Prefix of its other inputs: tensors that bypass the layer, by their own names."""
MAP, CHOSEN, SCORE = "onnxcam.map", "onnxcam.class.chosen", "onnxcam.score"
"""Outputs of an explanation graph: the raw map, the explained class [N], its score [N]."""
FEATURES = "onnxcam.features"
"""Output of an explanation graph, on request: the means of the layer's channels over the image, [N, C]."""

_PREFIX = "onnxcam."
"""Of the names of other inputs and outputs of a baked model (`onnxcam.bake`)."""
PICTURE = "picture"
"""Input of a baked model with the preprocessing inside: uint8 [N, h, w, 3]."""
HEATMAP, OVERLAY = "heatmap", "overlay"
"""Outputs that `bake` adds."""
BAKED = "onnxcam.baked"
"""Metadata key of a baked model."""


def baked_names(taken: Collection[str | None]) -> dict[str, str]:
    """Return the names of `PICTURE`, `HEATMAP` and `OVERLAY` in a baked model; others where the model's are *taken*."""
    return {name: _PREFIX + name if name in taken else name for name in (PICTURE, HEATMAP, OVERLAY)}


def stamp_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the entry of `bake` in a model's *metadata* (docs/web.md); empty if there is none."""
    try:
        found = json.loads(metadata.get(BAKED, ""))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def load_bare(source: ModelLike) -> ir.Model:
    """Load a model without what onnxcam added to it.

    It removes the outputs of `bake` and the preprocessing inside, so that the model takes its own tensor again, and the
    class input of `onnxcam.instrument` with all nodes that depend on it. Raises ModelError if a tensor of another
    origin has a reserved name.
    """
    model = load(source)
    _strip(model)
    taken = next((value.name for value in values(model.graph) if _is_ours(value.name or "")), None)
    if taken is not None:
        raise ModelError(f"the model has a tensor called {taken!r}, a name that onnxcam reserves; rename it")
    for node in all_nodes(model.graph):
        if _is_ours(node.name or ""):  # names of nodes mean nothing, and outputs need these
            node.name = ""
    return model


def _is_ours(name: str) -> bool:
    return name in (CLASS, WEIGHTS, DIRECTION, ACTIVATION, MAP, CHOSEN, SCORE) or name.startswith(AROUND)


def _strip(model: ir.Model) -> None:
    graph = model.graph
    if BAKED in model.metadata_props:
        _strip_baked(graph, stamp_of(model.metadata_props))
        RemoveUnusedNodesPass()(model)
        for value in [x for x in graph.inputs if (x.name or "").startswith(_PREFIX) and not x.uses()]:
            graph.inputs.remove(value)
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


def _strip_baked(graph: ir.Graph, stamp: Mapping[str, Any]) -> None:
    """Remove the outputs of `bake`, and take the model's own tensor as its input again."""
    renamed = stamp.get("names")
    names = {name: name for name in (PICTURE, HEATMAP, OVERLAY)} | (renamed if isinstance(renamed, dict) else {})
    baked = {names[HEATMAP], names[OVERLAY]}
    graph.outputs[:] = [y for y in graph.outputs if y.name not in baked and not (y.name or "").startswith(_PREFIX)]
    _take_tensor(graph, stamp, names[PICTURE])


def _take_tensor(graph: ir.Graph, stamp: Mapping[str, Any], given: str) -> None:
    """Make the output of the preprocessing inside, of the input *given*, the model's input again."""
    picture = next((value for value in graph.inputs if value.name == given), None)
    entry = stamp.get("picture")
    name = entry.get("tensor") if isinstance(entry, dict) else None
    made = next((y for node in graph for y in node.outputs if y.name == name), None)
    if picture is None or made is None:
        return
    tensor = ir.Value(name=name, shape=made.shape, type=made.type)
    made.name = None
    made.replace_all_uses_with(tensor)
    graph.inputs[list(graph.inputs).index(picture)] = tensor
