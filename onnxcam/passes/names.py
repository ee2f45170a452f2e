"""The layer names of the model's card are put beside the nodes, where `onnxcam.layer` reads them."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.metadata.card import Card

LAYER = "onnxcam.layer"
"""The key in a node's metadata: the framework's name of the innermost layer that the node is of; empty for none."""


def name_layers(model: ir.Model) -> None:
    """Write the card's name of each tensor's layer into the metadata of the node that makes it, in place.

    Where there is a card, names of nodes say nothing: converters move operators from one layer into another.
    """
    layers = Card.of(model.metadata_props).layers
    for node in model.graph.all_nodes() if layers else ():
        node.metadata_props[LAYER] = next((layers[y.name or ""] for y in node.outputs if y.name in layers), "")
