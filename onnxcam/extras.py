"""The inputs and outputs that onnxcam adds to a model, by name, and the model without them."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.graph import ModelLike, load

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

HEATMAP, OVERLAY = "heatmap", "overlay"
"""The outputs that `bake` adds."""
BAKED = "onnxcam.baked"
"""What a baked model's metadata have."""


def load_bare(source: ModelLike) -> ir.Model:
    """Load a model without what onnxcam added to it.

    That is the outputs of `bake`; and the class input, with all that depends on it, if `onnxcam.instrument` gave it
    one.
    """
    model = load(source)
    graph = model.graph
    if BAKED in model.metadata_props:
        graph.outputs[:] = [y for y in graph.outputs if y.name not in (HEATMAP, OVERLAY, MAP, CHOSEN)]
        RemoveUnusedNodesPass()(model)
    wanted = next((value for value in graph.inputs if value.name == CLASS), None)
    if wanted is None:
        return model
    behind = {wanted}
    for node in graph:
        if not behind.isdisjoint(node.inputs):
            behind.update(node.outputs)
    graph.outputs[:] = [y for y in graph.outputs if y not in behind]
    RemoveUnusedNodesPass()(model)
    graph.inputs.remove(wanted)
    return model
