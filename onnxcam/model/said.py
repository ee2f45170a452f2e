"""Check that a model can use what the user says of it: letters of a text recogniser, boxes of a detector."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from onnxcam.errors import ModelError
from onnxcam.targets.detection import Detections
from onnxcam.targets.registry import Task
from onnxcam.targets.text_recognition import TextRecognition

__all__ = ["check_said"]

_OWNERS: Mapping[str, tuple[type[Task], str, str]] = {
    "letters": (TextRecognition, "letters (--letters) are those of a text recogniser", "text"),
    "boxes": (Detections, "boxes_output (--boxes-output) is for detectors", "detection"),
}


def check_said(said: Collection[str], tasks: Sequence[Task]) -> None:
    """Raise ModelError if the user *said* something that a model of *tasks*, the likeliest first, cannot use."""
    for option, (owner, words, task) in _OWNERS.items():
        if option in said and not any(isinstance(one, owner) for one in tasks):
            raise ModelError(
                f"{words}, and the model is read as {tasks[0].name}: leave it out, or give task (--task) {task}"
            )
