"""Graphs with their own non-maximum suppression: its inputs, and boxes, scores and classes that it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.boxes import BoxConvention
from onnxcam.targets.detectors.candidates import Aimer, Candidates, Decoder, Element, one_hot, unit_of
from onnxcam.targets.detectors.clues import Clues, alike, dims, is_float, name, named, scale_of
from onnxcam.targets.detectors.coordinates import BoxElements, box_part
from onnxcam.targets.detectors.pairs import ScoresAndBoxes
from onnxcam.targets.goal import Array

__all__ = ["Suppressed", "kept", "suppression"]

_UNSORTED = BoxConvention(("xyxy", "cxcywh"), sorted=False)


@dataclass(frozen=True)
class Suppressed:
    """The output of a graph with its own non-maximum suppression: boxes [N, K, 4], scores [N, K], classes [N, K].

    The batch axis may be missing (*batch* None), and so may the classes (None: there is one class).
    """

    boxes: str
    scores: str
    classes: str | None
    convention: BoxConvention = _UNSORTED
    batch: int | None = 0
    source: str = "shapes"
    unit: float = 1  # the score of a certain detection: 1, or 100 for percent

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return boxes, scores and classes."""
        return self.boxes, self.scores, *([] if self.classes is None else [self.classes])

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return WeightsAim(self.scores, self.batch)

    def parts(self) -> Iterator[Part]:
        """Yield boxes and scores."""
        classes = "" if self.classes is None else f", classes in {self.classes!r}"
        yield Part("scores", f"{self.scores!r}{classes}", self.source)
        yield self.convention.part(self.boxes)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode them. Each box has one score, that of its class."""
        boxes, found, *rest = (tensor if self.batch is None else tensor[0] for tensor in tensors)
        flat = found.reshape(-1)
        classes = rest[0].reshape(-1) if rest else np.zeros_like(flat)
        corners = self.convention.corners(boxes.reshape(-1, 4), size)

        scores = one_hot(flat / self.unit, classes)
        aim = Aimer([(self.aim, found.shape)], lambda candidate, category: [Element(0, candidate, 1.0)])
        return Candidates(corners, scores, aim, complete=False)

    def box(self, tensors: Sequence[Array], size: tuple[int, ...], candidate: int) -> BoxElements:
        """Return the four numbers of the box."""
        bare = tensors[0] if self.batch is None else tensors[0][0]
        part = box_part(self.boxes, bare, range(4 * candidate, 4 * candidate + 4), self.batch)
        return BoxElements((part,), self.convention.decoded(bare.reshape(-1, 4), size, candidate))


def suppression(clues: Clues) -> Decoder | None:
    """Boxes and scores, as inputs of NonMaxSuppression.

    Not if the node takes a single class: its inputs may have been rearranged for it, one class after another or, as in
    torchvision, with the boxes of each class shifted.
    """
    for node in clues.graph:
        if node.op_type != "NonMaxSuppression" or node.inputs[0] is None or node.inputs[1] is None:
            continue
        boxes, scores = node.inputs[0], node.inputs[1]
        if len(dims(scores)) == 3 and dims(scores)[1] != 1:
            return ScoresAndBoxes(
                name(scores), name(boxes), True, _taken(node, clues), labels=clues.labels, source="graph"
            )
    return None


def _taken(node: ir.Node, clues: Clues) -> BoxConvention:
    """Return the convention of the boxes that *node* takes; the numbers decide which of two axes is first."""
    if node.attributes.get_int("center_point_box", 0):
        return BoxConvention(("cxcywh",), source="graph")
    return BoxConvention(("yxyx", "xyxy") if clues.y_first else ("xyxy", "yxyx"), any_corner=True)


def kept(clues: Clues) -> Decoder | None:
    """Boxes [N, K, 4] beside scores and classes [N, K]; or [K, 4], [K] and [K]."""
    if not clues.selects:
        return None
    for rank, batch in ((3, 0), (2, None)):
        for boxes in clues.tables(rank):
            rows = [y for y in clues.outputs(rank - 1) if alike(dims(y)[-1], dims(boxes)[-2])]
            found = _scores_and_classes(rows, clues) if dims(boxes)[-1] == 4 else None
            if found is not None:
                scores, classes = found
                source = "names" if named([scores], "score", "conf") else "shapes"
                convention = _put_out(boxes, batch == 0 and clues.suppresses, clues)
                return Suppressed(
                    name(boxes),
                    name(scores),
                    None if classes is None else name(classes),
                    convention,
                    batch,
                    source,
                    unit_of(clues.samples(scores)),
                )
    return None


def _put_out(boxes: ir.Value, batched: bool, clues: Clues) -> BoxConvention:
    y_first = batched and clues.y_first
    source = "names" if named([boxes], "xyxy", "yxyx", "x1y1", "y1x1") else "shapes"
    if source == "names":
        y_first = named([boxes], "yxyx", "y1x1") is not None
    forms = ("yxyx",) if y_first else _UNSORTED.forms
    return clues.convention(BoxConvention(forms, source=source, sorted=False), clues.samples(boxes))


def _scores_and_classes(rows: Sequence[ir.Value], clues: Clues) -> tuple[ir.Value, ir.Value | None] | None:
    """Tell scores from classes by name; else classes are whole numbers; else they come first, as in TFLite."""
    floats = [y for y in rows if is_float(y) or scale_of(y) is not None]
    scores = named(floats, "score", "conf")
    rest = [y for y in rows if y is not scores]
    classes = named(rest, "class", "label") or next((y for y in rest if y not in floats), None)
    if scores is None and classes is None and len(floats) > 1:
        scores = next((y for y in floats if _are_probabilities(y, clues)), None)
        if scores is None or scores not in floats[:2]:
            classes, scores = floats[:2]
    scores = scores or next((y for y in floats if y is not classes), None)
    classes = classes or next((y for y in rest if y is not scores), None)
    alone = classes is None and named(rows, "score", "conf") is scores  # a detector of one class
    return (scores, classes) if scores is not None and (classes is not None or alone) else None


def _are_probabilities(y: ir.Value, clues: Clues) -> bool:
    """Return whether a run shows numbers from 0 to 1 in *y*, and others than these two."""
    values = np.concatenate([np.zeros(0), *(value.reshape(-1) for value in clues.samples(y))])
    return bool(((values >= 0) & (values <= 1)).all() and ((values > 0) & (values < 1)).any())
