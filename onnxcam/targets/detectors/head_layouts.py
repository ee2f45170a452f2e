"""Find heads at several strides: for each grid its own outputs of scores and boxes, as NPUs and face detectors have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxcam.graph.fold import constant
from onnxcam.targets.detectors.candidates import Decoder
from onnxcam.targets.detectors.clues import Clues, Length, dims, name, trace
from onnxcam.targets.detectors.grid_outputs import GridOutput, grid_outputs
from onnxcam.targets.detectors.heads import Heads, StrideHead

__all__ = ["heads"]

_COCO = 80
_BINS = (64, 32, 68)
"""The numbers of columns of four distributions (DFL)."""
_SCORES = ("cls", "class", "score", "conf", "logit")
_HEAT = ("hm", "heat")
_BOXES = ("box", "bbox", "reg", "loc")


def heads(clues: Clues) -> Decoder | None:
    """Outputs of scores and boxes for each of several grids, or one output with both for each grid.

    None where another output holds the decoded candidates of all grids.
    """
    levels = _levels(list(grid_outputs(clues)))
    if not levels or _is_decoded(levels, clues):
        return None
    if all(len(grids) == 1 for grids in levels):
        return _whole([grids[0] for grids in levels], clues)
    return _points(levels[0], clues) if len(levels) == 1 else _split(levels, clues)


def _levels(grids: Sequence[GridOutput]) -> list[list[GridOutput]]:
    """Return the outputs of each stride; empty where strides have other outputs, prototypes of masks apart."""
    found: dict[int, list[GridOutput]] = defaultdict(list)
    for grid in grids:
        found[grid.stride].append(grid)
    kinds = {stride: tuple(sorted(grid.width for grid in found[stride])) for stride in sorted(found)}
    usual = max(kinds.values(), key=lambda kind: (list(kinds.values()).count(kind), len(kind)), default=())
    rest = [kind for kind in kinds.values() if kind != usual]
    if any(len(kind) > 1 or not 8 <= kind[0] <= 64 for kind in rest) or (rest and len(usual) == 1 and usual[0] < 65):
        return []
    return [found[stride] for stride, kind in kinds.items() if kind == usual]


def _is_decoded(levels: Sequence[Sequence[GridOutput]], clues: Clues) -> bool:
    """Return whether an output [N, B, 5 …] holds as many candidates as all grids have together."""
    used = [grid.value for grids in levels for grid in grids]
    total = sum(_cells(grids[0], clues.probe) * grids[0].anchors for grids in levels)
    shapes = [dims(y)[1:] for y in clues.outputs(3) if y not in used]
    return any(total * more in shape and max(n or 0 for n in shape) > 4 for shape in shapes for more in (1, 3))


def _cells(grid: GridOutput, size: Sequence[int]) -> int:
    return (-(-size[0] // grid.stride)) * (-(-size[1] // grid.stride))


def _whole(grids: Sequence[GridOutput], clues: Clues) -> Decoder | None:
    """One output for each grid: DFL and classes (YOLOv8), box, objectness and classes (YOLOX), with anchors (v5)."""
    width, joined = grids[0].width, _joined(grids[0].value)
    if joined[:2] == [1, 4]:  # FastestDet
        heads = _each(grids, slice(5, width), slice(1, 5), slice(0, 1))
        return Heads(heads, "squashed", (0.4, 0.6), "graph", "graph")
    if len(grids) < 2:
        return _anchored(grids, 5, clues, exclusive=True)
    count = clues.labels or _COCO
    for bins in _BINS:
        if joined[:1] == [bins] and len(joined) > 1:
            return Heads(_each(grids, slice(bins, bins + (joined[1] or count)), slice(0, bins), None), "bins")
        if len(joined) == 2 and joined[1] == bins:
            return Heads(_each(grids, slice(0, width - bins), slice(width - bins, width), None), "bins")
        if width == bins + count:
            return Heads(_each(grids, slice(bins, width), slice(0, bins), None), "bins")
    if joined[:2] == [4, 1] or (width == 5 + count and grids[0].anchors == 1):
        return Heads(_each(grids, slice(5, width), slice(0, 4), slice(4, 5)), "centre")
    return _anchored(grids, 3, clues)


def _anchored(grids: Sequence[GridOutput], anchors: int, clues: Clues, exclusive: bool = False) -> Decoder | None:
    """Box, objectness and classes for each of several anchors: YOLOv3 to v7; with *exclusive* classes YOLOv2."""
    given = grids[0].anchors if grids[0].anchors > 1 else anchors
    columns = grids[0].width // (1 if grids[0].anchors > 1 else given)
    usual = min(grid.stride for grid in grids) >= (16 if len(grids) == 1 else 8) and len(dims(grids[0].value)) > 3
    if columns < 6 or grids[0].width % columns or not usual:
        return None
    if columns != 5 + (clues.labels or _COCO) and (clues.labels or not _has_objectness(grids, anchors, clues)):
        return None
    found = _each(grids, slice(5, columns), slice(0, 4), slice(4, 5), given)
    return Heads(found, None, exclusive=exclusive)


def _has_objectness(grids: Sequence[GridOutput], anchors: int, clues: Clues) -> bool:
    """Return whether a run shows that the fifth column of each anchor is unlikely at most places."""
    columns = [rows[:, 4] for grid in grids for rows in grid.rows(clues, anchors if grid.anchors == 1 else 1)]
    limit = 0 if any(column.min() < 0 or column.max() > 1 for column in columns) else 0.5
    return bool(columns) and all((column < limit).mean() > 0.5 for column in columns)


def _points(grids: Sequence[GridOutput], clues: Clues) -> Decoder | None:
    """A single grid: heat maps, offsets and sizes (CenterNet, CenterFace), or a box for each class (DetectNet_v2)."""
    boxes = next((grid for grid in grids if _called(grid, "box") and grid.width % 4 == 0), None)
    scores = next((grid for grid in grids if _called(grid, "cov", *_SCORES) and grid is not boxes), None)
    if boxes is not None and scores is not None and boxes.width == 4 * scores.width:
        head = StrideHead(scores.stride, 1, scores.tensor(), boxes.tensor())
        return Heads((head,), "coverage", source="names", form_source="guess")
    if boxes is not None and boxes.width == 4 and (heat := [grid for grid in grids if _called(grid, *_HEAT)]):
        return Heads((StrideHead(boxes.stride, 1, heat[0].tensor(), boxes.tensor()),), "sides at corners")
    pairs = [grid for grid in grids if grid.width == 2]
    heat = [grid for grid in grids if grid.width != 2 and not _called(grid, "kps", "landm", "keypoint")]
    if len(pairs) != 2 or not heat:
        return None
    size = next((grid for grid in pairs if _called(grid, "wh", "size", "scale")), None) or _larger(pairs, clues)
    (middle,) = [grid for grid in pairs if grid is not size]
    face = heat[0].width == 1 and not _called(size, "wh", "size") and any(grid.width == 10 for grid in grids)
    head = StrideHead(heat[0].stride, 1, heat[0].tensor(), middle.tensor(), sizes=size.tensor())
    return Heads((head,), "log points" if face else "points", form_source="names" if _called(size, "wh") else "guess")


def _larger(pairs: Sequence[GridOutput], clues: Clues) -> GridOutput:
    """Return the one of *pairs* that holds sizes: a run shows larger numbers there than in offsets."""
    return max(pairs, key=lambda grid: max((float(np.abs(rows).mean()) for rows in grid.rows(clues)), default=0))


def _each(
    grids: Sequence[GridOutput], scores: slice, boxes: slice, objectness: slice | None, anchors: int = 1
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
    inner = [(_joined(x), dims(x)) for x in node.inputs if x is not None]
    return [width for parts, shape in inner for width in parts or [shape[1] if len(shape) == 4 else None]]


def _split(levels: Sequence[Sequence[GridOutput]], clues: Clues) -> Decoder | None:
    """Several outputs for each grid: scores, boxes, perhaps objectness and keypoints."""
    found = [_roles(grids, clues) for grids in levels]
    if any(one is None for one in found):
        return None
    made = [one for one in found if one is not None]
    heads = tuple(_head(*one) for one in made)
    form, source = _form([boxes for _, boxes, _ in made], heads, clues)
    return Heads(heads, form, (0.5, 0.5) if _is_yunet(made) else (1, 1), _source(made), source)


def _is_yunet(made: Sequence[tuple[GridOutput, GridOutput, GridOutput | None]]) -> bool:
    return all(certain is not None and scores.width == 1 for scores, _, certain in made)


def _source(made: Sequence[tuple[GridOutput, GridOutput, GridOutput | None]]) -> str:
    return "names" if all(_called(scores, *_SCORES) for scores, _, _ in made) else "shapes"


def _called(grid: GridOutput, *words: str) -> bool:
    return any(word in name(grid.value).lower() for word in words)


def _head(scores: GridOutput, boxes: GridOutput, objectness: GridOutput | None) -> StrideHead:
    anchors = boxes.width // 4 if boxes.width not in (4, 32, 64, 68) and len(dims(boxes.value)) == 4 else scores.anchors
    return StrideHead(
        scores.stride,
        anchors,
        scores.tensor(),
        boxes.tensor(),
        None if objectness is None else objectness.tensor(),
    )


def _roles(grids: Sequence[GridOutput], clues: Clues) -> tuple[GridOutput, GridOutput, GridOutput | None] | None:
    """Return scores, boxes and objectness of one grid, by names, else by their numbers of columns."""
    grids = sorted(grids, key=lambda grid: grid.width == clues.masks)
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


def _with_anchors(grids: Sequence[GridOutput]) -> GridOutput | None:
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


def _in_pixels(grid: GridOutput) -> bool:
    """Return whether the last node of *grid* multiplies by its stride."""
    node = grid.value.producer()
    while node is not None and node.op_type in ("Transpose", "Reshape", "Identity") and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    factors = [] if node is None or node.op_type != "Mul" else [constant(x) for x in node.inputs if x is not None]
    return any(one is not None and one.size == 1 and float(one.item()) == grid.stride for one in factors)


def _form(boxes: Sequence[GridOutput], heads: Sequence[StrideHead], clues: Clues) -> tuple[str | None, str]:
    """Return how the boxes of a grid are written, and how that is known."""
    width, grids = boxes[0].width, len(dims(boxes[0].value)) == 4
    if all(_in_pixels(one) for one in boxes):
        return "pixel sides", "graph"
    if heads[0].anchors > 2 or (width > 4 and width % 4):
        return None, "shapes"
    if (width // heads[0].anchors if grids else width) in _BINS:
        return "bins", "shapes"
    if heads[0].anchors == 2 and grids:
        return None, "shapes"
    samples = [sample for grid in boxes for sample in clues.samples(grid.value)]
    negative = [float((sample < 0).mean()) for sample in samples]
    if samples and max(negative) == 0:
        return ("sides at corners" if heads[0].anchors == 2 else "sides"), "run"
    if heads[0].anchors == 2:
        return "sides at corners", "guess"
    return "centre", "run" if samples else "guess"
