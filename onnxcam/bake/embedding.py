"""The plan of an embedding: the cosine with a reference, an image's or a vector that the host gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.bake.fixed import fixed_goal
from onnxcam.bake.plan import INPUT, BakeRequest, Emitted, add_input, per_image, refuse_options
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.metadata.reserved import COSINE, EMBEDDING, REFERENCE
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets.aim import DirectionAim
from onnxcam.targets.embedding import Embedding

__all__ = ["EmbeddingPlan", "embedding_plan"]


@dataclass(frozen=True, eq=False)
class EmbeddingPlan:
    """The cosine with a *direction*; with *at_run_time* with a vector that the host gives, where it is not zero."""

    aim: DirectionAim
    direction: NDArray[np.float32]
    at_run_time: bool

    def metadata(self) -> Mapping[str, Any]:
        """Return the input and the tensor of the embedding."""
        inputs = {"inputs": {REFERENCE: [0] * len(self.direction)}} if self.at_run_time else {}
        return {**inputs, "tensor": self.aim.tensor}

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the cosine, and the unit vector of the embedding, which may be the reference of another image."""
        direction = per_image(op, subject, self.direction)
        if self.at_run_time:
            direction = self._given(op, subject, direction)
        target = self.aim.point(op, direction)
        unit, _ = self.aim.unit(op, direction)
        unit.shape = ir.Shape([subject.batch, len(self.direction)])
        target.score.shape = ir.Shape([subject.batch])
        return Emitted([target], {COSINE: target.score, EMBEDDING: unit})

    def _given(self, op: Emitter, subject: PreparedModel, default: ir.Value) -> ir.Value:
        """Return the unit vector of the reference; *default* where the reference is zero."""
        given = add_input(op, REFERENCE, [subject.batch, len(self.direction)], ir.DataType.FLOAT)
        norm = op.ReduceL2(given, [1], keepdims=1)
        unit = op.Div(given, op.Max(norm, op.const(1e-12, ir.DataType.FLOAT)))
        found = op.Where(op.Greater(norm, 0.0), unit, default)
        found.shape = given.shape
        return found


def embedding_plan(task: Embedding, request: BakeRequest) -> EmbeddingPlan:
    """Return the plan of an embedding."""
    refuse_options(request)
    if request.target != INPUT:
        return EmbeddingPlan(task.aim, np.asarray(fixed_goal(request).feed, np.float32), False)
    try:
        direction = np.asarray(fixed_goal(request, "top").feed, np.float32)
    except TargetError:  # the embedding of zeros is zero: no reference, no map
        direction = np.zeros(task.aim.length(request.network.open().model.graph), np.float32)
    return EmbeddingPlan(task.aim, direction, True)
