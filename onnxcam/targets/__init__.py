"""Targets: the scalar to explain. A target is data, resolved for an image by one of the model's tasks."""

from onnxcam.targets.aim import Aim, ClassAim
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.kinds import Target, Top
from onnxcam.targets.parser import parse
from onnxcam.targets.recognition import find_tasks, resolve
from onnxcam.targets.registry import (
    KINDS,
    TASK_TYPES,
    KindEntry,
    TargetKind,
    Task,
    register_kind,
    register_task,
    resolves,
)
from onnxcam.targets.scores import TOP, Scores, find_scores, probability

__all__ = [
    "KINDS",
    "TASK_TYPES",
    "TOP",
    "Aim",
    "ClassAim",
    "Evidence",
    "Goal",
    "KindEntry",
    "Look",
    "Scores",
    "Target",
    "TargetKind",
    "Task",
    "Top",
    "find_scores",
    "find_tasks",
    "parse",
    "probability",
    "register_kind",
    "register_task",
    "resolve",
    "resolves",
]
