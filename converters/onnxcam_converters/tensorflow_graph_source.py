"""The source of a TensorFlow graph: a SavedModel, frozen as it is loaded, or a frozen graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxcam.errors import ConversionError, nearest
from onnxcam.text import first_line
from onnxcam_converters import tf2onnx_bridge as bridge
from onnxcam_converters.code_scan import refuse_code
from onnxcam_converters.code_scan_tensorflow import code_in_graph, code_in_saved_model
from onnxcam_converters.inputs_outputs import random_feed, select_outputs
from onnxcam_converters.layer_names import layers_by_scope
from onnxcam_converters.layer_tensors import LayerTensor, layers_by_tensor, match_layers
from onnxcam_converters.quiet import quiet_tensorflow
from onnxcam_converters.source import Arrays, Exported

__all__ = ["TensorFlowGraphSource", "frozen_graph", "saved_model"]

_TOLERANCE = 1e-4  # as in keras_source


class TensorFlowGraphSource:
    """A frozen TensorFlow graph as a `Source`.

    Args:
        graph_def: The graph.
        inputs: Name in the file -> input tensor of the graph.
        outputs: Name in the file -> output tensor of the graph.
        opset: The opset of the file.
        shapes: Shapes of inputs that the graph does not define, None for an open axis.
    """

    def __init__(
        self,
        graph_def: Any,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        opset: int,
        shapes: Mapping[str, Sequence[int | None]] | None = None,
    ) -> None:
        import tensorflow as tf

        self.framework = f"tensorflow {tf.__version__}"
        self._graph_def, self._inputs, self._outputs, self._opset = graph_def, dict(inputs), dict(outputs), opset
        self._shapes = shapes or {}
        for node in graph_def.node:  # names functions of the process that saved it
            node.attr.pop("_gradient_op_type", None)
        try:
            self._function = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
        except ValueError as error:
            raise ConversionError(f"the graph is not valid: {first_line(error)}; export it again") from None
        self._scopes, self._layers = _layers(self._function.graph, self._inputs.values(), self._outputs.values())
        self._layer_tensors: dict[str, LayerTensor] = {}

    def export(self, path: Path) -> Exported:
        """Convert the graph, and match the layers to tensors of the file."""
        model = bridge.convert_graph(self._graph_def, self._inputs, self._outputs, self._opset)
        bridge.rename_scopes(model, self._scopes)
        bridge.write(model, path)
        feeds = self.example(np.random.default_rng(0))
        names = [name for name in self._layers if name not in self._outputs]
        self._layer_tensors = match_layers(path, feeds, self._fetch(feeds, self._tensors(names)), _TOLERANCE)
        return Exported(bridge.exporter(), layers_by_tensor(self._layer_tensors))

    def example(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return a random array for each input."""
        feeds = {}
        for name, tensor in self._inputs.items():
            value = self._tensor(tensor)
            shape = self._shapes.get(name)
            if shape is None and value.shape.rank is None:
                raise ConversionError(
                    f"the graph does not say the shape of input {name!r}; "
                    f'give it, such as inputs={{"{name}": (None, 224, 224, 3)}}'
                )
            feeds[name] = random_feed(rng, list(value.shape) if shape is None else shape, value.dtype.as_numpy_dtype)
        return feeds

    def run(self, feeds: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return outputs and activations computed by TensorFlow."""
        found = self._fetch(feeds, self._tensors(layers) | self._outputs)
        return {name: self._in_file_layout(name, array) for name, array in found.items()}

    def gradients(self, feeds: Arrays, cotangents: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the gradients of tf.gradients; empty if an operation has none."""
        import tensorflow as tf

        wanted = {name: tensor for name, tensor in self._inputs.items() if self._tensor(tensor).dtype.is_floating}
        wanted |= self._tensors(layers)
        with self._function.graph.as_default():
            outputs = [self._tensor(self._outputs[name]) for name in cotangents]
            seeds = [tf.compat.v1.placeholder(output.dtype, output.shape) for output in outputs]
            try:
                found = tf.gradients(outputs, [self._tensor(tensor) for tensor in wanted.values()], seeds)
            except LookupError:
                return {}
        connected = {name: gradient for name, gradient in zip(wanted, found, strict=True) if gradient is not None}
        fed = [self._tensor(tensor) for tensor in self._inputs.values()] + seeds
        values = [feeds[name] for name in self._inputs] + list(cotangents.values())
        try:
            results = self._call(fed, [tf.convert_to_tensor(gradient) for gradient in connected.values()], values)
        except tf.errors.NotFoundError:  # a compiled function, as for grouped convolutions, has no gradient
            return {}
        return {name: self._in_file_layout(name, array) for name, array in zip(connected, results, strict=True)}

    def _fetch(self, feeds: Arrays, wanted: Mapping[str, str]) -> dict[str, np.ndarray]:
        fed = [self._tensor(tensor) for tensor in self._inputs.values()]
        fetched = [self._tensor(tensor) for tensor in wanted.values()]
        arrays = self._call(fed, fetched, [feeds[name] for name in self._inputs])
        return dict(zip(wanted, arrays, strict=True))

    def _call(self, fed: list[Any], fetched: list[Any], values: list[np.ndarray]) -> list[np.ndarray]:
        import tensorflow as tf

        function = self._function.prune(fed, fetched)
        return [array.numpy() for array in function(*(tf.constant(value) for value in values))]

    def _tensor(self, name: str) -> Any:
        return self._function.graph.get_tensor_by_name(name)

    def _tensors(self, layers: Sequence[str]) -> dict[str, str]:
        return {layer: self._layers[layer] for layer in layers if layer in self._layers}

    def _in_file_layout(self, layer: str, array: np.ndarray) -> np.ndarray:
        place = self._layer_tensors.get(layer)
        return array if place is None else array.transpose(place.axes)


def saved_model(
    path: Path, signature: str | None, outputs: Sequence[str] | None, opset: int, unsafe: bool = False
) -> TensorFlowGraphSource:
    """Return one signature of the SavedModel in folder *path* as a source."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    if not (path / "saved_model.pb").is_file() and not (path / "saved_model.pbtxt").is_file():
        raise ConversionError(f"'{path}' is no SavedModel: there is no saved_model.pb in it")
    with quiet_tensorflow():
        try:
            refuse_code(path, code_in_saved_model(path), unsafe)
            loaded = tf.saved_model.load(path)
            called = loaded.signatures[_signature(path, list(loaded.signatures), signature)]
            frozen = convert_variables_to_constants_v2(called)
            graph_def = frozen.graph.as_graph_def()
        except ConversionError:
            raise
        except Exception as error:
            raise ConversionError(f"'{path}' cannot be loaded: {first_line(error)}") from error
    inputs, ends = sorted(called.structured_input_signature[1]), sorted(called.structured_outputs)
    return TensorFlowGraphSource(
        graph_def,
        {name: tensor.name for name, tensor in zip(inputs, frozen.inputs, strict=True)},
        select_outputs({name: tensor.name for name, tensor in zip(ends, frozen.outputs, strict=True)}, outputs),
        opset,
    )


def frozen_graph(
    path: Path, inputs: Any, outputs: Sequence[str] | None, opset: int, unsafe: bool = False
) -> TensorFlowGraphSource:
    """Return the frozen graph in file *path*, from *inputs* to *outputs*, as a source."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except (OSError, DecodeError):
        graph_def = tf.compat.v1.GraphDef()
    if not graph_def.node:
        beside = "; give its folder" if path.name == "saved_model.pb" else ""
        raise ConversionError(f"'{path}' is no frozen TensorFlow graph{beside}")
    if any(node.op in ("VariableV2", "VarHandleOp", "Variable") for node in graph_def.node):
        raise ConversionError(f"'{path}' is a graph without its weights; freeze it, or give the SavedModel's folder")
    entries, ends = _candidates(graph_def)
    if not inputs or not outputs:
        raise ConversionError(
            f"'{path}' does not say where it begins and ends; add "
            f"--inputs (of {', '.join(entries)}) and --outputs (of {', '.join(ends)})"
        )
    known = [node.name for node in graph_def.node]
    refuse_code(path, code_in_graph(graph_def, outputs), unsafe)
    return TensorFlowGraphSource(
        graph_def,
        {name.partition(":")[0]: _tensor(name, known) for name in inputs},
        {name.partition(":")[0]: _tensor(name, known) for name in outputs},
        opset,
        {name.partition(":")[0]: shape for name, shape in inputs.items()} if isinstance(inputs, Mapping) else None,
    )


def _signature(path: Path, known: Sequence[str], wanted: str | None) -> str:
    """Return the name of the signature. Keras exports its signature twice, as ``serve`` and ``serving_default``."""
    names = [name for name in known if not name.startswith("__")]
    if wanted is not None:
        if wanted in names:
            return wanted
        raise ConversionError(f"'{path}' has no signature {wanted!r}, but {_list(names)}.{nearest(wanted, names)}")
    if not names:
        raise ConversionError(f"'{path}' has no signature; save it with signatures=, or pass the Keras model")
    if len(names) > 1 and set(names) != {"serve", "serving_default"}:
        raise ConversionError(f"'{path}' has several signatures, {_list(names)}; choose one with --signature")
    return "serving_default" if "serving_default" in names else names[0]


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _tensor(name: str, known: Sequence[str]) -> str:
    node, _, index = name.partition(":")
    if node not in known:
        raise ConversionError(f"the graph has no operation {node!r}.{nearest(node, known)}")
    return f"{node}:{index or 0}"


def _candidates(graph_def: Any) -> tuple[list[str], list[str]]:
    """Return the names of the placeholders, and of the operations whose output is unused."""
    used = {name.lstrip("^").partition(":")[0] for node in graph_def.node for name in node.input}
    entries = [node.name for node in graph_def.node if node.op == "Placeholder"]
    ends = [node.name for node in graph_def.node if node.name not in used and node.op not in ("Const", "NoOp")]
    return entries, [name for name in ends if name not in entries]


def _layers(graph: Any, inputs: Any, outputs: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return the layer of each scope, and the single output tensor of each layer, innermost layers first."""
    active = _dependents(graph, list(inputs))
    scopes = layers_by_scope(op.name for op in active if not op.name.startswith("Func/"))  # argument passing
    members: dict[str, set[Any]] = {}
    for op in active:
        for scope in _around(op.name):
            if scope in scopes:
                members.setdefault(scope, set()).add(op)
    leaving = {scope: _leaving(ops, set(active), set(outputs)) for scope, ops in members.items()}
    ends = {scope: tensors[0] for scope, tensors in leaving.items() if len(tensors) == 1}
    layers = {
        scope: tensor
        for scope, tensor in ends.items()
        if not (ends.get(above := scope.rpartition("/")[0]) == tensor and _alone(scope, above, ends))
    }
    deepest = sorted(layers, key=lambda scope: -scope.count("/"))
    return scopes, {scopes[scope]: layers[scope] for scope in deepest}


def _alone(scope: str, above: str, ends: Mapping[str, str]) -> bool:
    """Return whether *scope* is the only scope in *above* with an output: then it is a part of a layer."""
    return all(other == scope or other.rpartition("/")[0] != above for other in ends)


def _leaving(ops: set[Any], active: set[Any], outputs: set[str]) -> list[str]:
    return [
        y.name
        for op in ops
        for y in op.outputs
        if y.dtype.is_floating and (y.name in outputs or any(user in active - ops for user in y.consumers()))
    ]


def _around(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _dependents(graph: Any, inputs: list[str]) -> list[Any]:
    """Return the operations that depend on the inputs, in order."""
    stack = [graph.get_tensor_by_name(name) for name in inputs]
    found: dict[Any, None] = {}
    while stack:
        for op in stack.pop().consumers():
            if op not in found:
                found[op] = None
                stack.extend(op.outputs)
    return [op for op in graph.get_operations() if op in found]
