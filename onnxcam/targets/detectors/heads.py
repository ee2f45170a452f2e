"""Decode heads at several strides: for each grid its own outputs of scores and boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.boxes import BoxConvention, nowhere
from onnxcam.targets.detectors.candidates import Aimer, Candidates, Element, Elements, looked_up
from onnxcam.targets.detectors.coordinates import BoxElements, box_part
from onnxcam.targets.detectors.grid import GridConvention
from onnxcam.targets.goal import Array
from onnxcam.targets.scores import sigmoid, softmax

__all__ = ["Heads", "StrideHead", "Tensor"]


@dataclass(frozen=True)
class Tensor:
    """Some columns of an output that is a grid or a list of candidates.

    Attributes:
        output: The output.
        channel: The axis of its columns, without the batch axis.
        columns: The columns; None for all.
        batched: The first axis is the batch.
        anchors_first: Of four axes, the one of anchors is the first; else it is the third.
    """

    output: str
    channel: int
    columns: slice | None = None
    batched: bool = True
    anchors_first: bool = True

    def places(self, shape: Sequence[int], anchors: int) -> Array:
        """Return for each candidate and column the flat index of the element in the output of *shape*, [B, K]."""
        return self.rows(np.arange(int(np.prod(shape))).reshape(shape), anchors)

    def rows(self, bare: Array, anchors: int) -> Array:
        """Return the columns of each candidate, [B, K], of *bare*, the output without the batch axis."""
        width = bare.shape[self.channel] // anchors if bare.ndim == 3 else bare.shape[self.channel]
        rows = np.moveaxis(bare, self.channel, -1)
        if bare.ndim == 4 and self.anchors_first:  # [A, h, w, K]
            rows = np.moveaxis(rows, 0, 2)
        rows = rows.reshape(-1, width)
        return rows if self.columns is None else rows[:, self.columns]


@dataclass(frozen=True)
class StrideHead:
    """The outputs of one grid.

    Attributes:
        stride: The stride of the grid, in pixels.
        anchors: The number of candidates in each cell.
        scores: The class scores.
        boxes: The boxes.
        objectness: The objectness; None for none.
        sizes: The sizes of the boxes, where *boxes* has their middles alone.
    """

    stride: int
    anchors: int
    scores: Tensor
    boxes: Tensor
    objectness: Tensor | None = None
    sizes: Tensor | None = None

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Return all that it has."""
        return tuple(one for one in (self.scores, self.boxes, self.objectness, self.sizes) if one is not None)

    @property
    def box_parts(self) -> tuple[Tensor, ...]:
        """Return what a box is decoded from."""
        return (self.boxes,) if self.sizes is None else (self.boxes, self.sizes)


