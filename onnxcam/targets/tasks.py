"""Which tasks a model does: what its card says, or what its outputs look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.errors import TargetError
from onnxcam.graph.infer import no_numbers
from onnxcam.graph.io import all_tensors, first_line
from onnxcam.metadata.labels import Names
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.structure.propagate import layouts
from onnxcam.targets.captions import Captions
from onnxcam.targets.classes import Classes
from onnxcam.targets.dense import Pictures, Segmentation
from onnxcam.targets.detection import Detections
from onnxcam.targets.detectors import find_head
from onnxcam.targets.embedding import Embedding
from onnxcam.targets.kinds import Class, Region, Target, Top, Wish
from onnxcam.targets.parser import parse
from onnxcam.targets.scores import find_scores, of_pictures
from onnxcam.targets.task import Goal, Look, Task
from onnxcam.targets.tensors import Tensors
from onnxcam.targets.text_recognition import Reading

_COARSEST = 8  # a segmentation has at least a cell for so many pixels along an axis


def find_tasks(graph: ir.Graph, image: ir.Value, names: Names) -> list[Task]:
    """Return what the model does, the first is meant where a target says nothing; the last is `Tensors`."""
    card = names.card
    finders = {
        "detection": _detections,
        "caption": _captions,
        "embedding": _embedding,
        "classes": _classes,
        "text": _reading,
        "segmentation": _segmentation,
        "image": _pictures,
    }
    first = card.task if card.task in finders else "classes" if card.task is not None else None
    order = [first] if first else list(finders)
    every = (task for name in order for task in finders[name](graph, image, names, first is not None))
    found = list(islice(every, 1))
    if not found or isinstance(found[0], Classes):
        found += list(_embedding(graph, image, names, True))
    return [*found, Tensors.of(graph, {**all_tensors(graph), **{y.name or "": y for y in graph.outputs}})]


def resolve(tasks: Sequence[Task], target: Target, labels: Sequence[str] | None, look: Look) -> Goal:
    """Return what *target* means for the picture of *look*; TargetError where no task takes it."""
    wish = parse(target, labels)
    if isinstance(wish, Region) and wish.mask is None and not any(Region in task.wishes for task in tasks):
        wish = Class(wish.label if wish.label is not None else "top")  # class=3 where classes have no regions
    for task in tasks:
        if isinstance(wish, task.wishes):
            return _goal(task, wish, look, tasks[-1].examples)
    offers = "; ".join(f"as {task.name} {task.examples}" for task in tasks)
    if isinstance(wish, Top):
        shown = next(task.shown for task in tasks if isinstance(task, Tensors))
        raise TargetError(
            f"no output of the model is a vector of class scores: {shown}; nor is it a detector, a segmentation or "
            f"another model whose target is plain (docs/targets.md): name what to explain, {offers}"
        )
    raise TargetError(f"target {str(target)!r} does not apply to {tasks[0].name}; what does: {offers}")


def _goal(task: Task, wish: Wish, look: Look, elements: str) -> Goal:
    try:
        return task.goal(wish, look)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise TargetError(
            f"the model was taken for {task.name}, and its outputs are not those of one ({first_line(error)}); "
            f"name an element of an output, such as {elements}"
        ) from error


Tasks = Iterator[Task]


def _classes(graph: ir.Graph, image: ir.Value, names: Names, known: bool) -> Tasks:
    try:
        scores = find_scores(graph)
    except TargetError:
        return
    yield Classes(scores, names.of(scores.classes))


def _detections(graph: ir.Graph, image: ir.Value, names: Names, known: bool) -> Tasks:
    layout = picture_layout(image)
    if layout is None or len(layout.space) != 2:
        return
    labels = names.of(None)
    head = find_head(graph, layout, image, len(labels) if labels else None, known)
    if head is not None:
        yield Detections(head, labels)


def _embedding(graph: ir.Graph, image: ir.Value, names: Names, known: bool) -> Tasks:
    for y in _tensors(graph, 2):
        if (
            (known or _is_unit(y))
            and of_pictures(y, graph)
            and isinstance(_length(y, 1), int)
            and y.dtype is not None
            and y.dtype.is_floating_point()
        ):
            yield Embedding(y.name or "")
            return


def _captions(graph: ir.Graph, image: ir.Value, names: Names, known: bool) -> Tasks:
    words = next((x for x in graph.inputs if x is not image and x.dtype is not None and x.dtype.is_integer()), None)
    for y in _tensors(graph, 3) if words is not None else ():
        labels = _labels(names, _length(y, 2), known)
        if words is not None and labels:
            length = _length(words, 1) if words.shape is not None and len(words.shape) == 2 else None
            vocabulary = names.card.vocabulary.get(words.name or "", labels)
            most = length if isinstance(length, int) else None
            yield Captions(y.name or "", words.name or "", labels, vocabulary, most)


def _reading(graph: ir.Graph, image: ir.Value, names: Names, known: bool) -> Tasks:
    for y in _tensors(graph, 3) if known or _is_recurrent(graph) else ():
        labels = _labels(names, _length(y, 2), known)
        if not labels:
            continue
        blank = next((i for i, letter in enumerate(labels) if letter in ("", "blank", "<blank>", "[blank]")), 0)
        batch = 1 if y.shape is not None and image.shape is not None and _is_batch(y.shape[1], image.shape[0]) else 0
        yield Reading(y.name or "", batch, labels, blank)


def _segmentation(graph: ir.Graph, image: ir.Value, names: Names, known: bool) -> Tasks:
    for y, layout, count in _grids(graph, image):
        if known or (count != _channels(image) and _fine(layout.size(y), image)):
            yield Segmentation(y.name or "", layout, count, names.of(count))


def _pictures(graph: ir.Graph, image: ir.Value, names: Names, known: bool) -> Tasks:
    for y, layout, count in _grids(graph, image):
        if (known or count == _channels(image)) and len(layout.space) == 2:
            yield Pictures(y.name or "", layout)


def _labels(names: Names, count: object, known: bool) -> Sequence[str] | None:
    """Return a name for each of *count*; where the task is but a guess, None if the user's names are not so many."""
    try:
        return names.of(count if isinstance(count, int) else None)
    except TargetError:
        if known:
            raise
        return None


