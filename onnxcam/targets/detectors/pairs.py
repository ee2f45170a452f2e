"""Scores of all candidates beside their boxes: SSD, UltraFace, DETR, RetinaFace, MediaPipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.boxes import BoxConvention
from onnxcam.targets.detectors.candidates import Aimer, Candidates, Decoder, Element, looked_up
from onnxcam.targets.detectors.clues import Clues, Length, alike, dims, name, named
from onnxcam.targets.detectors.coordinates import BoxElements, box_part
from onnxcam.targets.detectors.grid import GridConvention, plan
from onnxcam.targets.goal import Array
from onnxcam.targets.scores import sigmoid, softmax

__all__ = ["ScoresAndBoxes", "pair"]

_SCORES = ("logit", "score", "class", "cls", "conf")
_BOXES = ("box", "loc", "regress")
_ANY = BoxConvention(("xyxy", "cxcywh", "yxyx", "xywh"))
_UNSORTED = BoxConvention(("xyxy", "cxcywh"), sorted=False)


@dataclass(frozen=True)
class ScoresAndBoxes:
    """Scores [N, B, C] and boxes [N, B, 4 …]: SSD, UltraFace, DETR; before NonMaxSuppression scores [N, C, B].

    Further axes of length 1 may stand between them, and the axis of images may be missing (not *batched*).

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
    sides_first: bool = False  # boxes [N, 4, B]
    batched: bool = True

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return scores and boxes."""
        return self.scores, self.boxes

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return WeightsAim(self.scores, 0 if self.batched else None)

    def parts(self) -> Iterator[Part]:
        """Yield boxes and scores."""
        yield Part("scores", repr(self.scores), self.source)
        yield self.convention.part(self.boxes)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode both. Scores that are not probabilities pass through softmax or sigmoid."""
        bare = [tensor[0] if self.batched else tensor for tensor in tensors]
        found, boxes = _rows(bare[0], self.classes_first), _rows(bare[1], self.sides_first)[:, :4]
        columns = np.arange(found.shape[1])
        none = _no_object(found, [-1] if self.background_last else [0, -1], self.exclusive)
        scores = _probabilities(found, exclusive=none is not None)
        if none is not None:
            scores[:, none] = 0
            if self.labels == len(columns) - 1:
                columns = np.delete(columns, none)

        def elements(candidate: Any, category: Any) -> list[Element]:
            column = looked_up(columns, category)
            flat = column * len(found) + candidate if self.classes_first else candidate * found.shape[1] + column
            return [Element(0, flat, 1.0)]

        corners = self.convention.corners(boxes, size)
        cells = self.convention.cells(len(corners), size) if isinstance(self.convention, GridConvention) else None
        return Candidates(corners, scores[:, columns], Aimer([(self.aim, bare[0].shape)], elements), cells=cells)

    def box(self, tensors: Sequence[Array], size: tuple[int, ...], candidate: int) -> BoxElements:
        """Return the first four columns of the candidate's row of boxes."""
        bare = tensors[1][0] if self.batched else tensors[1]
        places = _rows(np.arange(bare.size).reshape(bare.shape), self.sides_first)[candidate, :4]
        part = box_part(self.boxes, bare, places, 0 if self.batched else None)
        return BoxElements((part,), self.convention.decoded(_rows(bare, self.sides_first)[:, :4], size, candidate))


def _rows(table: Array, columns_first: bool) -> Array:
    """Return *table*, [B, …, C], [C, B] or [B], with a row for each candidate, [B, C]."""
    one = table.astype(np.float64)
    if one.ndim == 1:
        return one[:, None]
    return one.reshape(-1, one.shape[-1]).T if columns_first else one.reshape(-1, one.shape[-1])


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


@dataclass(frozen=True)
class _Table:
    """An output with a row for each candidate."""

    value: ir.Value
    count: Length
    width: Length
    columns_first: bool = False
    batched: bool = True

    def beside(self, other: _Table) -> bool:
        """Return whether *other* may have as many candidates."""
        return self.batched == other.batched and alike(self.count, other.count)


