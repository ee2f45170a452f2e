"""Detection: find the tensors that hold boxes and scores. There is one rule per layout; the first that fits decides.

1. `_suppressed`: the inputs of NonMaxSuppression, [N, C, B] and [N, B, 4].
2. `_table`, `_final`: the outputs of a graph that suppresses or sorts by itself.
3. `_pair`: scores [N, B, C] beside boxes [N, B, 4].
4. `_yolo`: boxes and scores in one tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from onnxcam.graph.infer import no_numbers
from onnxcam.graph.operators import Trait, operators
from onnxcam.structure.layout import GridLayout
from onnxcam.targets.detection_decoders import Decoder, ScoresAndBoxes, Suppressed, SuppressedTable, Yolo

__all__ = ["Length", "find_decoder"]

Length: TypeAlias = "int | None"  # None: open

_COCO = 80
_PYTORCH = ("main_graph", "torch_jit", "torch-jit-export")  # what its exporters call a graph
_SELECTS = ("NonMaxSuppression", "TopK")
_SHAPES = operators(Trait.COPIES | Trait.RESHAPES | Trait.CUTS | Trait.QUANTISES)
_SHAPES |= {"Transpose", "Concat", "QLinearConcat", "ScatterND"}


@dataclass(frozen=True)
class _Clues:
    """The graph and the known facts about it, as the rules see them."""

    graph: ir.Graph
    size: tuple[Length, ...]  # (height, width) of the image's tensor
    labels: int | None  # the number of class names
    known: bool  # the card says that the model is a detector

    def outputs(self, rank: int) -> list[ir.Value]:
        """Return the outputs of *rank* axes."""
        numbers = (y for y in self.graph.outputs if no_numbers(y) is None)
        return [y for y in numbers if y.shape is not None and len(y.shape) == rank]

    @property
    def selects(self) -> bool:
        """Return whether the graph suppresses or sorts candidates by itself."""
        return any(node.op_type in _SELECTS for node in self.graph.all_nodes())

    @property
    def y_first(self) -> bool:
        """Return whether boxes are y, x, as in TensorFlow and ONNX; PyTorch's are x, y, even if ONNX expects y, x."""
        noted = any("pkg.torch.onnx" in key for node in self.graph for key in node.metadata_props)
        return not noted and self.graph.name not in _PYTORCH


def find_decoder(
    graph: ir.Graph, layout: GridLayout, image: ir.Value, labels: int | None, known: bool
) -> Decoder | None:
    """Return the decoder for the detections of *graph*; None if it does not look like a detector.

    *labels* is the number of class names; *known*: the card says that the model is a detector.
    """
    size = tuple(length if isinstance(length, int) else None for length in layout.size(image))
    clues = _Clues(graph, size, labels, known)
    rules = (_suppressed, _table, _final, _pair, _yolo)
    return next((decoder for rule in rules if (decoder := rule(clues)) is not None), None)


def _suppressed(clues: _Clues) -> Decoder | None:
    """Boxes and scores, as inputs of NonMaxSuppression.

    Not if the node takes a single class: its inputs may have been rearranged for it, one class after another or, as in
    torchvision, with the boxes of each class shifted.
    """
    for node in clues.graph:
        if node.op_type != "NonMaxSuppression" or node.inputs[0] is None or node.inputs[1] is None:
            continue
        boxes, scores = node.inputs[0], node.inputs[1]
        if len(_dims(scores)) == 3 and _dims(scores)[1] != 1:
            centred = bool(node.attributes.get_int("center_point_box", 0))
            y_first = clues.y_first and not centred
            return ScoresAndBoxes(_name(scores), _name(boxes), True, y_first, centred, labels=clues.labels)
    return None


def _table(clues: _Clues) -> Decoder | None:
    """The only output is [N, K, 6]: x1, y1, x2, y2, score, class."""
    outputs = clues.outputs(3)
    if len(clues.graph.outputs) == 1 and outputs and _dims(outputs[0])[2] == 6 and clues.selects:
        return SuppressedTable(_name(outputs[0]))
    return None


def _final(clues: _Clues) -> Decoder | None:
    """Boxes [N, K, 4] beside scores and classes [N, K]; or [K, 4], [K] and [K]."""
    if not clues.selects:
        return None
    for rank, batch in ((3, 0), (2, None)):
        for boxes in clues.outputs(rank):
            rows = [y for y in clues.outputs(rank - 1) if _alike(_dims(y)[-1], _dims(boxes)[-2])]
            found = _scores_and_classes(rows) if _dims(boxes)[-1] == 4 else None
            if found is not None:
                scores, classes = found
                return Suppressed(_name(boxes), _name(scores), _name(classes), batch == 0 and clues.y_first, batch)
    return None


