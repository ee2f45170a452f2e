"""Copy the layer names of the model's card into the nodes, where `onnxcam.structure.layer` reads them."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.metadata.card import Card

__all__ = ["LAYER", "name_layers"]

LAYER = "onnxcam.layer"
"""The key in a node's metadata: the framework's name of the innermost layer around the node, or an empty string."""


def name_layers(model: ir.Model) -> None:
    """Write the card's layer name of each tensor into the metadata of its node, in place.

    If a model has a card, the names of its nodes are not used: converters move operators between layers.
    """
    layers = Card.of(model.metadata_props).layers
    for node in model.graph.all_nodes() if layers else ():
        node.metadata_props[LAYER] = next((layers[y.name or ""] for y in node.outputs if y.name in layers), "")
