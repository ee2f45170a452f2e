"""Find the tasks of a model by its card or its outputs, and resolve a target by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from onnxcam.errors import OnnxcamError, TargetError
from onnxcam.graph.io import all_tensors
from onnxcam.targets.bins import Bins
from onnxcam.targets.captioning import Captions
from onnxcam.targets.classification import Classes
from onnxcam.targets.descriptions import Descriptions
from onnxcam.targets.detection import Detections
from onnxcam.targets.embedding import Embedding
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.image_to_image import ImageToImage
from onnxcam.targets.interest_points import InterestPoints
from onnxcam.targets.keypoints import Keypoints
from onnxcam.targets.kinds import Class, ClassRegion, Target, Top
from onnxcam.targets.lanes import Lanes
from onnxcam.targets.parser import parse
from onnxcam.targets.query_masks import QueryMasks
from onnxcam.targets.registry import TASK_TYPES, TargetKind, Task, register_task
from onnxcam.targets.regression import Regression
from onnxcam.targets.segmentation import Segmentation
from onnxcam.targets.tensors import Tensors
from onnxcam.targets.text_recognition import TextRecognition
from onnxcam.targets.value_maps import Anomaly, Depth, ValueMap, VectorMap
from onnxcam.text import first_line

__all__ = ["find_tasks", "resolve"]

for _task in (
    Descriptions,
    InterestPoints,
    Detections,
    Captions,
    Anomaly,
    Keypoints,
    QueryMasks,
    Depth,
    Bins,
    Embedding,
    TextRecognition,
    Classes,
    ValueMap,
    VectorMap,
    Lanes,
    Segmentation,
    ImageToImage,
    Regression,
):
    register_task(_task)


def find_tasks(evidence: Evidence) -> list[Task]:
    """Return the tasks of the model. The first one resolves the default target; the last one is `Tensors`.

    TargetError where the user names a task that no output fits.
    """
    graph, card = evidence.graph, evidence.card.task
    said = [task for task in TASK_TYPES if card in task.cards]
    found = list(islice((one for task in said or TASK_TYPES for one in task.find(evidence, bool(said))), 1))
    if said and not found and evidence.names.source("task") == "user":
        shown = Tensors.of(graph, {y.name or "": y for y in graph.outputs}).shown
        raise TargetError(f"the model has no outputs for the task {card!r}: {shown}; leave out task= (--task)")
    if not found or isinstance(found[0], Classes):
        found += Embedding.find(evidence, True)
    elif isinstance(found[0], Embedding) and found[0].has_texts:
        found += Classes.find(evidence, False)  # logits_per_image: a class for each text
    return [*found, Tensors.of(graph, {**all_tensors(graph), **{y.name or "": y for y in graph.outputs}})]


def resolve(tasks: Sequence[Task], target: Target, labels: Sequence[str] | None, look: Look) -> Goal:
    """Return *target* resolved for the image of *look* by the first of *tasks* that takes it; else TargetError."""
    wanted = parse(target, labels)
    if isinstance(wanted, ClassRegion) and wanted.mask is None and not any(ClassRegion in task.kinds for task in tasks):
        wanted = Class(wanted.label if wanted.label is not None else "top")  # class=3 of a model without regions
    for task in tasks:
        if type(wanted) in task.kinds:
            return _goal(task, wanted, look, tasks[-1].examples)
    found = [(task, words) for task, words in _offers(tasks, labels, look) if words]
    found = found or [(task, task.suggested) for task in tasks]  # the model does not run without further inputs
    offers = "; ".join(f"as {task.name} {', '.join(words)}" for task, words in found)
    if isinstance(wanted, Top):
        shown = next(task.shown for task in tasks if isinstance(task, Tensors))
        raise TargetError(
            f"no output of the model is a vector of class scores: {shown}; nor is it a detector, a segmentation or "
            f"another model with a default target (docs/targets.md): name what to explain, {offers}"
        )
    raise TargetError(f"target {str(target)!r} does not apply to {tasks[0].name}; what does: {offers}")


def _offers(tasks: Sequence[Task], labels: Sequence[str] | None, look: Look) -> Iterator[tuple[Task, list[str]]]:
    """Yield each task with targets that mean something for the image of *look*; those that need a file are not tried.

    The default target stands first, in the words that mean it again.
    """
    taken: set[type[TargetKind]] = set()
    for task in tasks:
        own = [(words, type(parse(words, labels))) for words in ("top", *task.suggested)]
        tried = [
            words if "FILE" in words else _meant(task, words, labels, look) for words, kind in own if kind not in taken
        ]
        yield task, list(dict.fromkeys(words for words in tried if words is not None))
        taken.update(task.kinds)


def _meant(task: Task, words: str, labels: Sequence[str] | None, look: Look) -> str | None:
    """Return *words*, for the default target those that mean it again; None where they mean nothing."""
    target = parse(words, labels)
    if type(target) not in task.kinds:
        return None
    try:
        goal = task.goal(target, look)
    except (OnnxcamError, IndexError, KeyError, TypeError, ValueError):
        return None
    return goal.words if isinstance(target, Top) else words


def _goal(task: Task, target: TargetKind, look: Look, elements: str) -> Goal:
    try:
        return task.goal(target, look)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise TargetError(
            f"the model was taken for {task.name}, and its outputs are not those of one ({first_line(error)}); "
            f"name an element of an output, such as {elements}"
        ) from error
