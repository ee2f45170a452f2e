"""Run tf2onnx and correct its results (docs/decisions/0004-tensorflow.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.defs import get_schema, onnx_opset_version

from onnxcam.engine import Session
from onnxcam.errors import ConversionError, EngineError
from onnxcam.graph.io import save
from onnxcam.graph.subgraph import counted
from onnxcam.text import first_line
from onnxcam_converters.inputs_outputs import random_feed
from onnxcam_converters.quiet import quiet_tensorflow

__all__ = ["OPSETS", "convert_graph", "convert_tflite", "exporter", "rename_ends", "rename_scopes", "write"]

OPSETS = range(13, 19)
"""Opsets that tf2onnx writes; 13 is the first with quantisation per channel."""


def convert_graph(graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str], opset: int) -> ir.Model:
    """Return a frozen TensorFlow graph as ONNX; *inputs* and *outputs* map names in the file to tensors."""
    import tf2onnx

    def run() -> onnx.ModelProto:
        return tf2onnx.convert.from_graph_def(
            _inlinable(graph_def),
            custom_op_handlers={"Erfc": (_erfc, [])},
            input_names=list(inputs.values()),
            output_names=list(outputs.values()),
            opset=opset,
            tensors_to_rename={tensor: name for name, tensor in (*inputs.items(), *outputs.items())},
        )[0]

    return _converted(run, opset)


def convert_tflite(path: Path, opset: int) -> ir.Model:
    """Return a TFLite file as ONNX; quantisation becomes pairs of QuantizeLinear and DequantizeLinear."""
    import tf2onnx

    return _converted(lambda: tf2onnx.convert.from_tflite(str(path), opset=opset)[0], opset)


def exporter() -> str:
    """Return the name and version of the exporter."""
    import tf2onnx

    return f"tf2onnx {tf2onnx.__version__}"


def rename_scopes(model: ir.Model, scopes: Mapping[str, str]) -> None:
    """Replace TensorFlow scopes by layer names in nodes and tensors; keep the names of inputs and outputs."""
    graph = model.graph
    kept = {value.name for value in (*graph.inputs, *graph.outputs)}
    for node in graph.all_nodes():
        node.name = _renamed(node.name or "", scopes)
    for value in [*graph.initializers.values(), *(y for node in graph.all_nodes() for y in node.outputs)]:
        if value.name not in kept:
            value.name = _renamed(value.name or "", scopes)


def rename_ends(model: ir.Model, names: Mapping[str, str]) -> None:
    """Rename inputs and outputs unless the new name is taken."""
    taken = {value.name for node in model.graph.all_nodes() for value in (*node.inputs, *node.outputs) if value}
    for value in (*model.graph.inputs, *model.graph.outputs):
        name = names.get(value.name or "", value.name)
        if name not in taken:
            value.name = name


def _renamed(name: str, scopes: Mapping[str, str]) -> str:
    parts = name.split("/")
    for count in range(len(parts) - 1, 0, -1):
        if (scope := "/".join(parts[:count])) in scopes:
            return "/".join([scopes[scope], *parts[count:]])
    return name


def write(model: ir.Model, path: Path) -> None:
    """Write *model* to *path*."""
    try:
        save(model, path)
    except OSError as error:
        raise ConversionError(f"cannot write '{path}': {error.strerror}") from None


def _inlinable(graph_def: Any) -> Any:
    """Return a copy of the graph whose functions can be inlined.

    Keras marks functions of grouped convolutions for compilation. TensorFlow does not inline them, and tf2onnx cannot
    convert them.
    """
    twin = type(graph_def)()
    twin.CopyFrom(graph_def)
    for nodes in (twin.node, *(function.node_def for function in twin.library.function)):
        for node in nodes:
            node.attr.pop("_XlaMustCompile", None)
    for function in twin.library.function:
        function.attr.pop("_XlaMustCompile", None)
        function.attr.pop("_noinline", None)
    return twin


def _erfc(context: Any, node: Any, name: str, args: Any) -> None:
    """Convert erfc(x) = 1 − erf(x), used by the exact GELU, which tf2onnx does not support."""
    one = context.make_const(
        f"{name}_one", np.ones((), onnx.helper.tensor_dtype_to_np_dtype(context.get_dtype(node.output[0])))
    )
    erf = context.make_node("Erf", node.input, name=f"{name}_erf")
    kept = {"shapes": [context.get_shape(node.output[0])], "dtypes": [context.get_dtype(node.output[0])]}
    context.remove_node(name)
    context.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=node.output, **kept)


def _converted(run: Callable[[], onnx.ModelProto], opset: int) -> ir.Model:
    with quiet_tensorflow():
        try:
            model = ir.serde.deserialize_model(run())
        except Exception as error:
            raise ConversionError(f"tf2onnx cannot convert the model: {first_line(error)}") from error
    _refuse_unknown(model, opset)
    _mend_axes(model)
    _name_axes(model)
    return model


def _refuse_unknown(model: ir.Model, opset: int) -> None:
    """Raise ConversionError for operators that tf2onnx did not convert."""
    unknown: dict[str, str] = {}
    for node in model.graph.all_nodes():
        try:
            get_schema(node.op_type, min(opset, onnx_opset_version()), node.domain)
        except onnx.defs.SchemaError:
            unknown.setdefault(node.op_type.removeprefix("TFL_"), node.name or "")
    if unknown:
        listed = ", ".join(f"{operator} (node {name!r})" for operator, name in unknown.items())
        raise ConversionError(f"tf2onnx cannot convert {listed}; remove such custom operators from the model")


def _mend_axes(model: ir.Model) -> None:
    """Set the quantisation axis of vectors to 0: tf2onnx gives a bias the axis of its weights."""
    for node in model.graph.all_nodes():
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or "axis" not in node.attributes:
            continue
        x = node.inputs[0]
        if x is not None and x.shape is not None and len(x.shape) == 1:
            node.attributes["axis"] = ir.AttrInt64("axis", 0)


def _name_axes(model: ir.Model) -> None:
    """Name the open axes of inputs ``batch``, ``height`` and ``width``, and axis 0 of outputs.

    It is called ``batch`` where it has the length of the batch in two runs: it may also be a number of detections.
    """
    graph = model.graph
    for value in graph.inputs:
        if value.shape is not None:
            prefix = f"{value.name}_" if len(graph.inputs) > 1 else ""
            names = _axis_names(value.shape, prefix)
            value.shape = ir.Shape([d if isinstance(d, int) else n for d, n in zip(value.shape, names, strict=True)])
    batch = any(value.shape is not None and "batch" in map(str, value.shape) for value in graph.inputs)
    opened = [y for y in graph.outputs if y.shape is not None and len(y.shape) and not isinstance(y.shape[0], int)]
    batched = _batched(model) if batch and opened else set()
    for value in opened if batch else ():
        first = "batch" if value.name in batched else f"{value.name}_rows"
        value.shape = ir.Shape([first, *list(value.shape or ())[1:]])


def _batched(model: ir.Model) -> set[str]:
    """Return the outputs that have as many rows as the inputs in runs on two and on three images.

    If the model does not run, these are the outputs that depend on no operator with as many rows as it finds.
    """
    try:
        session = Session(model, "cpu", optimize=False)
        runs = [(count, session.run(_feeds(model, count))) for count in (2, 3)]
    except EngineError:
        found = counted(model.graph)
        return {y.name or "" for y in model.graph.outputs if y not in found}
    return {name for name in session.outputs if all(run[name].shape[:1] == (count,) for count, run in runs)}


def _feeds(model: ir.Model, count: int) -> dict[str, np.ndarray]:
    rng, feeds = np.random.default_rng(0), {}
    for value in model.graph.inputs:
        shape = [count if str(n) == "batch" else n if isinstance(n, int) else None for n in value.shape or ()]
        feeds[value.name or ""] = random_feed(rng, shape, value.dtype.numpy() if value.dtype else np.float32)
    return feeds


def _axis_names(shape: ir.Shape, prefix: str) -> list[str]:
    rank = len(shape)
    space = {4: ["height", "width"], 5: ["depth", "height", "width"]}.get(rank, [])
    if not space:
        return ["batch", *(f"{prefix}axis{axis}" for axis in range(1, rank))]
    first = shape[1] in (1, 3, 4) and shape[-1] not in (1, 3, 4)
    return ["batch", *(prefix + name for name in (["channels", *space] if first else [*space, "channels"]))]
