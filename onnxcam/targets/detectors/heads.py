"""Heads at several strides: for each grid its own outputs of scores and boxes, as NPUs and face detectors have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import onnx_ir as ir

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.boxes import BoxConvention, nowhere
from onnxcam.targets.detectors.candidates import Candidates, Decoder
from onnxcam.targets.detectors.clues import Clues, Length, dims, name, trace
from onnxcam.targets.detectors.grid import GridConvention
from onnxcam.targets.goal import Array
from onnxcam.targets.scores import sigmoid

__all__ = ["Head", "Heads", "Tensor", "heads"]

_STRIDES = (4, 8, 16, 32, 64, 128)
_COCO = 80


@dataclass(frozen=True)
class Tensor:
    """Some columns of an output that is a grid or a list of candidates.

    Attributes:
        output: The output.
        channel: The axis of its columns, without the batch axis.
        columns: The columns; None for all.
        batched: The first axis is the batch.
    """

    output: str
    channel: int
    columns: slice | None = None
    batched: bool = True

    def places(self, shape: Sequence[int], anchors: int) -> Array:
        """Return for each candidate and column the flat index of the element in the output of *shape*, [B, K]."""
        index = np.arange(int(np.prod(shape))).reshape(shape)
        rows = np.moveaxis(index, self.channel, -1)
        rows = rows if self.columns is None else rows[..., self.columns]
        return rows.reshape(-1, rows.shape[-1] // anchors if len(shape) == 3 else rows.shape[-1])


@dataclass(frozen=True)
class Head:
    """The outputs of one grid.

    Attributes:
        stride: The stride of the grid, in pixels.
        anchors: The number of candidates in each cell.
        scores: The class scores.
        boxes: The boxes.
        objectness: The objectness; None for none.
    """

    stride: int
    anchors: int
    scores: Tensor
    boxes: Tensor
    objectness: Tensor | None = None


@dataclass(frozen=True)
class Heads:
    """Scores and boxes for each of several grids.

    Attributes:
        heads: One for each grid.
        form: A form of `onnxcam.targets.detectors.grid`; None: offsets from anchors that the file does not hold.
        power: The powers of score and objectness in the probability.
        source: How the outputs are known.
        form_source: How the form is known.
    """

    heads: tuple[Head, ...]
    form: str | None
    power: tuple[float, float] = (1, 1)
    source: str = "shapes"
    form_source: str = "guess"

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return all outputs that hold something."""
        each = [part for head in self.heads for part in (head.scores, head.boxes, head.objectness) if part is not None]
        return tuple(dict.fromkeys(part.output for part in each))

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores of the middle grid."""
        return _aim(self.heads[len(self.heads) // 2].scores)

    def parts(self) -> Iterator[Part]:
        """Yield boxes and scores."""
        yield Part("scores", ", ".join(dict.fromkeys(repr(head.scores.output) for head in self.heads)), self.source)
        boxes = ", ".join(dict.fromkeys(head.boxes.output for head in self.heads))
        convention = BoxConvention((), source=self.form_source)
        if self.form is None:
            yield convention.part(boxes)
        else:
            yield GridConvention(self.form, source=self.form_source).part(boxes)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode each grid."""
        given = dict(zip(self.tensors, tensors, strict=True))
        parts = [self._of(head, given, size) for head in self.heads]
        ends = list(accumulate(len(part.scores) for part in parts))

        def aim(candidate: int, category: int) -> tuple[WeightsAim, Array]:
            level = int(np.searchsorted(ends, candidate, side="right"))
            return parts[level].aim(candidate - (ends[level - 1] if level else 0), category)

        corners = np.concatenate([part.corners for part in parts])
        cells = [part.cells for part in parts if part.cells is not None]
        scores = np.concatenate([part.scores for part in parts])
        return Candidates(corners, scores, aim, cells=np.concatenate(cells) if len(cells) == len(parts) else None)

    def _of(self, head: Head, given: dict[str, Array], size: tuple[int, ...]) -> Candidates:
        raw, places = _values(head.scores, given, head.anchors)
        scores = _probable(raw)
        certain, where = _values(head.objectness, given, head.anchors) if head.objectness is not None else (None, None)
        boxes, _ = _values(head.boxes, given, head.anchors)
        found, shape = scores ** self.power[0], _bare(head.scores, given).shape
        sure = None if certain is None else _probable(certain)

        def aim(candidate: int, category: int) -> tuple[WeightsAim, Array]:
            weights = np.zeros(int(np.prod(shape)), np.float32)
            weights[places[candidate, category]] = 1
            joined = head.objectness is not None and head.objectness.output == head.scores.output
            if sure is not None and where is not None and joined:
                weights[places[candidate, category]] = sure[candidate, 0] / 2
                weights[where[candidate, 0]] = scores[candidate, category] / 2
            return _aim(head.scores), weights.reshape(shape)

        probable = found if sure is None else found * sure ** self.power[1]
        cells = GridConvention("", ((head.stride, head.anchors),)).cells(len(scores), size)
        return Candidates(self._corners(head, boxes, len(scores), size), probable, aim, cells=cells)

    def _corners(self, head: Head, boxes: Array, count: int, size: tuple[int, ...]) -> Array:
        if self.form is None or len(boxes) != count:
            return nowhere(count)
        return GridConvention(self.form, ((head.stride, head.anchors),)).corners(boxes, size)