def pair(clues: Clues) -> Decoder | None:
    """Scores and boxes of equally many candidates; not a detector with such a pair for each of several grids.

    Boxes are found by name, else by having 4 columns; scores by name, else by being first.
    """
    tables = list(_tables(clues))
    four = [one for one in tables if one.width == 4 and _may_be_boxes(one, clues)] or _with_keypoints(tables, clues)
    boxes = [one for one in four if named([one.value], *_BOXES)] or four
    pairs = [(scores, one) for one in boxes for scores in _beside(one, tables, boxes)]
    if not pairs or len({one.count for _, one in pairs}) > 1:
        return None
    one = pairs[0][1]
    if one.columns_first and len(pairs) > 1 and not named([one.value], *_BOXES):
        return None  # a pyramid of tokens
    beside = {name(scores.value): scores for scores, other in pairs[::-1] if other is one}
    values = [scores.value for scores, other in pairs if other is one]
    chosen = clues.scores if clues.scores in values else named(values, *_SCORES) or values[0]
    if chosen is None:
        return None
    scores, queries = beside[name(chosen)], "pred_boxes" in name(one.value)  # DETR and its kin
    return ScoresAndBoxes(
        name(chosen),
        name(one.value),
        scores.columns_first,
        convention=_convention(one, queries, clues),
        exclusive=_is_exclusive(scores, clues),
        labels=clues.labels,
        background_last=queries,
        source="names" if named([chosen], *_SCORES) else "shapes",
        sides_first=one.columns_first,
        batched=one.batched,
    )


def _tables(clues: Clues) -> Iterator[_Table]:
    """Yield the outputs as tables; of two possible orders of axes that with more candidates than columns first."""
    for y in clues.outputs(3):
        _, one, other = dims(y)
        yield from (_Table(y, one, other), _Table(y, other, one, True))
    for y in clues.outputs(4):
        _, one, other, last = dims(y)
        if 1 in (one, other) and (one, other) != (1, 1):
            yield _Table(y, other if one == 1 else one, last)
    for y in clues.outputs(2):
        if clues.has_rows(y):
            yield _Table(y, dims(y)[0], dims(y)[1], batched=False)


def _may_be_boxes(one: _Table, clues: Clues) -> bool:
    """Return whether *one* may hold boxes: as the user says, and with more candidates than columns."""
    many = one.count is None or one.count > 4 or not one.columns_first
    return many and (clues.boxes is None or one.value is clues.boxes)


def _with_keypoints(tables: Sequence[_Table], clues: Clues) -> list[_Table]:
    """Return the tables [N, B, 4 + 2 K] beside scores [N, B, 1]: a box and keypoints in one row, as in MediaPipe."""
    wide = [one for one in tables if one.width is not None and one.width > 4 and one.width % 2 == 0]
    usual = [one for one in wide if not one.columns_first and _may_be_boxes(one, clues)]
    return [one for one in usual if any(other.width == 1 and other.count == one.count for other in tables)]


def _beside(one: _Table, tables: Sequence[_Table], boxes: Sequence[_Table]) -> Iterator[_Table]:
    """Yield the tables that may hold the scores of *one*, those of a length that is sure first."""
    taken = [other.value for other in boxes]
    found = [other for other in tables if other.value not in taken and one.beside(other)]
    if one.width != 4:
        found = [other for other in found if other.width in (1, 2)]
    yield from sorted(found, key=lambda other: other.count != one.count)


def _convention(one: _Table, queries: bool, clues: Clues) -> BoxConvention | GridConvention:
    samples = [_rows(table, one.columns_first)[:, :4] for table in clues.samples(one.value)]
    if one.width != 4 and one.batched and samples and plan(len(samples[0]), clues.probe) is not None:
        return GridConvention("pixels", source="guess")
    if queries:
        return clues.convention(BoxConvention(("cxcywh",), source="names", sorted=False), samples)
    return clues.convention(_ANY if one.batched else _UNSORTED, samples)


def _is_exclusive(scores: _Table, clues: Clues) -> bool:
    """Return whether one class must be "no object": after softmax, or with one class more than names."""
    node, count = scores.value.producer(), scores.width
    return (node is not None and node.op_type == "Softmax") or (count is not None and clues.labels == count - 1)