@dataclass(frozen=True)
class Heads:
    """Scores and boxes for each of several grids.

    Attributes:
        heads: One for each grid.
        form: A form of `onnxcam.targets.detectors.grid`; None: offsets from anchors that the file does not hold.
        power: The powers of score and objectness in the probability.
        source: How the outputs are known.
        form_source: How the form is known.
        exclusive: A candidate has one class: scores pass through softmax.
    """

    heads: tuple[StrideHead, ...]
    form: str | None
    power: tuple[float, float] = (1, 1)
    source: str = "shapes"
    form_source: str = "guess"
    exclusive: bool = False

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return all outputs that hold something."""
        return tuple(dict.fromkeys(part.output for head in self.heads for part in head.parts))

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores of the middle grid."""
        return _aim(self.heads[len(self.heads) // 2].scores)

    def parts(self) -> Iterator[Part]:
        """Yield boxes and scores."""
        yield Part("scores", ", ".join(dict.fromkeys(repr(head.scores.output) for head in self.heads)), self.source)
        source = self.form_source
        convention = BoxConvention((), source=source) if self.form is None else GridConvention(self.form, source=source)
        yield convention.part(*dict.fromkeys(head.boxes.output for head in self.heads))

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode each grid."""
        given = dict(zip(self.tensors, tensors, strict=True))
        raw = [_values(head.scores, given, head.anchors) for head in self.heads]
        squash = any(_are_logits(values) for values in raw)
        parts = [self._of(head, one, squash, given, size) for head, one in zip(self.heads, raw, strict=True)]
        corners = np.concatenate([part.corners for part in parts])
        scores = np.concatenate([part.scores for part in parts])
        sure, cells = _joined([part.objectness for part in parts]), _joined([part.cells for part in parts])
        aim = _one_aim([part.aim for part in parts], list(map(len, raw)))
        return Candidates(corners, scores, aim, objectness=sure, cells=cells)

    def box(self, tensors: Sequence[Array], size: tuple[int, ...], candidate: int) -> BoxElements:
        """Return the columns of the box, and those of its size where they are another output."""
        given = dict(zip(self.tensors, tensors, strict=True))
        scores = [_values(head.scores, given, head.anchors) for head in self.heads]
        ends = list(accumulate(map(len, scores)))
        level = int(np.searchsorted(ends, candidate, side="right"))
        head, row = self.heads[level], candidate - (ends[level - 1] if level else 0)
        places = [part.places(_bare(part, given).shape, head.anchors)[row] for part in head.box_parts]
        boxes = _boxes(head, given)
        if self.form == "coverage":
            boxes = _of_best(boxes, scores[level])
            places = [_of_best(places[0][None], scores[level][row : row + 1])[0]]
        parts = [
            box_part(part.output, _bare(part, given), at, 0 if part.batched else None)
            for part, at in zip(head.box_parts, places, strict=True)
        ]
        convention = GridConvention(self.form or "", ((head.stride, head.anchors),))
        return BoxElements(tuple(parts), convention.decoded(boxes, size, row))

    def _of(
        self, head: StrideHead, raw: Array, squash: bool, given: dict[str, Array], size: tuple[int, ...]
    ) -> Candidates:
        scores = _squashed(raw, self.exclusive) if squash else raw
        certain = None if head.objectness is None else _values(head.objectness, given, head.anchors)
        boxes = _boxes(head, given)
        boxes = _of_best(boxes, scores) if self.form == "coverage" else boxes
        sure = None if certain is None else sigmoid(certain) if _are_logits(certain) else certain
        found = scores ** self.power[0]
        probable = found if sure is None else found * sure ** self.power[1]
        cells = GridConvention("", ((head.stride, head.anchors),)).cells(len(scores), size)
        one = None if sure is None else sure[:, 0]
        aim = Aimer([(_aim(head.scores), _bare(head.scores, given).shape)], _elements(head, given, scores, sure))
        return Candidates(self._corners(head, boxes, len(scores), size), probable, aim, objectness=one, cells=cells)

    def _corners(self, head: StrideHead, boxes: Array, count: int, size: tuple[int, ...]) -> Array:
        if self.form is None or len(boxes) != count:
            return nowhere(count)
        return GridConvention(self.form, ((head.stride, head.anchors),)).corners(boxes, size)


def _joined(parts: Sequence[Array | None]) -> Array | None:
    """Return the *parts* of all heads one after another; None where a head has none."""
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if len(given) == len(parts) else None


def _squashed(scores: Array, exclusive: bool) -> Array:
    return softmax(scores) if exclusive else sigmoid(scores)


def _elements(head: StrideHead, given: dict[str, Array], scores: Array, sure: Array | None) -> Elements:
    """Return the elements of a candidate of *head*: the score, or score and objectness of one tensor."""
    shape, objectness = _bare(head.scores, given).shape, head.objectness
    joined = objectness is not None and objectness.output == head.scores.output

    def elements(candidate: Any, category: Any) -> list[Element]:
        at = _place(head.scores.places(shape, head.anchors), candidate, category)
        if sure is None or objectness is None or not joined:
            return [Element(0, at, 1.0)]
        beside = _place(objectness.places(shape, head.anchors), candidate, 0)
        pair = sure[:, 0][candidate] / 2, scores[candidate, category] / 2
        return [Element(0, at, pair[0]), Element(0, beside, pair[1])]

    return elements


def _place(places: Array, candidate: Any, column: Any) -> Any:
    """Return the elements of *places* [B, K], whose columns are equally far apart."""
    step = int(places[0, 1] - places[0, 0]) if places.shape[1] > 1 else 0
    return looked_up(places[:, 0], candidate) + column * step


def _one_aim(aims: Sequence[Aimer], counts: Sequence[int]) -> Aimer:
    """Return the aimer of all grids, of *counts* candidates each."""

    def elements(candidate: Any, category: Any) -> list[Element]:
        found = []
        for level, (one, end) in enumerate(zip(aims, accumulate(counts), strict=True)):
            own, start = candidate - (end - counts[level]), end - counts[level]
            weight = np.where((candidate >= start) & (candidate < end), 1.0, 0.0)
            parts = one.elements(np.clip(own, 0, counts[level] - 1), category)
            found += [Element(level, part.index, part.weight * weight) for part in parts]
        return found

    return Aimer([tensor for one in aims for tensor in one.tensors], elements)


def _boxes(head: StrideHead, given: dict[str, Array]) -> Array:
    """Return the boxes [B, K] of *head*."""
    found = _values(head.boxes, given, head.anchors)
    return found if head.sizes is None else np.concatenate([found, _values(head.sizes, given, head.anchors)], axis=1)


def _of_best(boxes: Array, scores: Array) -> Array:
    """Return the boxes of the best classes, where *boxes* [B, 4 · C] has one for each class."""
    classes = scores.shape[1]
    found: Array = boxes.reshape(len(boxes), classes, 4)[np.arange(len(boxes)), scores.argmax(axis=1)]
    return found


def _aim(part: Tensor) -> WeightsAim:
    return WeightsAim(part.output, 0 if part.batched else None)


def _bare(part: Tensor, given: dict[str, Array]) -> Array:
    return given[part.output][0] if part.batched else given[part.output]


def _values(part: Tensor, given: dict[str, Array], anchors: int) -> Array:
    return part.rows(_bare(part, given), anchors).astype(np.float64)


def _are_logits(scores: Array) -> bool:
    return bool(scores.min(initial=0) < 0 or scores.max(initial=0) > 1)
