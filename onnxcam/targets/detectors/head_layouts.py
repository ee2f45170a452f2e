"""Find heads at several strides: for each grid its own outputs of scores and boxes, as NPUs and face detectors have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.targets.detectors.candidates import Decoder
from onnxcam.targets.detectors.clues import Clues, Length, dims, name, trace
from onnxcam.targets.detectors.heads import Heads, StrideHead, Tensor

__all__ = ["heads"]

_STRIDES = (4, 8, 16, 32, 64, 128)
_COCO = 80
_FEW = 3
"""A model of open size with fewer outputs has no heads for several grids, and is not run to find out."""
_SCORES = ("cls", "class", "score", "conf", "logit")
_BOXES = ("box", "bbox", "reg", "loc")


@dataclass(frozen=True)
class _Grid:
    """An output that is a grid: [N, K, h, w], [N, h, w, K], [N, A, h, w, K], [N, B, K], [N, K, B] or [B, K]."""

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
    for y in (y for rank in (5, 4, 3, 2) for y in clues.outputs(rank)):
        found = _as_grid(y, _shape(y, clues), clues.probe)
        if found is not None:
            yield found


def _shape(y: ir.Value, clues: Clues) -> Sequence[Length]:
    """Return the shape of *y*; where the size of the image is open, the one for a probe image."""
    if None not in clues.size or len(clues.graph.outputs) < _FEW:
        return dims(y)
    return next((value.shape for value in clues.evidence.values(y)), dims(y))


def _as_grid(y: ir.Value, shape: Sequence[Length], size: Sequence[int]) -> _Grid | None:
    """Return the grid that *y* is over an image of *size*; None for another tensor."""
    height, width = size
    for stride in _STRIDES:
        space = [-(-height // stride), -(-width // stride)]
        for channel, axes in ((0, shape[2:]), (2, shape[1:3])) if len(shape) == 4 else ():
            count = shape[1 + channel]
            if list(axes) == space and count is not None:
                return _Grid(y, stride, 1, channel, count)
        if len(shape) == 5 and list(shape[2:4]) == space and None not in (shape[1], shape[4]):
            return _Grid(y, stride, shape[1] or 1, 3, shape[4] or 1)
    if len(shape) > 3:
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
    if _joined(grids[0].value)[:2] == [1, 4]:  # FastestDet
        heads = _each(grids, slice(5, width), slice(1, 5), slice(0, 1))
        return Heads(heads, "squashed", (0.4, 0.6), "graph", "graph")
    if len(grids) < 2:
        return None
    for bins, form in ((64, "bins"), (32, "bins")):
        if width == bins + (clues.labels or _COCO):
            return Heads(_each(grids, slice(bins, width), slice(0, bins), None), form)
    row = 5 + (clues.labels or _COCO)
    if width == row or width == 3 * row:
        anchors = 3 if width == 3 * row else grids[0].anchors
        found = _each(grids, slice(5, row), slice(0, 4), slice(4, 5), anchors)
        return Heads(found, "centre" if anchors == 1 else None)
    return None


def _each(
    grids: Sequence[_Grid], scores: slice, boxes: slice, objectness: slice | None, anchors: int = 1
) -> tuple[StrideHead, ...]:
    return tuple(
        StrideHead(
            grid.stride,
            anchors,
            grid.tensor(scores),
            grid.tensor(boxes),
            None if objectness is None else grid.tensor(objectness),
        )
        for grid in grids
    )


def _joined(y: ir.Value) -> list[Length]:
    """Return the numbers of channels of the grids that *y* concatenates; empty where it is no concatenation."""
    node = y.producer()
    while node is not None and node.op_type in ("Transpose", "Identity", "Cast") and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Concat" or node.attributes.get_int("axis", 1) not in (1, -3):
        return []
    return [dims(x)[1] if len(dims(x)) == 4 else None for x in node.inputs if x is not None]


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


def _called(grid: _Grid, *words: str) -> bool:
    return any(word in name(grid.value).lower() for word in words)


def _head(scores: _Grid, boxes: _Grid, objectness: _Grid | None) -> StrideHead:
    anchors = boxes.width // 4 if boxes.width not in (4, 32, 64, 68) and len(dims(boxes.value)) == 4 else scores.anchors
    return StrideHead(
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
    boxes = boxes or _with_anchors(used)
    rest = [grid for grid in used if grid is not boxes]
    certain = next((grid for grid in rest if _called(grid, "obj") and grid.width == 1), None)
    rest = [grid for grid in rest if grid is not certain]
    scores = next((grid for grid in rest if _called(grid, *_SCORES)), None)
    scores = scores or next((grid for grid in rest if grid.width == (clues.labels or grid.width)), None)
    ones = [grid for grid in rest if grid is not scores and grid.width == 1]
    if certain is None and scores is not None and len(ones) == 1 and scores.width > 1 and boxes is not None:
        certain = ones[0]
    return None if boxes is None or scores is None else (scores, boxes, certain)


def _with_anchors(grids: Sequence[_Grid]) -> _Grid | None:
    """Return the grid of 4 columns for each of several anchors, beside one of scores for each."""
    if len(grids) != 2:
        return None
    narrow, wide = sorted(grids, key=lambda grid: grid.width)
    return narrow if narrow.width in (12, 16, 24, 36) and wide.width % (narrow.width // 4) == 0 else None


def _is_sum(y: ir.Value) -> bool:
    """Return whether *y* is the sum or maximum over the classes, which Rockchip's exporter adds."""
    nodes = list(trace(y))
    clipped = [one.inputs[0] for one in nodes if one.op_type in ("Clip", "Min")]
    nodes += [node for x in clipped if x is not None for node in trace(x)]
    return any(node.op_type in ("ReduceSum", "ReduceMax") for node in nodes)


def _form(boxes: Sequence[_Grid], heads: Sequence[StrideHead], clues: Clues) -> tuple[str | None, str]:
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
