"""The floating constants of a model, as its operators use them: computed, and with batch normalisations folded in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.engine import Session
from onnxcam.graph.fold import constant
from onnxcam.graph.io import all_tensors
from onnxcam.graph.subgraph import used_values

__all__ = ["Constant", "float_constants"]

_EPSILON = 1e-5  # of BatchNormalization, by default


@dataclass(frozen=True)
class Constant:
    """A constant of a model: the name of its tensor, and its values."""

    name: str
    array: NDArray[Any]


def float_constants(model: ir.Model) -> list[Constant]:
    """Return the floating constants that operators combine with data, in order of their use.

    A convolution in front of a batch normalisation has two pairs of weights: its own, and those that include the
    normalisation.
    """
    graph = model.graph
    moving = _moving(graph)
    used = dict.fromkeys(
        x for node in graph if not moving.isdisjoint(node.outputs) for x in used_values(node) if x is not None
    )
    fixed = [x for x in used if x not in moving and x.dtype is not None and x.dtype.is_floating_point()]
    arrays = {x.name or "": constant(x) for x in fixed}
    computed = [name for name, array in arrays.items() if array is None]
    if computed:
        arrays |= _computed(model, computed)
    found = [Constant(name, array) for name, array in arrays.items() if array is not None]
    return [*found, *_folded(graph, arrays)]


def _moving(graph: ir.Graph) -> set[ir.Value]:
    """Return the values that depend on an input."""
    found = {value for value in graph.inputs if not value.is_initializer()}
    for node in graph:
        if any(x in found for x in used_values(node) if x is not None):
            found.update(node.outputs)
    return found


def _computed(model: ir.Model, names: list[str]) -> dict[str, NDArray[Any] | None]:
    """Return the tensors *names*, which depend on no input."""
    copy = model.clone()
    tensors = all_tensors(copy.graph)
    copy.graph.outputs[:] = [tensors[name] for name in names]
    session = Session(copy, "cpu", optimize=False)
    blank = {
        value.name or "": np.zeros([n if isinstance(n, int) else 1 for n in value.shape or ()], value.dtype.numpy())
        for value in copy.graph.inputs
        if value.dtype is not None
    }
    return dict(session.run({name: blank[name] for name in session.inputs}, names))


def _folded(graph: ir.Graph, arrays: dict[str, NDArray[Any] | None]) -> Iterator[Constant]:
    """Yield weights and bias of each convolution with the batch normalisation after it: w γ/σ, (b − μ) γ/σ + β."""
    for node in graph:
        before = node.inputs[0].producer() if node.op_type == "BatchNormalization" and node.inputs[0] else None
        if before is None or before.op_type not in ("Conv", "ConvTranspose") or len(before.outputs[0].uses()) != 1:
            continue
        gamma, beta, mean, variance = (arrays.get(x.name or "") if x is not None else None for x in node.inputs[1:5])
        w, b = (None if x is None else arrays.get(x.name or "") for x in (*before.inputs, None)[1:3])
        if gamma is None or beta is None or mean is None or variance is None or w is None:
            continue
        slope = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", _EPSILON))
        axis = 0 if before.op_type == "Conv" else 1
        if w.shape[axis] == slope.size:
            along = slope.reshape([-1 if i == axis else 1 for i in range(w.ndim)])
            yield Constant(before.inputs[1].name or "" if before.inputs[1] is not None else "", w * along)
        yield Constant(
            node.inputs[2].name or "" if node.inputs[2] is not None else "",
            ((0 if b is None else b) - mean) * slope + beta,
        )
