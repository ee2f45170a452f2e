"""Class names that a graph holds itself: tables of strings, and the attributes of ONNX-ML's classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onnxcam.graph.fold import constant

__all__ = ["names_of", "write_class_names"]

_ENTRY = "names"
_ML = "ai.onnx.ml"
_LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
_TABLES = ("Gather", "ArrayFeatureExtractor")


def write_class_names(model: ir.Model) -> None:
    """Write the class names that the graph holds into the metadata, as Ultralytics does, unless some are there."""
    if _ENTRY in model.metadata_props:
        return
    names = next(_found(model.graph), None)
    if names is not None:
        model.metadata_props[_ENTRY] = repr(names)


def names_of(labels: Sequence[str | bytes | int]) -> list[str] | None:
    """Return *labels* as names; None where they are the indices themselves."""
    names = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in labels]
    return names if names and names != [str(number) for number in range(len(names))] else None


def _found(graph: ir.Graph) -> Iterator[list[str]]:
    for node in graph:
        labels = _labels(node)
        names = None if labels is None else names_of(labels)
        if names is not None:
            yield names


def _labels(node: ir.Node) -> Sequence[str | bytes | int] | None:
    """Return the class labels that *node* holds, in the order of the scores; None where it holds none."""
    if node.domain == _ML and node.op_type == "LabelEncoder":
        return _encoded(node)
    if node.domain == _ML and node.op_type != "ArrayFeatureExtractor":
        return next((node.attributes[name].value for name in _LABELS if name in node.attributes), None)
    if node.op_type not in _TABLES or node.inputs[0] is None:
        return None
    table = node.inputs[0]
    if table.dtype != ir.DataType.STRING and node.op_type == "Gather":
        return None
    known = constant(table)
    return None if known is None or known.ndim == 0 or known.size != max(known.shape) else known.reshape(-1).tolist()


def _encoded(node: ir.Node) -> list[str] | None:
    """Return the strings that a LabelEncoder makes of the indices 0, 1, …"""
    keys, values = (node.attributes.get(name) for name in ("keys_int64s", "values_strings"))
    if keys is None or values is None:
        return None
    by_index = dict(zip(keys.value, values.value, strict=False))
    found = [by_index.get(number) for number in range(len(by_index))]
    return [name.decode() if isinstance(name, bytes) else name for name in found if name is not None] or None
