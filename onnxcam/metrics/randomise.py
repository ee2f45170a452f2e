"""Weight randomisation: find the layers with weights, and make copies of the model with shuffled weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.errors import MetricError
from onnxcam.graph.fold import constant
from onnxcam.graph.io import ModelLike, all_tensors
from onnxcam.metadata.reserved import load_bare
from onnxcam.passes import canonical
from onnxcam.structure.layout import picture_input
from onnxcam.structure.names import module_names

__all__ = ["RandomisedModel", "WeightedLayer"]

_WORDS = ("Conv", "MatMul", "Gemm", "Attention", "LSTM", "GRU", "RNN", "Einsum", "Bilinear")
"""Name parts of operators with weights, also ``FusedConv``, ``QLinearMatMul``, ``DynamicQuantizeLSTM`` …"""


@dataclass(frozen=True)
class WeightedLayer:
    """Layer with weights: its name, and the names of its weight tensors."""

    name: str
    weights: tuple[str, ...]


@dataclass(frozen=True)
class RandomisedModel:
    """Model with layers to randomise. The model itself is not changed."""

    model: ir.Model
    layers: tuple[WeightedLayer, ...]  # from output to input

    @classmethod
    def of(cls, source: ModelLike) -> RandomisedModel:
        """Find the layers of *source*; raise MetricError if none has weights."""
        model = canonical(load_bare(source), STANDARD)
        layers = tuple(_layers(model.graph))
        if not layers:
            raise MetricError("the model has no layer with weights, such as a convolution, that could be made random")
        return cls(model, layers)

    def stages(self, count: int) -> list[tuple[WeightedLayer, ...]]:
        """Return the layers in at most *count* groups of about equal size, from output to input."""
        parts = np.array_split(np.arange(len(self.layers)), min(count, len(self.layers)))
        return [tuple(self.layers[i] for i in part) for part in parts]

    def shuffled(self, layers: Iterable[WeightedLayer], seed: int) -> ir.Model:
        """Return a copy of the model in which the elements of each weight tensor of *layers* are shuffled.

        Shuffling keeps the distribution, range and dtype of the values, floats or integers, and destroys what was
        learnt. A tensor is shuffled in the same way in every copy with one *seed*.
        """
        copy = self.model.clone()
        tensors = all_tensors(copy.graph)
        for name in dict.fromkeys(name for layer in layers for name in layer.weights):
            _shuffle(tensors[name], np.random.default_rng([seed, crc32(name.encode())]))
        return copy


def _layers(graph: ir.Graph) -> Iterable[WeightedLayer]:
    moving = {picture_input(graph)}
    found = []
    for node in graph:
        if moving.isdisjoint(node.inputs):
            continue
        moving.update(node.outputs)
        if any(word in node.op_type for word in _WORDS):
            still = [x for x in node.inputs if x is not None and x not in moving]
            weights = [weight for x in still if (weight := _weight(x, moving)) is not None]
            if weights:
                found.append(WeightedLayer(_name(node, weights), tuple(weight.name or "" for weight in weights)))
    return reversed(found)


def _weight(x: ir.Value, moving: set[ir.Value]) -> ir.Value | None:
    """Return the largest constant from which *x* is computed; None if it is a scalar.

    Weights can pass through DequantizeLinear, Transpose, Cast, or a Gather from a codebook before they reach the layer.
    """
    leaves = [leaf for leaf in _leaves([x]) if leaf not in moving]
    sizes = {leaf: array.size for leaf in leaves if (array := constant(leaf)) is not None}
    largest = max(sizes, key=lambda leaf: sizes[leaf], default=None)
    return largest if largest is not None and sizes[largest] > 1 else None


def _leaves(values: Sequence[ir.Value | None]) -> Iterable[ir.Value]:
    """Yield the leaves from which *values* are computed, the first input of a node (the data) before scale and zero."""
    seen: set[ir.Value] = set()
    rest = [value for value in values if value is not None]
    while rest:
        value = rest.pop()
        node = value.producer()
        if value in seen:
            continue
        seen.add(value)
        if node is None or (node.op_type == "Constant" and "value" in node.attributes):
            yield value
        else:
            rest += [x for x in reversed(node.inputs) if x is not None]


def _name(node: ir.Node, weights: Sequence[ir.Value]) -> str:
    names = module_names(node)
    return names[-1] if names else node.name or weights[0].name or node.op_type


def _shuffle(value: ir.Value, rng: np.random.Generator) -> None:
    node, old = value.producer(), value.const_value
    if node is not None:
        old = node.attributes["value"].as_tensor()
    assert old is not None
    array = old.numpy()
    new = ir.Tensor(rng.permutation(array.ravel()).reshape(array.shape), old.dtype, name=old.name)
    if node is None:
        value.const_value = new
    else:
        node.attributes["value"] = ir.AttrTensor("value", new)
