"""The weights of a model, layer by layer from the output down, and copies of it in which some are random."""

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

_WORDS = ("Conv", "MatMul", "Gemm", "Attention", "LSTM", "GRU", "RNN", "Einsum", "Bilinear")
"""What the names of operators with weights hold: ``FusedConv``, ``QLinearMatMul``, ``DynamicQuantizeLSTM`` …"""


@dataclass(frozen=True)
class Weighted:
    """A layer with weights: its name, and the names of the constants that it multiplies or adds."""

    name: str
    weights: tuple[str, ...]


@dataclass(frozen=True)
class Randomised:
    """A model whose layers can be made random; it stays as it is itself."""

    model: ir.Model
    layers: tuple[Weighted, ...]  # from the output down

    @classmethod
    def of(cls, source: ModelLike) -> Randomised:
        """Find the layers of *source*; MetricError where none has weights."""
        model = canonical(load_bare(source), STANDARD)
        layers = tuple(_layers(model.graph))
        if not layers:
            raise MetricError("the model has no layer with weights, such as a convolution, that could be made random")
        return cls(model, layers)

    def stages(self, count: int) -> list[tuple[Weighted, ...]]:
        """Return the layers in at most *count* groups of about as many, from the output down."""
        parts = np.array_split(np.arange(len(self.layers)), min(count, len(self.layers)))
        return [tuple(self.layers[i] for i in part) for part in parts]

    def shuffled(self, layers: Iterable[Weighted], seed: int) -> ir.Model:
        """Return a copy in which the elements of each weight tensor of *layers* changed places at random.

        So the values stay what they were, in number, range and type, whether they are floats or integers, and what was
        learnt is gone. A tensor is shuffled alike in every copy of one *seed*.
        """
        copy = self.model.clone()
        tensors = all_tensors(copy.graph)
        for name in dict.fromkeys(name for layer in layers for name in layer.weights):
            _shuffle(tensors[name], np.random.default_rng([seed, crc32(name.encode())]))
        return copy


def _layers(graph: ir.Graph) -> Iterable[Weighted]:
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
                found.append(Weighted(_name(node, weights), tuple(weight.name or "" for weight in weights)))
    return reversed(found)


def _weight(x: ir.Value, moving: set[ir.Value]) -> ir.Value | None:
    """Return the largest constant that *x* is made of, None where it is a single number.

    Weights pass through DequantizeLinear, Transpose, Cast, or a Gather from a codebook before they reach their layer.
    """
    leaves = [leaf for leaf in _leaves([x]) if leaf not in moving]
    sizes = {leaf: array.size for leaf in leaves if (array := constant(leaf)) is not None}
    largest = max(sizes, key=lambda leaf: sizes[leaf], default=None)
    return largest if largest is not None and sizes[largest] > 1 else None


def _leaves(values: Sequence[ir.Value | None]) -> Iterable[ir.Value]:
    """Yield what *values* are made of, the first input of each node first: its data, before scale and zero point."""
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
