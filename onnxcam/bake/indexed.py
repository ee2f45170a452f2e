"""The plan of one of several things of a task, such as keypoints: the best, a fixed one, one at run time, or all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from onnxcam.bake.plan import INPUT, BakeRequest, Emitted, add_input, per_image, refuse_options
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets.aim import Aim, Aimed

__all__ = ["ALL", "BEST", "IndexPlan", "Things", "index_plan"]

ALL = "all"
"""The target of a map for each thing."""
BEST = -1
"""The index of the default: the best thing, or all of them together."""


class Things(Protocol):
    """Several things of one image, each with a scalar to explain."""

    @property
    def aim(self) -> Aim:
        """Return an aim at the explained tensor."""

    @property
    def noun(self) -> str:
        """Return what one of them is called: the input is ``onnxcam.<noun>``."""

    @property
    def count(self) -> int | None:
        """Return their number; None where it is open."""

    @property
    def usual(self) -> int:
        """Return the number of maps of the target ``all``, where the user gives none."""

    def metadata(self) -> Mapping[str, Any]:
        """Return what the file says of them to its host."""

    def target(self, op: Emitter, subject: PreparedModel, index: ir.Value) -> Aimed:
        """Emit the scalar of the thing *index* [N] of each image; the default where it is `BEST`."""

    def outputs(self, op: Emitter, subject: PreparedModel) -> Mapping[str, ir.Value]:
        """Emit further outputs, by name."""


@dataclass(frozen=True)
class IndexPlan:
    """One of several *things*, the one *index*; None for a run-time input. With *maps* a map for each of the first."""

    things: Things
    index: int | None = BEST
    maps: int | None = None

    @property
    def aim(self) -> Aim:
        """Return an aim at the explained tensor."""
        return self.things.aim

    @property
    def _input(self) -> str:
        return f"onnxcam.{self.things.noun}"

    def metadata(self) -> Mapping[str, Any]:
        """Return the input and the number of things."""
        inputs = {"inputs": {self._input: BEST}} if self.index is None else {}
        return {**inputs, "maps": self.maps, **self.things.metadata()}

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the scalar of each map."""
        chosen = [self._index(op, subject)] if self.maps is None else self._each(op, subject, self.maps)
        targets = [self.things.target(op, subject, index) for index in chosen]
        return Emitted(targets, self.things.outputs(op, subject), stacked=self.maps is not None)

    def _each(self, op: Emitter, subject: PreparedModel, maps: int) -> list[ir.Value]:
        return [per_image(op, subject, np.asarray(index)) for index in range(maps)]

    def _index(self, op: Emitter, subject: PreparedModel) -> ir.Value:
        if self.index is not None:
            return per_image(op, subject, np.asarray(self.index))
        given = add_input(op, self._input, [subject.batch], ir.DataType.INT64)
        low = op.Max(given, op.const(np.array([BEST])))
        return low if self.things.count is None else op.Min(low, op.const(np.array([self.things.count - 1])))


def index_plan(things: Things, request: BakeRequest, index: int = BEST) -> IndexPlan:
    """Return the plan of the target ``input``, ``all``, or of the thing *index*."""
    if request.target != ALL:
        refuse_options(request)
        return IndexPlan(things, None if request.target == INPUT else index)
    refuse_options(request, "threshold")
    count = things.usual if request.count is None else request.count
    if count < 1 or (things.count is not None and count > things.count):
        most = "" if things.count is None else f" and at most {things.count}: the model has no more {things.noun}s"
        raise TargetError(f"{count} maps (--count): give at least 1{most}")
    return IndexPlan(things, maps=count)