def _grids(graph: ir.Graph, image: ir.Value) -> Iterator[tuple[ir.Value, GridLayout, int]]:
    """Yield the outputs that are grids over the picture, their layouts and numbers of channels."""
    own = picture_layout(image)
    if own is None:
        return
    known = layouts(graph, image, STANDARD)
    for y in _tensors(graph, own.rank):
        layout = known.get(y)
        layout = layout if isinstance(layout, GridLayout) and type(layout) is GridLayout else own
        count = _length(y, layout.channel)
        if isinstance(count, int) and y.dtype is not None and y.dtype != ir.DataType.BOOL:
            yield y, layout, count


def _fine(size: Sequence[object], image: ir.Value) -> bool:
    own = picture_layout(image)
    pairs = zip(size, own.size(image) if own is not None else (), strict=False)
    return all(a * _COARSEST >= b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def _channels(image: ir.Value) -> object:
    layout = picture_layout(image)
    return _length(image, layout.channel) if layout is not None else None


def _tensors(graph: ir.Graph, rank: int) -> list[ir.Value]:
    return [y for y in graph.outputs if no_numbers(y) is None and y.shape is not None and len(y.shape) == rank]


def _length(y: ir.Value, axis: int) -> object:
    return y.shape[axis] if y.shape is not None else None


def _is_batch(dim: object, batch: object) -> bool:
    return dim == 1 if isinstance(batch, int) else str(dim) == str(batch)


def _is_recurrent(graph: ir.Graph) -> bool:
    return any(node.op_type in ("LSTM", "GRU") for node in graph)


def _is_unit(y: ir.Value) -> bool:
    """Whether the graph divides *y* by its own length."""
    node = y.producer()
    if node is None or node.op_type not in ("Div", "LpNormalization"):
        return False
    below = node.inputs[1] if node.op_type == "Div" else None
    while below is not None and (maker := below.producer()) is not None:
        if maker.op_type in ("ReduceL2", "Sqrt"):
            return True
        if maker.op_type not in ("Clip", "Max", "Expand", "Reshape", "Unsqueeze", "Add"):
            return False
        below = maker.inputs[0]
    return node.op_type == "LpNormalization"
