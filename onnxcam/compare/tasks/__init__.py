"""What is compared of each task: its predictions, and which of them are explained."""

from __future__ import annotations

from onnxcam.compare.outcome import Prediction
from onnxcam.compare.tasks.classification import ClassObservation
from onnxcam.compare.tasks.descriptions import DescriptionObservation
from onnxcam.compare.tasks.detection import DetectionObservation
from onnxcam.compare.tasks.embedding import EmbeddingObservation
from onnxcam.compare.tasks.images import ImageObservation
from onnxcam.compare.tasks.keypoints import HeatMapObservation, KeypointObservation
from onnxcam.compare.tasks.lanes import LanesObservation
from onnxcam.compare.tasks.numbers import NumbersObservation
from onnxcam.compare.tasks.observation import Observation
from onnxcam.compare.tasks.segmentation import SegmentationObservation
from onnxcam.compare.tasks.tensors import TensorsObservation
from onnxcam.compare.tasks.text import CaptionObservation, TextObservation
from onnxcam.compare.tasks.value_maps import AnomalyObservation, ValueMapObservation
from onnxcam.errors import MetricError
from onnxcam.targets.registry import Task

__all__ = [
    "OBSERVATIONS",
    "AnomalyObservation",
    "CaptionObservation",
    "ClassObservation",
    "DescriptionObservation",
    "DetectionObservation",
    "EmbeddingObservation",
    "HeatMapObservation",
    "ImageObservation",
    "KeypointObservation",
    "LanesObservation",
    "NumbersObservation",
    "Observation",
    "SegmentationObservation",
    "TensorsObservation",
    "TextObservation",
    "ValueMapObservation",
    "observation_of",
    "prediction_of",
]

OBSERVATIONS: tuple[Observation, ...] = (
    ClassObservation(),
    DetectionObservation(),
    SegmentationObservation(),
    TextObservation(),
    CaptionObservation(),
    DescriptionObservation(),
    EmbeddingObservation(),
    NumbersObservation(),
    KeypointObservation(),
    HeatMapObservation(),
    ValueMapObservation(),
    AnomalyObservation(),
    ImageObservation(),
    LanesObservation(),
    TensorsObservation(),
)
"""The observation of each task that can be compared."""


def observation_of(task: Task, model: str) -> Observation:
    """Return how models of *task* are observed; MetricError, with the name of the *model*, if they cannot be."""
    for one in OBSERVATIONS:
        if isinstance(task, one.task):
            return one
    known = ", ".join(dict.fromkeys(one.prediction.task for one in OBSERVATIONS))
    raise MetricError(
        f"only models of these tasks can be compared: {known}; {model} is {task.name}: compare the maps of "
        "`onnxcam explain`, or cut the model so that it puts out class scores"
    )


def prediction_of(task: str) -> type[Prediction]:
    """Return the type of predictions for a *task* by its name; KeyError, with the names known, if there is none."""
    known = {one.prediction.task: one.prediction for one in OBSERVATIONS if one.prediction.forms}
    if task not in known:
        raise KeyError(", ".join(known))
    return known[task]
