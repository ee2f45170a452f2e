"""A diagnosis for viewers of graphs: node data for Model Explorer, and metadata of nodes, which Netron shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from onnxcam.diagnosis.diagnosis import Diagnosis, TensorDiagnosis
from onnxcam.diagnosis.places import find_places
from onnxcam.graph.io import ModelLike, load, save
from onnxcam.paths import PathLike
from onnxcam.text import visible

__all__ = ["DAMAGE", "annotate", "node_data", "remove_notes"]

DAMAGE = "onnxcam.damage"
"""Key of a node's metadata: the share of the damage, from 0 to 1."""
_CAUSE, _CURE = "onnxcam.cause.", "onnxcam.cure."
"""Prefixes of the keys of causes and cures; the kind of the tensor follows."""
_GRADIENT = (("#ffffff", 0), ("#fdd49e", 0.1), ("#fc8d59", 0.4), ("#b30000", 1))


def node_data(diagnosis: Diagnosis, candidate: ModelLike) -> dict[str, Any]:
    """Return the shares of the damage as node data of Google's Model Explorer.

    A node that rounds has the share of its tensor, another operator that of its result, weights and bias together. The
    keys are the names of graph and nodes, as in the adapter for ONNX.

    The format is that of ``node_data_builder.py`` in github.com/google-ai-edge/model-explorer: ModelNodeData.
    """
    model = load(candidate)
    results = {
        node.name: {"value": sum(one.share for one in tensors)}
        for node, tensors in _by_node(diagnosis, model).items()
        if node.name
    }
    gradient = [{"stop": stop, "bgColor": colour} for colour, stop in _GRADIENT]
    return {model.graph.name or "": {"results": results, "gradient": gradient}}


def annotate(diagnosis: Diagnosis, candidate: ModelLike, path: PathLike, *, overwrite: bool = False) -> None:
    """Write a copy of *candidate* to *path* whose nodes say their share of the damage, with causes and cures.

    They are metadata of the nodes; the model computes the same.

    Raises:
        OutputError: *path* cannot be written, is *candidate*, or is a file of other origin, without *overwrite*.
    """
    model = load(candidate)
    for node, tensors in _by_node(diagnosis, model).items():
        node.metadata_props.update(_metadata(tensors))
    save(model, path, candidate, overwrite=overwrite)


def remove_notes(model: ir.Model) -> None:
    """Remove what `annotate` wrote from the nodes of *model*, in place: it is untrue after a change."""
    for node in model.graph:
        for key in [key for key in node.metadata_props if key == DAMAGE or key.startswith((_CAUSE, _CURE))]:
            del node.metadata_props[key]


def _metadata(tensors: Sequence[TensorDiagnosis]) -> dict[str, str]:
    said = {DAMAGE: f"{sum(one.share for one in tensors):.4f}"}
    for one in tensors:
        if one.cause is not None:
            said[f"{_CAUSE}{one.kind}"] = visible(f"{one.name}: {one.cause.words}", 400)
            said[f"{_CURE}{one.kind}"] = one.cause.cure
    return said


def _by_node(diagnosis: Diagnosis, model: ir.Model) -> Mapping[ir.Node, list[TensorDiagnosis]]:
    """Return the tensors of each node: of one that rounds its tensor, of an operator all that belong to it."""
    places = find_places(model, diagnosis.tensors)
    found: dict[ir.Node, list[TensorDiagnosis]] = {}
    for one in diagnosis.tensors:
        place = places.get(one.tensor)
        if place is None:
            continue
        for node in (*place.rounding, *(() if place.owner is None else (place.owner,))):
            found.setdefault(node, []).append(one)
    return found
