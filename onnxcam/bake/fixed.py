"""The plan of a target that is the same for every image: elements of a tensor, weighted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.bake.plan import BakeRequest, Emitted, per_image, refuse_options
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.metadata.reserved import SCORE
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import Goal
from onnxcam.targets.aim import WeightsAim

__all__ = ["FixedPlan", "fixed_goal", "fixed_plan"]


@dataclass(frozen=True, eq=False)
class FixedPlan:
    """A weighted sum of the elements of a tensor, with fixed weights."""

    aim: WeightsAim
    weights: NDArray[np.float32]

    def metadata(self) -> Mapping[str, Any]:
        """Return the tensor."""
        return {"tensor": self.aim.tensor}

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the weighted sum."""
        target = self.aim.weigh(op, per_image(op, subject, self.weights))
        target.score.shape = ir.Shape([subject.batch])
        return Emitted([target], {SCORE: target.score})


def fixed_goal(request: BakeRequest, target: Any = None) -> Goal:
    """Return the target as it is resolved for a tensor of zeros; TargetError where it means nothing."""
    network = request.network
    feeds = network.probe_feeds()
    blank = np.zeros_like(feeds[network.picture])
    return network.resolve(request.target if target is None else target, network.look(blank, None, {}))


def fixed_plan(request: BakeRequest, target: Any = None) -> FixedPlan:
    """Return the plan of a target whose weights are the same for every image."""
    refuse_options(request)
    goal = fixed_goal(request, target)
    if not isinstance(goal.aim, WeightsAim) or goal.inputs:
        raise TargetError(f"target {request.target!r} cannot be baked; `onnxcam explain` explains it")
    return FixedPlan(goal.aim, np.asarray(goal.feed, np.float32))
