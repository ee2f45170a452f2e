"""What a model's outputs alone tell: detectors whose candidates are inside the graph have outputs after suppression."""

from __future__ import annotations

from dataclasses import replace

from onnxcam.errors import TargetError
from onnxcam.model.description import ModelDescription
from onnxcam.targets import Goal, Look, TargetKind, Task, resolve
from onnxcam.targets.detection import Detections
from onnxcam.targets.detectors.clues import Clues
from onnxcam.targets.detectors.layouts import LAYOUTS
from onnxcam.targets.evidence import Evidence

__all__ = ["resolved_by_outputs", "task_of_outputs"]


def task_of_outputs(network: ModelDescription) -> Detections | None:
    """Return the detector as its outputs show it, where the candidates are inside the graph; None for other models."""
    task, layout = network.task, network.layout
    if not isinstance(task, Detections) or layout is None or set(task.decoder.tensors) <= set(network.outputs):
        return None
    prepared = network.open()
    look = network.look(network.probe_feeds()[network.picture], None, {})
    evidence = Evidence(prepared.model.graph, prepared.image, network.names, lambda: [look.outputs])
    clues = Clues.of(evidence, layout, len(task.labels) if task.labels else None, True)
    found = (one for rule in LAYOUTS if (one := rule(clues)) is not None)
    decoder = next((one for one in found if set(one.tensors) <= set(network.outputs)), None)
    return None if decoder is None else replace(task, decoder=decoder, inner=None)


def resolved_by_outputs(task: Task, network: ModelDescription, target: TargetKind | str, look: Look) -> Goal | None:
    """Return what *target* means by the outputs; None if they have no such object."""
    try:
        return resolve([task, *network.tasks[1:]], target, network.class_names, look)
    except TargetError:
        return None
