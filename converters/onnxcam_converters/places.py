"""Where the layers of the framework are in the file: found by running both and comparing what they compute.

Converters fuse layers and move axes, so names prove nothing: a tensor is the output of a layer if its values are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxcam.engine import Session
from onnxcam.graph import load
from onnxcam.passes.shapes import infer_shapes
from onnxcam_converters.source import Arrays


@dataclass(frozen=True)
class Place:
    """A tensor of the file, and how the axes of the framework's array are permuted in it."""

    tensor: str
    axes: tuple[int, ...]


def places(
    path: Path, feeds: Arrays, activations: Arrays, tolerance: float, among: str | None = None
) -> dict[str, Place]:
    """Return for each of the *activations*, the framework's, the tensor of the file at *path* that equals it best.

    Equal is what differs by no more than *tolerance* of its norm; of equally good tensors the first is taken. Layers
    that equal no tensor (they were fused away) are left out.
    """
    tensors = _tensors(path, feeds, among)
    traits = {name: _traits(array) for name, array in tensors.items()}
    found: dict[str, Place] = {}
    for layer, wanted in activations.items():
        if not np.any(wanted):  # a dead layer equals every dead layer
            continue
        kind = _traits(wanted)
        best = tolerance
        for name, array in tensors.items():
            if traits[name][0] != kind[0] or abs(traits[name][1] - kind[1]) > tolerance * kind[1]:
                continue
            for axes in _orders(wanted.ndim):
                moved = wanted.transpose(axes)
                if moved.shape == array.shape and (error := _error(array, moved)) < best:
                    found[layer], best = Place(name, axes), error
    return found


def layer_of_tensor(found: Mapping[str, Place]) -> dict[str, str]:
    """Return the layer that made each tensor: the first; those behind it (dropout, a block) pass it on."""
    layers: dict[str, str] = {}
    for layer, place in found.items():
        layers.setdefault(place.tensor, layer)
    return layers


def _tensors(path: Path, feeds: Arrays, among: str | None) -> dict[str, np.ndarray]:
    """Return the floating activations of the file, by name."""
    model = load(path)
    infer_shapes(model)
    active = set(model.graph.inputs)
    found: dict[str, ir.Value] = {}
    for node in model.graph:
        if not active.isdisjoint(node.inputs):
            active.update(node.outputs)
            if among in (None, node.op_type):
                found.update((y.name, y) for y in node.outputs if y.name and y.dtype and y.dtype.is_floating_point())
    model.graph.outputs.extend(value for value in found.values() if not value.is_graph_output())
    return Session(model, "cpu", optimize=False).run(feeds, list(found))


def _traits(array: np.ndarray) -> tuple[tuple[int, ...], float]:
    """Return what no permutation of axes changes: the lengths, and the norm."""
    return tuple(sorted(array.shape)), float(np.linalg.norm(array.astype(np.float64)))


def _orders(rank: int) -> Iterator[tuple[int, ...]]:
    """Yield the orders of axes among which converters choose: as they are, channels first, channels last."""
    axes = tuple(range(rank))
    yield axes
    if rank > 2:
        yield (0, rank - 1, *axes[1:-1])
        yield (0, *axes[2:], 1)


def _error(array: np.ndarray, wanted: np.ndarray) -> float:
    difference = np.linalg.norm((array.astype(np.float64) - wanted).ravel())
    return float(difference / np.linalg.norm(wanted.astype(np.float64).ravel()))
