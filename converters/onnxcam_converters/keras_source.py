"""The source of a Keras model: traced for tf2onnx, and run eagerly, layer by layer, as the reference."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxcam.errors import ConversionError
from onnxcam.text import first_line
from onnxcam_converters import tf2onnx_bridge as bridge
from onnxcam_converters.framework_errors import user_code_location
from onnxcam_converters.inputs_outputs import random_feed, select_outputs
from onnxcam_converters.layer_tensors import LayerTensor, layers_by_tensor, match_layers
from onnxcam_converters.quiet import quiet_tensorflow
from onnxcam_converters.source import Arrays, Exported

__all__ = ["KerasSource"]

_TOLERANCE = 1e-4
"""Largest difference of a layer's output in the file, relative to its mean magnitude.

Rounding changes about 1e-6. An untrained normalisation, which is close to the identity, changes 5e-4.
"""


@dataclass(frozen=True)
class _LayerCall:
    """One call of a layer: its path of layer names, from the outermost, and its result."""

    path: tuple[str, ...]
    result: Any


class KerasSource:
    """A Keras model as a `Source`."""

    def __init__(self, model: Any, inputs: Any, outputs: Sequence[str] | None, opset: int) -> None:
        import keras
        import tensorflow as tf

        if keras.backend.backend() != "tensorflow":
            raise ConversionError(
                f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=tensorflow before it is imported"
            )
        if not isinstance(model, keras.Model):
            raise ConversionError(
                f"a {type(model).__module__}.{type(model).__name__} is no Keras 3 model; "
                "save it (model.save, tf.saved_model.save) and give the path"
            )
        self.framework = f"tensorflow {tf.__version__}, keras {keras.__version__}"
        self.model, self._kept, self._opset = model, outputs, opset
        self._inputs = _model_inputs(model, inputs)
        self._names: list[str] = []
        self._layer_tensors: dict[str, LayerTensor] = {}

    def export(self, path: Path) -> Exported:
        """Trace the model, convert its graph, and match the layers to tensors of the file."""
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        traced, scopes = self._trace()
        try:
            frozen = convert_variables_to_constants_v2(traced)
            graph_def = frozen.graph.as_graph_def()
        except Exception as error:
            raise ConversionError(f"TensorFlow cannot freeze the model: {first_line(error)}") from error
        inputs = {name: tensor.name for name, tensor in zip(self._inputs.names, frozen.inputs, strict=True)}
        outputs = {name: tensor.name for name, tensor in zip(self._names, frozen.outputs, strict=True)}
        model = bridge.convert_graph(graph_def, inputs, outputs, self._opset)
        bridge.rename_scopes(model, scopes)
        bridge.write(model, path)
        feeds = self.example(np.random.default_rng(0))
        seen, results = self._record(feeds)
        known = {name: y.numpy() for name, y in seen.items() if y.dtype.is_floating and name not in results}
        self._layer_tensors = match_layers(path, feeds, known, _TOLERANCE)
        return Exported(bridge.exporter(), layers_by_tensor(self._layer_tensors))

    def example(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return a random array for each input."""
        return {
            name: random_feed(rng, shape, dtype)
            for name, shape, dtype in zip(self._inputs.names, self._inputs.shapes, self._inputs.dtypes, strict=True)
        }

    def run(self, feeds: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return outputs and activations, computed by an eager call."""
        seen, results = self._record(feeds)
        activations = {layer: self._in_file_layout(layer, seen[layer].numpy()) for layer in layers if layer in seen}
        return activations | {name: result.numpy() for name, result in results.items()}

    def gradients(self, feeds: Arrays, cotangents: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the gradients of tf.GradientTape."""
        import tensorflow as tf

        tensors = {name: tf.constant(array) for name, array in feeds.items()}
        wanted = {name: tensor for name, tensor in tensors.items() if tensor.dtype.is_floating}
        with tf.GradientTape() as tape:
            tape.watch(list(wanted.values()))
            seen, results = self._record(tensors)
            total = tf.add_n([tf.reduce_sum(results[name] * seed) for name, seed in cotangents.items()])
        wanted |= {layer: seen[layer] for layer in layers if layer in seen}
        found = tape.gradient(total, list(wanted.values()))
        return {
            name: self._in_file_layout(name, tf.convert_to_tensor(gradient).numpy())
            for name, gradient in zip(wanted, found, strict=True)
            if gradient is not None
        }

    def _in_file_layout(self, layer: str, array: np.ndarray) -> np.ndarray:
        place = self._layer_tensors.get(layer)
        return array if place is None else array.transpose(place.axes)

    def _record(self, feeds: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Call the model; return the result of each layer, and the outputs, by name."""
        tensors = [feeds[name] for name in self._inputs.names]
        with _recorded_calls(self.model) as calls:
            results = self.model(*self._inputs.packed(tensors), training=False)
        return _by_layer(calls), self._named(results, calls)

    def _named(self, results: Any, calls: Sequence[_LayerCall]) -> dict[str, Any]:
        names = _output_names(results, calls)
        return select_outputs(dict(zip(names, (tensor for _, tensor in _flattened(results)), strict=True)), self._kept)

    def _trace(self) -> tuple[Any, dict[str, str]]:
        """Return the model as a concrete function, and the layer of each scope of its graph."""
        import tensorflow as tf

        calls: list[_LayerCall] = []
        scopes: dict[str, str] = {}

        def forward(*tensors: Any) -> list[Any]:
            calls.clear()
            scopes.clear()
            results = self.model(*self._inputs.packed(tensors), training=False)
            outputs = self._named(results, calls)
            self._names = list(outputs)
            return list(outputs.values())

        specs = [
            tf.TensorSpec(shape, dtype) for shape, dtype in zip(self._inputs.shapes, self._inputs.dtypes, strict=True)
        ]
        with _recorded_calls(self.model, calls, scopes), quiet_tensorflow():
            try:
                return tf.function(forward, autograph=False).get_concrete_function(*specs), scopes
            except ConversionError:
                raise
            except Exception as error:
                place = user_code_location(error)
                raise ConversionError(
                    f"the model cannot be traced: {_reason(error)}" + (f" (at {place})" if place else "")
                ) from error


@dataclass(frozen=True)
class _ModelInputs:
    """The inputs of a model, flattened, and the function that packs them for a call."""

    names: list[str]
    shapes: list[tuple[int | None, ...]]
    dtypes: list[Any]
    packed: Callable[[Sequence[Any]], Sequence[Any]]  # tensors -> positional arguments of the call


def _model_inputs(model: Any, inputs: Any) -> _ModelInputs:
    import keras

    if isinstance(inputs, Mapping):
        names, shapes = list(inputs), [tuple(shape) for shape in inputs.values()]
        if not getattr(model, "inputs", None):
            one = len(names) == 1
            pack = (lambda tensors: tensors) if one else lambda tensors: [dict(zip(names, tensors, strict=True))]
            return _ModelInputs(names, shapes, [model.input_dtype] * len(names), pack)
    if not getattr(model, "inputs", None):
        raise ConversionError(
            f"the model '{model.name}' does not say what it takes; "
            'give the shapes of its inputs, such as inputs={"image": (None, 224, 224, 3)}'
        )
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    flat = keras.tree.flatten_with_path(structure)
    tensors = [tensor for _, tensor in flat]
    names = [str(path[-1]) if path and isinstance(path[-1], str) else _input_name(tensor) for path, tensor in flat]
    shapes = [
        tuple(inputs[name]) if isinstance(inputs, Mapping) and name in inputs else tuple(tensor.shape)
        for name, tensor in zip(names, tensors, strict=True)
    ]
    return _ModelInputs(
        _unique(names),
        shapes,
        [tensor.dtype for tensor in tensors],
        lambda values: [keras.tree.pack_sequence_as(structure, list(values))],
    )


def _input_name(tensor: Any) -> str:
    """Return the name of the input layer. The name of its tensor may be just a number."""
    history = getattr(tensor, "_keras_history", None)
    return str(tensor.name if history is None else history.operation.name)


@contextmanager
def _recorded_calls(
    model: Any, calls: list[_LayerCall] | None = None, scopes: dict[str, str] | None = None
) -> Iterator[list[_LayerCall]]:
    """Record each call of a layer of *model* in *calls*, and the graph scope of each call in *scopes*.

    Inside the context the layers have a wrapped ``call``; it is restored afterwards.
    """
    import tensorflow as tf

    heard: list[_LayerCall] = [] if calls is None else calls
    around: list[str] = []

    def wrapped(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def listened(*args: Any, **kwargs: Any) -> Any:
            around.append(layer.name)
            try:
                result = call(*args, **kwargs)
                path = tuple(around)
            finally:
                around.pop()
            if scopes is not None:
                again = sum(call.path == path for call in heard)
                scope = tf.compat.v1.get_default_graph().get_name_scope()
                scopes[scope] = "/".join(path) + (f":{again}" if again else "")
            heard.append(_LayerCall(path, result))
            return result

        return listened

    own = {layer: vars(layer).get("call") for layer in model._flatten_layers(include_self=False)}
    try:
        for layer in own:
            vars(layer)["call"] = wrapped(layer, layer.call)
        yield heard
    finally:
        for layer, call in own.items():
            vars(layer).pop("call", None)
            if call is not None:
                vars(layer)["call"] = call


def _by_layer(calls: Sequence[_LayerCall]) -> dict[str, Any]:
    """Return the result of each layer by path, such as ``encoder/conv1``, and by name if the name is unique.

    The second call of a shared layer is ``name:1``. Layers with several output tensors are left out.
    """
    results: dict[str, Any] = {}
    again: Counter[str] = Counter()
    alone = Counter(call.path[-1] for call in calls)
    for call in calls:
        path = "/".join(call.path)
        name = f"{path}:{again[path]}" if again[path] else path
        again[path] += 1
        if not hasattr(call.result, "numpy") and not hasattr(call.result, "graph"):
            continue
        results[name] = call.result
        if len(call.path) > 1 and alone[call.path[-1]] == 1:
            results[call.path[-1]] = call.result
    return results


def _output_names(results: Any, calls: Sequence[_LayerCall]) -> list[str]:
    """Return a name for each output: its key, else the outermost layer that returned it, else its number."""
    names = []
    for index, (path, tensor) in enumerate(_flattened(results)):
        makers = [call.path for call in calls if call.result is tensor]
        keys = [str(key) for key in path if isinstance(key, str)]
        names.append(".".join(keys) if keys else min(makers, key=len)[-1] if makers else f"output_{index}")
    return _unique(names)


def _flattened(results: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Return (keys, tensor) for each tensor of *results*, in the model's order."""
    import keras

    if isinstance(results, Mapping):  # keras.tree sorts the keys
        return [((key, *path), tensor) for key, part in results.items() for path, tensor in _flattened(part)]
    return list(keras.tree.flatten_with_path(results))


def _unique(names: Sequence[str]) -> list[str]:
    """Return *names* with a number appended to each repetition."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        result.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return result


def _reason(error: BaseException) -> str:
    """Return the sentence of a tracing error that says what happened, without colours, frames and arguments."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    noise = ("File ", "•", "Arguments received", "Exception encountered when calling", "in user code")
    told = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith(noise)]
    return told[0].split(". ")[0].rstrip(".:") if told else type(error).__name__