def _aim(part: Tensor) -> WeightsAim:
    return WeightsAim(part.output, 0 if part.batched else None)


def _bare(part: Tensor, given: dict[str, Array]) -> Array:
    return given[part.output][0] if part.batched else given[part.output]


def _values(part: Tensor, given: dict[str, Array], anchors: int) -> tuple[Array, Array]:
    bare = _bare(part, given)
    places = part.places(bare.shape, anchors)
    return bare.reshape(-1)[places].astype(np.float64), places


def _probable(scores: Array) -> Array:
    return scores if scores.min(initial=0) >= 0 and scores.max(initial=0) <= 1 else sigmoid(scores)


@dataclass(frozen=True)
class _Grid:
    """An output that is a grid of the image: [N, K, h, w], [N, h, w, K], [N, B, K], [N, K, B] or [B, K]."""

    value: ir.Value
    stride: int
    anchors: int  # candidates in each cell of a list; 1 for a grid
    channel: int  # the axis of columns, without the batch axis
    width: int
    batched: bool = True

    def tensor(self, columns: slice | None = None) -> Tensor:
        """Return the output as a part of a head."""
        return Tensor(name(self.value), self.channel, columns, self.batched)


def heads(clues: Clues) -> Decoder | None:
    """Outputs of scores and boxes for each of several grids, or one output with both for each grid."""
    if None in clues.size:
        return None
    levels: dict[int, list[_Grid]] = defaultdict(list)
    for grid in _grids(clues):
        levels[grid.stride].append(grid)
    strides = sorted(levels)
    if not strides or len({tuple(sorted(grid.width for grid in levels[stride])) for stride in strides}) > 1:
        return None
    if all(len(levels[stride]) == 1 for stride in strides):
        return _whole([levels[stride][0] for stride in strides], clues)
    return _split([levels[stride] for stride in strides], clues) if len(strides) > 1 else None


def _grids(clues: Clues) -> Iterator[_Grid]:
    for y in (y for rank in (4, 3, 2) for y in clues.outputs(rank)):
        found = _as_grid(y, dims(y), clues)
        if found is not None:
            yield found