def _scores_and_classes(rows: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value] | None:
    """Tell scores from classes by name; else classes are the integers; else they come first, as in TFLite."""
    floats = [y for y in rows if _is_float(y)]
    scores = _named(floats, "score", "conf")
    rest = [y for y in rows if y is not scores]
    classes = _named(rest, "class", "label") or next((y for y in rest if not _is_float(y)), None)
    if scores is None and classes is None and len(floats) > 1:
        classes, scores = floats[:2]
    scores = scores or next((y for y in floats if y is not classes), None)
    classes = classes or next((y for y in rest if y is not scores), None)
    return (scores, classes) if scores is not None and classes is not None else None


def _pair(clues: _Clues) -> Decoder | None:
    """Scores and boxes of equally many candidates; not a detector with such a pair for each of several grids.

    Boxes are found by name, else by having 4 columns; scores by name, else by being first.
    """
    values = clues.outputs(3)
    four = [y for y in values if _dims(y)[2] == 4]
    boxes = [y for y in four if _named([y], "box", "loc")] or four
    pairs = [(scores, one) for one in boxes for scores in _beside(one, values, boxes)]
    if not pairs or len({_dims(one)[1] for _, one in pairs}) > 1:
        return None
    one = pairs[0][1]
    beside = [scores for scores, other in pairs if other is one]
    scores = _named(beside, "logit", "score", "class", "cls", "conf") or beside[0]
    centred = True if "pred_boxes" in _name(one) else None  # DETR and its kin
    return ScoresAndBoxes(
        _name(scores), _name(one), centred=centred, exclusive=_is_exclusive(scores, clues), labels=clues.labels
    )


def _beside(one: ir.Value, values: Sequence[ir.Value], boxes: Sequence[ir.Value]) -> Iterator[ir.Value]:
    return (y for y in values if y not in boxes and _alike(_dims(one)[1], _dims(y)[1]))


def _is_exclusive(scores: ir.Value, clues: _Clues) -> bool:
    """Return whether one class must be "no object": after softmax, or with one class more than names."""
    node, count = scores.producer(), _dims(scores)[2]
    return (node is not None and node.op_type == "Softmax") or (count is not None and clues.labels == count - 1)


def _yolo(clues: _Clues) -> Decoder | None:
    """One tensor of boxes and scores, whose candidates match the image's cells, or whose columns match the names.

    The scores must come from a sigmoid, unless the card says that the model is a detector.
    """
    for y in clues.outputs(3):
        if not (clues.known or _has_sigmoid(y)):
            continue
        _, one, other = _dims(y)
        for last, columns, count in ((True, one, other), (False, other, one)):
            if columns is not None and _is_yolo(columns, count, clues):
                objectness = _has_objectness(columns, count, last, clues)
                return Yolo(_name(y), last, objectness, clues.labels)
    return None


def _is_yolo(columns: int, count: Length, clues: _Clues) -> bool:
    if columns < 4 + (clues.labels or 1):
        return False
    if count in _cells(clues.size, 1) | _cells(clues.size, 3):
        return True
    if clues.labels is not None and columns in (4 + clues.labels, 5 + clues.labels):
        return count != columns
    return clues.known and (count is None or count > columns)


def _has_objectness(columns: int, count: Length, last: bool, clues: _Clues) -> bool:
    """Decide by the number of names, else by three boxes per cell (v5, v7), else by COCO's classes, else the layout."""
    if clues.labels is not None:
        return columns == 5 + clues.labels
    if count in _cells(clues.size, 3):
        return True
    return columns == 5 + _COCO if columns in (4 + _COCO, 5 + _COCO) else not last


def _cells(size: tuple[Length, ...], each: int) -> set[int]:
    """Return the possible numbers of candidates for an image of *size*: *each* per cell, strides 8, 16, 32 (and 64)."""
    numbers = [length for length in size if length is not None]
    if len(numbers) != 2:
        return set()
    height, width = numbers
    cells = [(height // stride) * (width // stride) for stride in (8, 16, 32, 64)]
    return {each * sum(cells[:count]) for count in (3, 4)} - {0}


def _has_sigmoid(y: ir.Value) -> bool:
    """Return whether a part of *y* is the output of a sigmoid, moved but not changed."""
    waiting, seen = [y], set()
    while waiting:
        node = waiting.pop().producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type in ("Sigmoid", "QLinearSigmoid"):
            return True
        if node.op_type in _SHAPES:
            waiting += [x for x in node.inputs if x is not None]
    return False


def _named(values: Sequence[ir.Value], *words: str) -> ir.Value | None:
    """Return the first of *values* whose name holds one of *words*."""
    return next((y for y in values if any(word in _name(y).lower() for word in words)), None)


def _name(y: ir.Value) -> str:
    return y.name or ""


def _is_float(y: ir.Value) -> bool:
    return y.dtype is not None and y.dtype.is_floating_point()


def _dims(y: ir.Value) -> list[Length]:
    return [dim if isinstance(dim, int) else None for dim in y.shape] if y.shape is not None else []


def _alike(one: Length, other: Length) -> bool:
    return one is None or other is None or one == other
