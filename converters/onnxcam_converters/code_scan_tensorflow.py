"""Scan TensorFlow graphs for operations that reach Python, files or other processes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["code_in_graph", "code_in_saved_model", "code_in_tflite", "is_unsafe_operation"]

_REACHING = re.compile(
    r"PyFunc|File|Save|Restore|Checkpoint|Reader|Record|LMDB|Sql|CSV\w*Dataset|SummaryWriter|^Write|ImportEvent|^Debug"
    r"|Snapshot\w+|CacheDataset|LoadDataset|LoadAndRemap|VocabRemapping|DataService|Remote|Rpc|ImmutableConst|BigQuery"
    r"|Bigtable|TextLine|DumpTensor|Skipgram|FixedUnigram|CustomCall|HostCompute|^Abort$|^_?(Host)?(Send|Recv)|Dequeue"
)
_TABLE = re.compile(r"InitializeTableFromTextFile")


def is_unsafe_operation(operation: str) -> bool:
    """Return whether the TensorFlow operation of this name could run code, or touch files or other processes."""
    return bool(_REACHING.search(operation))


def code_in_graph(graph: Any, ends: Iterable[str]) -> Iterator[str]:
    """Yield the unsafe operations of a GraphDef that *ends* (operations or tensors) depend on."""
    nodes = {node.name: node for node in graph.node}
    needed = _needed(nodes, ends)
    yield from _reaching(needed)
    yield from _in_functions(graph, (name for node in needed for name in _called(node)))


def code_in_saved_model(path: Path) -> Iterator[str]:
    """Yield the unsafe operations and file paths that loading the SavedModel in folder *path* would use."""
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    for meta in parse_saved_model(str(path)).meta_graphs:
        for asset in meta.asset_file_def:
            if PurePosixPath(asset.filename).is_absolute() or ".." in re.split(r"[/\\]", asset.filename):
                yield f"the path of another file, {asset.filename!r}, which is not read"
        if meta.HasField("object_graph_def"):
            yield from _in_functions(meta.graph_def, meta.object_graph_def.concrete_functions)
        else:
            yield from _of_version_1(meta)


def code_in_tflite(path: Path) -> Iterator[str]:
    """Yield the unsafe TensorFlow operations in the TFLite file at *path*."""
    from tf2onnx.tflite.Model import Model

    try:
        model = Model.GetRootAsModel(path.read_bytes(), 0)
        codes = [model.OperatorCodes(index).CustomCode() for index in range(model.OperatorCodesLength())]
    except Exception:  # a damaged file: the interpreter reports what is wrong
        return
    for code in codes:
        name = (code or b"").decode(errors="replace")
        if name.startswith("Flex") and is_unsafe_operation(name.removeprefix("Flex")):
            yield _told(name, "")


def _of_version_1(meta: Any) -> Iterator[str]:
    """Yield the unsafe operations of a TensorFlow 1 graph, except those that restore its own weights."""
    ends = [tensor.name for each in meta.signature_def.values() for tensor in each.outputs.values()]
    ends += [name for each in meta.collection_def.values() for name in each.node_list.value]
    restore = [node.name for node in meta.graph_def.node if node.op in ("Restore", "RestoreV2")]
    graph = type(meta.graph_def)()
    graph.CopyFrom(meta.graph_def)
    for node in graph.node:
        if node.name in restore:
            node.op = "NoOp"
    yield from code_in_graph(graph, [*ends, meta.saver_def.restore_op_name])


def _needed(nodes: dict[str, Any], ends: Iterable[str]) -> list[Any]:
    """Return the nodes that *ends* depend on, *ends* included."""
    stack, found = list(ends), dict[str, Any]()
    while stack:
        name = stack.pop().lstrip("^").partition(":")[0]
        if name in nodes and name not in found:
            found[name] = nodes[name]
            stack += nodes[name].input
    return list(found.values())


def _in_functions(graph: Any, names: Iterable[str]) -> Iterator[str]:
    """Yield the unsafe operations of the library functions *names*, and of the functions that these call."""
    library = {function.signature.name: function for function in graph.library.function}
    stack, seen = list(names), set[str]()
    while stack:
        name = stack.pop()
        if name not in library or name in seen:
            continue
        seen.add(name)
        function = library[name]
        yield from _reaching(function.node_def, [argument.name for argument in function.signature.input_arg])
        stack += [called for node in function.node_def for called in _called(node)]


def _called(node: Any) -> Iterator[str]:
    """Yield the functions that *node* may call: by attribute, or by its own operation name."""
    yield node.op
    for attribute in node.attr.values():
        for function in (attribute.func, *attribute.list.func):
            if function.name:
                yield function.name


def _reaching(nodes: Iterable[Any], arguments: Collection[str] = ()) -> Iterator[str]:
    for node in nodes:
        handed = _TABLE.search(node.op) and len(node.input) > 1 and node.input[1] in arguments  # a file of the model's
        prints = node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:")
        if prints or (is_unsafe_operation(node.op) and not handed):
            yield _told(node.op, f" (node {node.name!r})")


def _told(operation: str, place: str) -> str:
    return f"the operation {operation}{place}, which could run code or touch files"
