"""Names of layers: the framework's names of modules, as files keep them, and the tensors that a name selects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxcam.errors import LayerError, nearest
from onnxcam.graph.io import all_tensors
from onnxcam.metadata.literals import literal
from onnxcam.passes.names import LAYER

__all__ = ["find", "module_names", "module_outputs"]

_NESTED = 64  # a name with more nested modules does not come from a framework


def find(graph: ir.Graph, name: str) -> ir.Value:
    """Return the tensor called *name*; LayerError with the nearest names if there is none."""
    tensors = all_tensors(graph)
    if name in tensors:
        return tensors[name]
    node = next((node for node in graph if node.name == name), None)
    if node is not None:
        return node.outputs[0]
    modules, made = module_outputs(graph), [tensor for tensor in tensors if tensor not in graph.initializers]
    if name in modules:
        return modules[name]
    close = nearest(name, [*modules, *made], cutoff=0)
    raise LayerError(f"the model has no layer {name!r}.{close} `onnxcam inspect MODEL --layers all` lists all")


def module_outputs(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return the output of each module by the framework's name: its last tensor that is used outside the module."""
    members: dict[str, dict[ir.Node, None]] = {}
    for node in graph:
        for name in module_names(node):
            members.setdefault(name, {})[node] = None
    return {name: _leaving(nodes) for name, nodes in members.items()}


def _leaving(nodes: Mapping[ir.Node, None]) -> ir.Value:
    made = [y for node in nodes for y in node.outputs if y.dtype is None or y.dtype != ir.DataType.INT64]
    used = [y for y in made if y.is_graph_output() or any(user not in nodes for user in y.consumers())]
    return (used or made or list(nodes)[-1].outputs)[-1]


def module_names(node: ir.Node | None) -> list[str]:
    """Return the framework's names of the modules around *node*, outermost first.

    They come from the model's card (`passes.names` copies them into the node), from the metadata that PyTorch's
    exporter writes, or from node names as PyTorch's older exporter and tf2onnx write them.
    """
    if node is None:
        return []
    if LAYER in node.metadata_props:
        return _enclosing(node.metadata_props[LAYER])
    scopes = literal(node.metadata_props.get("pkg.torch.onnx.name_scopes", ""))
    if isinstance(scopes, list) and all(isinstance(scope, str) for scope in scopes):
        return [scope for scope in scopes[:-1] if scope]
    path = (node.name or "").split(";")[0]  # TFLite joins the names of fused layers
    parts = [part for part in path.split("/") if part][:-1]
    if len(parts) > _NESTED:
        return []
    return _dotted(parts) if path.startswith("/") else parts  # Keras layer names are unique


def _enclosing(layer: str) -> list[str]:
    """Return the names of the modules around *layer*: ``layer4, layer4.2``, or Keras's ``model/block`` by parts."""
    if "/" in layer:
        return [part for part in layer.split("/") if part]
    parts = layer.split(".") if layer else []
    if len(parts) > _NESTED:
        return []
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _dotted(parts: Sequence[str]) -> list[str]:
    """Return PyTorch's module paths: ``layer4, layer4.2, conv3`` gives ``layer4, layer4.2, layer4.2.conv3``."""
    names: list[str] = []
    for part in parts:
        nested = names and part.startswith(f"{names[-1]}.")
        names.append(part if nested or not names else f"{names[-1]}.{part}")
    return names
