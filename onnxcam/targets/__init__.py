"""Which scalar is explained. Targets are data, not code: words, resolved for a picture by the model's task."""

from onnxcam.targets.aim import Aim, ClassAim
from onnxcam.targets.kinds import Target, Top
from onnxcam.targets.parser import parse
from onnxcam.targets.scores import TOP, Scores, find_scores, probability
from onnxcam.targets.task import Goal, Look, Task
from onnxcam.targets.tasks import find_tasks, resolve

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
