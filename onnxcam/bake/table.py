"""The table of plans: which task is baked by which plan."""

from __future__ import annotations

from collections.abc import Mapping

from onnxcam.bake.classification import class_plan
from onnxcam.bake.detections import detection_plan
from onnxcam.bake.plan import BakeRequest, Plan, PlanMaker
from onnxcam.bake.segmentation import segmentation_plan
from onnxcam.errors import TargetError
from onnxcam.targets import Task
from onnxcam.targets.classification import Classes
from onnxcam.targets.detection import Detections
from onnxcam.targets.segmentation import Segmentation

__all__ = ["PLANS", "find_plan"]

PLANS: Mapping[type[Task], PlanMaker] = {
    Classes: class_plan,
    Detections: detection_plan,
    Segmentation: segmentation_plan,
}
"""The function that makes the plan of each task that can be baked; a subclass of a task is made like it."""


def find_plan(request: BakeRequest) -> Plan:
    """Return the plan for the model's task; TargetError where it cannot be baked."""
    task = request.network.task
    make = next((PLANS[kind] for kind in type(task).__mro__ if kind in PLANS), None)
    if make is None:
        raise TargetError(f"{task.name} cannot be baked: `onnxcam explain` explains it")
    return make(task, request)