def _as_grid(y: ir.Value, shape: Sequence[Length], clues: Clues) -> _Grid | None:
    """Return the grid that *y* is over the image; None for another tensor."""
    height, width = (length or 0 for length in clues.size)
    for stride in _STRIDES:
        space = [-(-height // stride), -(-width // stride)]
        for channel, axes in ((0, shape[2:]), (2, shape[1:3])) if len(shape) == 4 else ():
            count = shape[1 + channel]
            if list(axes) == space and count is not None:
                return _Grid(y, stride, 1, channel, count)
    if len(shape) == 4:
        return None
    batched, bare = len(shape) == 3, list(shape[1:] if len(shape) == 3 else shape)
    for anchors in (1, 2, 3, 9):
        for stride in _STRIDES:
            count = anchors * -(-height // stride) * -(-width // stride)
            for channel in (1, 0):
                columns = bare[channel]
                if columns is None or bare[1 - channel] != count:
                    continue
                if columns < count or (channel == 1 and count >= 4):
                    return _Grid(y, stride, anchors, channel, columns, batched)
    return None


def _whole(grids: Sequence[_Grid], clues: Clues) -> Decoder | None:
    """One output for each grid: DFL and classes (YOLOv8), box, objectness and classes (YOLOX), with anchors (v5)."""
    width = grids[0].width
    split = _squashed(grids[0].value)
    if split is not None and split[0][0] == 1 and split[0][1] == 4:  # FastestDet
        heads = _each(grids, slice(5, width), slice(1, 5), slice(0, 1))
        return Heads(heads, "squashed", (0.4, 0.6), "graph", "graph")
    if len(grids) < 2:
        return None
    for bins, form in ((64, "bins"), (32, "bins")):
        if width == bins + (clues.labels or _COCO):
            return Heads(_each(grids, slice(bins, width), slice(0, bins), None), form)
    if width == 5 + (clues.labels or _COCO):
        return Heads(_each(grids, slice(5, width), slice(0, 4), slice(4, 5)), "centre")
    return None


def _each(grids: Sequence[_Grid], scores: slice, boxes: slice, objectness: slice | None) -> tuple[Head, ...]:
    return tuple(
        Head(
            grid.stride,
            grid.anchors,
            grid.tensor(scores),
            grid.tensor(boxes),
            None if objectness is None else grid.tensor(objectness),
        )
        for grid in grids
    )


def _squashed(y: ir.Value) -> tuple[list[int], list[str]] | None:
    """Return the numbers of channels that *y* concatenates, and the operators that make them; None for no Concat."""
    node = y.producer()
    while node is not None and node.op_type in ("Transpose", "Identity", "Cast") and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Concat" or node.attributes.get_int("axis", 1) not in (1, -3):
        return None
    parts = [x for x in node.inputs if x is not None]
    lengths = [dims(x)[1] if len(dims(x)) == 4 else None for x in parts]
    makers = [next((made.op_type for made in trace(x)), "") for x in parts]
    return [length or 0 for length in lengths], makers


def _split(levels: Sequence[Sequence[_Grid]], clues: Clues) -> Decoder | None:
    """Several outputs for each grid: scores, boxes, perhaps objectness and keypoints."""
    found = [_roles(grids, clues) for grids in levels]
    if any(one is None for one in found):
        return None
    made = [one for one in found if one is not None]
    heads = tuple(_head(*one) for one in made)
    form, source = _form([boxes for _, boxes, _ in made], heads, clues)
    return Heads(heads, form, (0.5, 0.5) if _is_yunet(made) else (1, 1), _source(made), source)


def _is_yunet(made: Sequence[tuple[_Grid, _Grid, _Grid | None]]) -> bool:
    return all(certain is not None and scores.width == 1 for scores, _, certain in made)


def _source(made: Sequence[tuple[_Grid, _Grid, _Grid | None]]) -> str:
    return "names" if all(_called(scores, *_SCORES) for scores, _, _ in made) else "shapes"


_SCORES = ("cls", "class", "score", "conf", "logit")
_BOXES = ("box", "bbox", "reg", "loc")


def _called(grid: _Grid, *words: str) -> bool:
    return any(word in name(grid.value).lower() for word in words)


def _head(scores: _Grid, boxes: _Grid, objectness: _Grid | None) -> Head:
    anchors = boxes.width // 4 if boxes.width not in (4, 32, 64, 68) and len(dims(boxes.value)) == 4 else scores.anchors
    return Head(
        scores.stride,
        anchors,
        scores.tensor(),
        boxes.tensor(),
        None if objectness is None else objectness.tensor(),
    )


def _roles(grids: Sequence[_Grid], clues: Clues) -> tuple[_Grid, _Grid, _Grid | None] | None:
    """Return scores, boxes and objectness of one grid, by names, else by their numbers of columns."""
    used = [grid for grid in grids if not _called(grid, "kps", "landm", "keypoint") and not _is_sum(grid.value)]
    boxes = next((grid for grid in used if _called(grid, *_BOXES)), None)
    wide = {4, 64, 68} | ({32} if clues.labels != 32 else set())
    boxes = boxes or next((grid for grid in used if grid.width in wide and grid.width != clues.labels), None)
    rest = [grid for grid in used if grid is not boxes]
    certain = next((grid for grid in rest if _called(grid, "obj") and grid.width == 1), None)
    rest = [grid for grid in rest if grid is not certain]
    scores = next((grid for grid in rest if _called(grid, *_SCORES)), None)
    scores = scores or next((grid for grid in rest if grid.width == (clues.labels or grid.width)), None)
    ones = [grid for grid in rest if grid is not scores and grid.width == 1]
    if certain is None and scores is not None and len(ones) == 1 and scores.width > 1 and boxes is not None:
        certain = ones[0]
    return None if boxes is None or scores is None else (scores, boxes, certain)


def _is_sum(y: ir.Value) -> bool:
    """Return whether *y* is the sum or maximum over the classes, which Rockchip's exporter adds."""
    nodes = list(trace(y))
    clipped = [one.inputs[0] for one in nodes if one.op_type in ("Clip", "Min")]
    nodes += [node for x in clipped if x is not None for node in trace(x)]
    return any(node.op_type in ("ReduceSum", "ReduceMax") for node in nodes)


def _form(boxes: Sequence[_Grid], heads: Sequence[Head], clues: Clues) -> tuple[str | None, str]:
    """Return how the boxes of a grid are written, and how that is known."""
    width = boxes[0].width
    if heads[0].anchors > 2 or (width > 4 and width % 4):
        return None, "shapes"
    if width // heads[0].anchors in (32, 64, 68) and len(dims(boxes[0].value)) == 4:
        return "bins", "shapes"
    if heads[0].anchors == 2 and len(dims(boxes[0].value)) == 4:
        return None, "shapes"
    samples = [sample for grid in boxes for sample in clues.samples(grid.value)]
    negative = [float((sample < 0).mean()) for sample in samples]
    if samples and max(negative) == 0:
        return ("sides at corners" if heads[0].anchors == 2 else "sides"), "run"
    if heads[0].anchors == 2:
        return "sides at corners", "guess"
    return "centre", "run" if samples else "guess"
