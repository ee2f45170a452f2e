"""Where the layers of the framework are in the file: found by running both and comparing what they compute.

Converters fuse layers and move axes, so names prove nothing: a tensor is the output of a layer if its values are.
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


@dataclass(frozen=True)
class LayerTensor:
    """A tensor of the file, how the framework's axes are permuted in it, and by how much the two differ."""

    tensor: str
    axes: tuple[int, ...]
    error: float


def match_layers(
    path: Path, feeds: Arrays, activations: Arrays, tolerance: float, among: str | None = None
) -> dict[str, LayerTensor]:
    """Return for each of the *activations*, the framework's, the tensor of the file at *path* that equals it best.

    Equal is what differs by no more than *tolerance* of its mean magnitude; of equally good tensors the first is taken.
    Layers that equal no tensor (they were fused away) are left out. *among* is the operator that makes the tensors, if
    not any.
    """
    tensors = _tensors(path, feeds, among)
    traits = {name: _traits(array) for name, array in tensors.items()}
    found: dict[str, LayerTensor] = {}
    for layer, wanted in activations.items():
        lengths, magnitude = _traits(wanted)
        if not magnitude:  # a dead layer equals every dead layer
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
    """Return the layer that made each tensor: that which equals it best.

    Of several the first: those behind it (dropout, a block around it) only pass it on.
    """
    layers: dict[str, str] = {}
    for layer, place in found.items():
        other = layers.get(place.tensor)
        if other is None or place.error < found[other].error:
            layers[place.tensor] = layer
    return layers


def _tensors(path: Path, feeds: Arrays, among: str | None) -> dict[str, np.ndarray]:
    """Return the floating activations of the file, by name."""
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
    """Return what no permutation of axes changes: the lengths, and the mean magnitude."""
    return sorted(array.shape), _magnitude(array)


def _magnitude(array: np.ndarray) -> float:
    return float(np.abs(array).mean(dtype=np.float64))


def _orders(rank: int) -> Iterator[tuple[int, ...]]:
    """Yield the orders of axes among which converters choose: as they are, channels first, channels last."""
    axes = tuple(range(rank))
    yield axes
    if rank > 2:
        yield (0, rank - 1, *axes[1:-1])
        yield (0, *axes[2:], 1)
