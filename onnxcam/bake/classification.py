"""The plan of a classifier: one class, fixed, the top one, or named at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.plan import INPUT, BakeRequest, Emitted, refuse_options
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.metadata.reserved import CHOSEN, CLASS
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import TOP, ClassAim, parse
from onnxcam.targets.classification import Classes
from onnxcam.targets.kinds import Class, Top
from onnxcam.targets.scores import Scores, missing_head

__all__ = ["ClassPlan", "class_plan"]


@dataclass(frozen=True)
class ClassPlan:
    """The score of a class: *index*, `TOP` for the top class, None for a run-time input."""

    aim: ClassAim
    index: int | None
    scores: Mapping[str, Any] = field(default_factory=dict)

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the score of the class."""
        aim = replace(self.aim, fixed=None if self.index in (None, TOP) else self.index)
        target = aim.emit(op, subject.batch)
        self._fix(op.graph)
        return Emitted([target], raw={CHOSEN: target.outputs[CHOSEN]})

    def metadata(self) -> Mapping[str, Any]:
        """Return the class, and how the scores become probabilities."""
        inputs = {"inputs": {CLASS: TOP}} if self.index is None else {}
        return {"class": self.index, **inputs, "scores": self.scores}

    def _fix(self, graph: ir.Graph) -> None:
        """Make a constant of the input of the class, if the class is known."""
        wanted = next((value for value in graph.inputs if value.name == CLASS), None)
        if self.index is not None and wanted is not None:
            graph.inputs.remove(wanted)
            wanted.shape, wanted.const_value = ir.Shape([1]), ir.tensor(np.array([self.index]), name=CLASS)
            graph.register_initializer(wanted)


def class_plan(task: Classes, request: BakeRequest) -> ClassPlan:
    """Return the plan of a classifier."""
    refuse_options(request)
    index = None if request.target == INPUT else _class(task, request.target)
    return ClassPlan(task.aim, index, _scores(task.scores, request.network.multi_label))


def _class(task: Classes, target: int | str) -> int:
    wish = parse(target, task.labels)
    if isinstance(wish, Top):
        return TOP
    if not isinstance(wish, Class):
        raise TargetError(f"target {target!r} cannot be baked; give top, input, a class index or a label")
    return int(task.goal(wish).feed)


def _scores(scores: Scores, multi_label: bool) -> dict[str, Any]:
    """Return the output with the scores, and the function that turns them into probabilities."""
    units = None if scores.output_units is None else scores.output_units.known
    head = missing_head(scores.head, scores.classes, exclusive=scores.are_exclusive(multi_label))
    pair = {"pair": True} if scores.is_single else {}
    return {"name": scores.output, "units": units, "probabilities": head, **pair}
