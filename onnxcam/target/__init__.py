"""Which scalar is explained. Targets are data, not code: words, resolved for a picture by the model's task."""

from onnxcam.target.aim import Aim, ClassAim
from onnxcam.target.scores import TOP, Scores, find_scores, probability
from onnxcam.target.task import Goal, Look, Task
from onnxcam.target.tasks import find_tasks, resolve
from onnxcam.target.words import Target, Top, parse

__all__ = [
    "TOP",
    "Aim",
    "ClassAim",
    "Goal",
    "Look",
    "Scores",
    "Target",
    "Task",
    "Top",
    "find_scores",
    "find_tasks",
    "parse",
    "probability",
    "resolve",
]
