"""The table of plans: which task is baked by which plan."""

from __future__ import annotations

from collections.abc import Mapping

from onnxcam.bake.classification import class_plan
from onnxcam.bake.embedding import embedding_plan
from onnxcam.bake.fixed import fixed_plan
from onnxcam.bake.image_to_image import patch_plan
from onnxcam.bake.keypoints import heat_map_plan, table_plan
from onnxcam.bake.lanes import lane_plan
from onnxcam.bake.plan import INPUT, BakePlan, BakeRequest, PlanMaker
from onnxcam.bake.regression import bins_plan, regression_plan
from onnxcam.bake.segmentation import segmentation_plan
from onnxcam.bake.selected_rows import detector_plan
from onnxcam.bake.text_recognition import text_plan
from onnxcam.bake.value_maps import anomaly_plan, region_plan
from onnxcam.errors import TargetError
from onnxcam.targets import Task, parse
from onnxcam.targets.bins import Bins
from onnxcam.targets.captioning import Captions
from onnxcam.targets.classification import Classes
from onnxcam.targets.descriptions import Descriptions
from onnxcam.targets.detection import Detections
from onnxcam.targets.embedding import Embedding
from onnxcam.targets.image_to_image import ImageToImage
from onnxcam.targets.interest_points import InterestPoints
from onnxcam.targets.keypoints import HeatMaps, Keypoints
from onnxcam.targets.kinds import TensorElement
from onnxcam.targets.lanes import Lanes
from onnxcam.targets.query_masks import QueryMasks
from onnxcam.targets.regression import Regression
from onnxcam.targets.segmentation import Segmentation
from onnxcam.targets.text_recognition import TextRecognition
from onnxcam.targets.value_maps import Anomaly, Depth, ValueMap, VectorMap

__all__ = ["PLANS", "find_plan"]

PLANS: Mapping[type[Task], PlanMaker] = {
    Classes: class_plan,
    Detections: detector_plan,
    Segmentation: segmentation_plan,
    QueryMasks: segmentation_plan,
    Embedding: embedding_plan,
    Bins: bins_plan,
    Regression: regression_plan,
    ImageToImage: patch_plan,
    Depth: region_plan,
    ValueMap: region_plan,
    VectorMap: region_plan,
    InterestPoints: region_plan,
    Anomaly: anomaly_plan,
    HeatMaps: heat_map_plan,
    Keypoints: table_plan,
    Lanes: lane_plan,
    TextRecognition: text_plan,
}
"""The function that makes the plan of each task that can be baked."""


def find_plan(request: BakeRequest) -> BakePlan:
    """Return the plan for the model's task; TargetError where it cannot be baked.

    An element of a tensor can be baked for every task.
    """
    task = request.network.task
    if _is_element(request):
        return fixed_plan(request)
    if type(task) not in PLANS:
        raise TargetError(
            f"{task.name}{_WHY.get(type(task), '')} cannot be baked: `onnxcam explain` explains it; "
            f"bake an element of an output instead, such as {request.network.tasks[-1].examples}"
        )
    return PLANS[type(task)](task, request)


_WHY: Mapping[type[Task], str] = {
    Captions: ", whose words are inputs too,",
    Descriptions: ", whose words are inputs too,",
}


def _is_element(request: BakeRequest) -> bool:
    return request.target != INPUT and isinstance(parse(request.target, request.network.class_names), TensorElement)
