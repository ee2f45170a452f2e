"""Scores of all candidates beside their boxes: SSD, UltraFace, DETR, RetinaFace, MediaPipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.boxes import BoxConvention
from onnxcam.targets.detectors.candidates import Candidates, Decoder, aimer
from onnxcam.targets.detectors.clues import Clues, alike, dims, name, named
from onnxcam.targets.detectors.grid import GridConvention, plan
from onnxcam.targets.goal import Array
from onnxcam.targets.scores import sigmoid, softmax

__all__ = ["ScoresAndBoxes", "pair"]

_SCORES = ("logit", "score", "class", "cls", "conf")
_BOXES = ("box", "loc", "regress")
_ANY = BoxConvention(("xyxy", "cxcywh", "yxyx"))


@dataclass(frozen=True)
class ScoresAndBoxes:
    """Scores [N, B, C] and boxes [N, B, 4 …]: SSD, UltraFace, DETR; before NonMaxSuppression scores [N, C, B].

    One class, SSD's first or DETR's last, may be "no object" (*exclusive*); then scores pass through softmax, else
    through sigmoid. It is none of the *labels*, unless there are as many labels as scores.
    """

    scores: str
    boxes: str
    classes_first: bool = False
    convention: BoxConvention | GridConvention = _ANY
    exclusive: bool = False  # False: decided by the scores
    labels: int | None = None
    background_last: bool = False  # "no object" is the last class, if there is one
    source: str = "shapes"

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return scores and boxes."""
        return self.scores, self.boxes

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return WeightsAim(self.scores)

    def parts(self) -> Iterator[Part]:
        """Yield boxes and scores."""
        yield Part("scores", repr(self.scores), self.source)
        yield self.convention.part(self.boxes)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode both. Scores that are not probabilities pass through softmax or sigmoid."""
        raw, boxes = tensors[0][0].astype(np.float64), tensors[1][0].astype(np.float64)
        raw = raw[:, None] if raw.ndim == 1 else raw
        found = raw.T if self.classes_first else raw
        columns = np.arange(found.shape[1])
        none = _no_object(found, [-1] if self.background_last else [0, -1], self.exclusive)
        scores = _probabilities(found, exclusive=none is not None)
        if none is not None:
            scores[:, none] = 0
            if self.labels == len(columns) - 1:
                columns = np.delete(columns, none)

        def place(candidate: int, category: int) -> dict[tuple[int, ...], float]:
            column = int(columns[category])
            index = (column, candidate) if self.classes_first else (candidate, column)
            return {index[: tensors[0].ndim - 1]: 1.0}

        corners = self.convention.corners(boxes.reshape(-1, boxes.shape[-1])[:, :4], size)
        cells = self.convention.cells(len(corners), size) if isinstance(self.convention, GridConvention) else None
        return Candidates(corners, scores[:, columns], aimer(self.aim, tensors[0][0].shape, place), cells=cells)


def _no_object(scores: Array, places: Sequence[int], certain: bool) -> int | None:
    """Return the class of *scores* [B, C] that means "no object": the one of *places* that is best more often.

    Unless *certain*, it must be best and likely for most candidates, since an image has fewer objects than candidates.
    Scores of independent classes are all unlikely for most candidates (below 0 before sigmoid).
    """
    best, count = scores.argmax(axis=1), scores.shape[1]
    likely = scores.max(axis=1) > (0.5 if _are_probabilities(scores) else 0)
    shares = {place % count: float(((best == place % count) & (likely | certain)).mean()) for place in places}
    place = max(shares, key=lambda place: shares[place])
    return place if count > 1 and (certain or shares[place] > 0.5) else None


def _are_probabilities(scores: Array) -> bool:
    return bool(scores.min(initial=0) >= 0 and scores.max(initial=0) <= 1)


def _probabilities(scores: Array, exclusive: bool) -> Array:
    if _are_probabilities(scores):
        return scores.copy()
    return softmax(scores) if exclusive else sigmoid(scores)


def pair(clues: Clues) -> Decoder | None:
    """Scores and boxes of equally many candidates; not a detector with such a pair for each of several grids.

    Boxes are found by name, else by having 4 columns; scores by name, else by being first.
    """
    values = clues.outputs(3)
    four = [y for y in clues.tables(3) if dims(y)[2] == 4] or _with_keypoints(clues)
    boxes = [y for y in four if named([y], *_BOXES)] or four
    pairs = [(scores, one) for one in boxes for scores in _beside(one, values, boxes)]
    if not pairs or len({dims(one)[1] for _, one in pairs}) > 1:
        return None
    one = pairs[0][1]
    beside = [scores for scores, other in pairs if other is one]
    scores = clues.scores if clues.scores in beside else named(beside, *_SCORES) or beside[0]
    if scores is None:
        return None
    queries = "pred_boxes" in name(one)  # DETR and its kin
    return ScoresAndBoxes(
        name(scores),
        name(one),
        convention=_convention(one, queries, clues),
        exclusive=_is_exclusive(scores, clues),
        labels=clues.labels,
        background_last=queries,
        source="names" if named([scores], *_SCORES) else "shapes",
    )


def _with_keypoints(clues: Clues) -> list[ir.Value]:
    """Return the outputs [N, B, 4 + 2 K] beside scores [N, B, 1]: a box and keypoints in one row, as in MediaPipe."""
    wide = [y for y in clues.tables(3) if (columns := dims(y)[2]) is not None and columns > 4 and columns % 2 == 0]
    return [y for y in wide if any(dims(x)[1:] == [dims(y)[1], 1] for x in clues.outputs(3))]


def _beside(one: ir.Value, values: Sequence[ir.Value], boxes: Sequence[ir.Value]) -> Iterator[ir.Value]:
    wide = dims(one)[2] != 4
    return (y for y in values if y not in boxes and alike(dims(one)[1], dims(y)[1]) and (dims(y)[2] == 1 or not wide))


def _convention(one: ir.Value, queries: bool, clues: Clues) -> BoxConvention | GridConvention:
    samples = [table[:, :4] for table in clues.samples(one)]
    if dims(one)[2] != 4 and samples and plan(len(samples[0]), clues.probe) is not None:
        return GridConvention("pixels", source="guess")
    if queries:
        return clues.convention(BoxConvention(("cxcywh",), source="names", sorted=False), samples)
    return clues.convention(_ANY, samples)


def _is_exclusive(scores: ir.Value, clues: Clues) -> bool:
    """Return whether one class must be "no object": after softmax, or with one class more than names."""
    node, count = scores.producer(), dims(scores)[2]
    return (node is not None and node.op_type == "Softmax") or (count is not None and clues.labels == count - 1)
