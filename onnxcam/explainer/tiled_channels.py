"""Methods that weigh the channels of a layer, over tiles: first the weights of the whole, then the sum of the channels.

The weights of a share of the score are that share of the weights, so those of the whole are the sum of the tiles', up
to a factor: the mean over a tile in place of the mean over all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.request import Array, Arrays
from onnxcam.metadata.reserved import MAP, SCORE
from onnxcam.methods.activation import weighted
from onnxcam.methods.base import Emit, GraphMethod
from onnxcam.methods.context import MapContext

__all__ = ["ChannelSums"]

_WEIGHTS = "onnxcam.channels"


@dataclass(frozen=True)
class ChannelSums:
    """The two graphs of a method for one layer: to the weights of its channels, and from them to the map.

    Attributes:
        weights: Gives the weights of one tile, as `MAP`, and its score.
        sums: Takes weights, and gives Σ_k w_k A_k of one tile.
    """

    weights: CompiledExplanation
    sums: CompiledExplanation

    @classmethod
    def build(cls, compiled: CompiledExplanation, method: GraphMethod, *, spin: bool) -> ChannelSums:
        """Build the sessions for the layer of *compiled*."""
        assert method.weights is not None

        def build(emit: Emit) -> CompiledExplanation:
            prepared, (choice,) = compiled.network.open(), compiled.choices
            layer = choice.layer.in_graph(prepared.model.graph)
            plain = replace(method, emit=emit, weights=None)
            choices = [replace(choice, layer=layer)]
            return CompiledExplanation.build(compiled.network, prepared, plain, compiled.aim, choices, {}, spin=spin)

        return cls(build(_flat(method.weights)), build(_given))

    def weigh(self, feeds: Mapping[str, Array]) -> tuple[Array, float]:
        """Return the weights of one tile, [1, K, 1, …], and its score."""
        found = self.weights.run(feeds, [MAP, SCORE])
        return found[MAP][..., None], float(found[SCORE][0])

    def map(self, feeds: Mapping[str, Array], weights: Array) -> Array:
        """Return Σ_k w_k A_k of one tile, [*space of the layer]."""
        found: Arrays = self.sums.run({**feeds, _WEIGHTS: weights.astype(np.float32)}, [MAP])
        return np.asarray(found[MAP][0], np.float32)


def _flat(weights: Callable[[MapContext], ir.Value]) -> Emit:
    """Return a method whose map, of the rank of one, is the *weights* of the channels."""

    def emit(context: MapContext) -> ir.Value:
        found: ir.Value = context.op.Squeeze(weights(context), [1 + len(context.size())])
        return found

    return emit


def _given(context: MapContext) -> ir.Value:
    """Return Σ_k w_k A_k for weights that are an input."""
    given = ir.Value(
        name=_WEIGHTS,
        shape=ir.Shape([None, None, *[1] * len(context.size())]),
        type=ir.TensorType(ir.DataType.FLOAT),
    )
    context.op.graph.inputs.append(given)
    activation = context.activation()
    dtype = activation.dtype or ir.DataType.FLOAT
    return weighted(context, given if dtype == ir.DataType.FLOAT else context.op.Cast(given, to=int(dtype)))
