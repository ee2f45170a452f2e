"""Match the framework's layers to tensors of the ONNX file by their values.

Converters fuse layers and permute axes, so names are no evidence: both models run on the same inputs, and a tensor
belongs to the layer whose output it equals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.rules import STANDARD
from onnxcam.engine import Session
from onnxcam.graph.io import load
from onnxcam.passes.shapes import infer_shapes
from onnxcam_converters.source import Arrays

__all__ = ["LayerTensor", "layers_by_tensor", "match_layers"]


@dataclass(frozen=True)
class LayerTensor:
    """The tensor of the ONNX file that equals a layer's output.

    Attributes:
        tensor: Name of the tensor.
        axes: Permutation from the framework's axes to those of the file.
        error: Mean absolute difference, relative to the mean magnitude.
    """

    tensor: str
    axes: tuple[int, ...]
    error: float


def match_layers(
    path: Path, feeds: Arrays, activations: Arrays, tolerance: float, among: str | None = None
) -> dict[str, LayerTensor]:
    """Return the best matching tensor of the ONNX file for each layer.

    Layers without a match (fused by the converter, or zero everywhere) are left out. Of equal matches the first counts.

    Args:
        path: The ONNX file.
        feeds: Its inputs.
        activations: Output of each layer, computed by the framework on the same inputs.
        tolerance: Largest mean absolute difference, relative to the layer's mean magnitude.
        among: Consider only outputs of this operator type.
    """
    tensors = _tensors(path, feeds, among)
    traits = {name: _traits(array) for name, array in tensors.items()}
    found: dict[str, LayerTensor] = {}
    for layer, wanted in activations.items():
        lengths, magnitude = _traits(wanted)
        if not magnitude:  # all zero: equal to every other layer of zeros
            continue
        best = tolerance
        for name, array in tensors.items():
            if traits[name][0] != lengths or abs(traits[name][1] - magnitude) > tolerance * magnitude:
                continue
            for axes in _orders(wanted.ndim):
                moved = wanted.transpose(axes)
                if moved.shape == array.shape and (error := _magnitude(array - moved) / magnitude) < best:
                    found[layer], best = LayerTensor(name, axes, error), error
    return found


def layers_by_tensor(found: Mapping[str, LayerTensor]) -> dict[str, str]:
    """Return the best matching layer of each tensor.

    Of equal matches the first counts: later layers (dropout, an enclosing block) only pass the tensor on.
    """
    layers: dict[str, str] = {}
    for layer, place in found.items():
        other = layers.get(place.tensor)
        if other is None or place.error < found[other].error:
            layers[place.tensor] = layer
    return layers


def _tensors(path: Path, feeds: Arrays, among: str | None) -> dict[str, np.ndarray]:
    """Return the floating-point activations of the file by name."""
    model = load(path)
    infer_shapes(model, STANDARD.compositions)
    active = set(model.graph.inputs)
    found: dict[str, ir.Value] = {}
    for node in model.graph:
        if not active.isdisjoint(node.inputs):
            active.update(node.outputs)
            if among in (None, node.op_type):
                found.update((y.name, y) for y in node.outputs if y.name and y.dtype and y.dtype.is_floating_point())
    model.graph.outputs.extend(value for value in found.values() if not value.is_graph_output())
    return Session(model, "cpu", optimize=False).run(feeds, list(found))


def _traits(array: np.ndarray) -> tuple[list[int], float]:
    """Return what a permutation of axes keeps: the sorted lengths and the mean magnitude."""
    return sorted(array.shape), _magnitude(array)


def _magnitude(array: np.ndarray) -> float:
    return float(np.abs(array).mean(dtype=np.float64)) if array.size else 0.0


def _orders(rank: int) -> Iterator[tuple[int, ...]]:
    """Yield the permutations that converters use: identity, channels first, channels last."""
    axes = tuple(range(rank))
    yield axes
    if rank > 2:
        yield (0, rank - 1, *axes[1:-1])
        yield (0, *axes[2:], 1)
