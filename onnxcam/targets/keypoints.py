"""Keypoints: one of them, as a peak of its heat map, as a row of a table or as a pair of coordinates in a vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxcam.errors import TargetError, nearest
from onnxcam.metadata import labels as labelling
from onnxcam.metadata.reading import Part
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.dense import DenseOutput, dense_outputs, has_boxes, has_proportions, is_coarser, named, who
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import channels, class_names, function_before, length, numeric_outputs
from onnxcam.targets.keypoint_layouts import KeypointTable, find_table, is_peaked, is_usual_count
from onnxcam.targets.kinds import Keypoint, Top
from onnxcam.targets.notation import Corners, Label, quoted
from onnxcam.targets.registry import TargetKind, Task, resolves
from onnxcam.targets.stacked import stacked_maps

__all__ = ["HeatMaps", "Keypoints"]

_NAMES = r"heat_?map|(^|_)hm($|_|\d)|key_?point|kpts?|landmark|lmk|joints?($|_)|(?<!trans)(?<!com)pose|simcc"
_SCORES = r"scores?($|_|\d)|conf"
_OF_PARTS = r"paf|offset|disp|mask|seg|descr"


@dataclass(frozen=True)
class Keypoints(Task):
    """A table of keypoints: rows of coordinates, with a score each or none.

    A keypoint is explained by its score, or without scores by one of its coordinates.
    """

    table: KeypointTable
    labels: Sequence[str] | None
    source: str = "names"
    name: str = "a keypoint model"
    cards = ("keypoints",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the heat maps of keypoints, else their table."""
        yield from HeatMaps.of(evidence, known)
        wanted, outputs = evidence.output("scores"), list(evidence.graph.outputs)
        if not known and any(function_before(y) == "softmax" for y in outputs):
            return  # a classifier or detector that gives keypoints as well
        for y in (wanted,) if wanted is not None else outputs:
            said = who(evidence, known) or named(evidence, _NAMES, y)
            if not known and y is not None and named(evidence, _SCORES, y) == "names":
                continue
            found = find_table(evidence, y, said) if y is not None else None
            if found is not None:
                table, source = found
                yield cls(table, class_names(evidence.names, table.count, known), source)

    @property
    def method(self) -> str:  # type: ignore[override]
        """The default method; of coordinates none of a layer (docs/decisions/0014-default-methods.md)."""
        return "gradient-x-input" if self.table.score is None else "layercam"

    def parts(self) -> Iterator[Part]:
        """Yield the table and its columns."""
        table = self.table
        yield Part("keypoints", f"{table.tensor!r}, {table.count} rows of {', '.join(table.columns)}", self.source)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the table."""
        return WeightsAim(self.table.tensor)

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        return _examples(kind, self.table.count, self.labels) or super()._examples(kind)

    def points(self, look: Look) -> tuple[Array, Array | None]:
        """Return x and y of each keypoint as the model gives them, float64 [P, 2], and its score [P]; None for none."""
        rows, score = self.table.rows(look).astype(np.float64), self.table.score
        columns = [self.table.columns.index(axis) for axis in ("x", "y")]
        return rows[:, columns], None if score is None else rows[:, score]

    @resolves(Keypoint)
    def keypoint(self, target: Keypoint, look: Look) -> Goal:
        """The score of a keypoint, or one of its coordinates."""
        rows = self.table.rows(look)
        index = _index(target.label, self.table.count, self.labels)
        axis = target.axis or self.table.columns[self.table.score or 0]
        if axis not in self.table.columns:
            raise TargetError(
                f"the table of keypoints has no column {axis!r}; there are {', '.join(self.table.columns)}."
                f"{nearest(axis, self.table.columns)}"
            )
        weights = np.zeros(rows.shape, np.float32)
        weights[index, self.table.columns.index(axis)] = 1
        words = f"keypoint={quoted(_name(index, self.labels))} axis={axis}"
        return Goal(self.aim, self.table.feed(weights), words, index, self.labels[index] if self.labels else None)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The keypoint with the highest score, or the first one where there are no scores."""
        score = self.table.score
        index = 0 if score is None else int(self.table.rows(look)[:, score].argmax())
        goal = self.keypoint(Keypoint(index), look)
        what = "the first keypoint; the model gives no scores" if score is None else "the keypoint with the best score"
        return replace(goal, note=f"{what}, {goal.words}")


@dataclass(frozen=True)
class HeatMaps(Task):
    """Heat maps [N, keypoints, h, w], each with a peak at its keypoint. A keypoint is explained by its map's peak."""

    maps: DenseOutput
    labels: Sequence[str] | None
    source: str = "names"
    name: str = "a keypoint model"

    @classmethod
    def of(cls, evidence: Evidence, known: bool) -> Iterator[HeatMaps]:
        """Yield the heat maps in the graph."""
        wanted = evidence.output("scores")
        grids = [(y, maps) for y, maps in dense_outputs(evidence) if has_proportions(maps.size(y), evidence.image)]
        for y, maps in (*_simcc(evidence), *grids, *stacked_maps(evidence)):
            source = who(evidence, known) or _source(evidence, y, maps)
            if source is not None and maps.layout is not None and wanted in (None, y):
                yield cls(maps, class_names(evidence.names, maps.channels, known), source)

    def parts(self) -> Iterator[Part]:
        """Yield the output of heat maps."""
        yield Part("keypoints", f"{self.maps.tensor!r}, {self.maps.channels} heat maps", self.source)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the heat maps."""
        return self.maps.aim

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        return _examples(kind, self.maps.channels, self.labels) or super()._examples(kind)

    def points(self, look: Look) -> tuple[Array, Array | None]:
        """Return x and y of each peak, from 0 to 1, float64 [P, 2], and its height [P]; y is 0 of maps along x."""
        maps = self.maps.read(look).astype(np.float64)
        flat, size = maps.reshape(len(maps), -1), (1, *maps.shape[1:])[-2:]
        rows, columns = np.unravel_index(flat.argmax(axis=1), size)
        points = np.stack([(columns + 0.5) / size[1], (rows + 0.5) / size[0] * (maps.ndim > 2)], axis=1)
        return points, flat.max(axis=1)

    @resolves(Keypoint)
    def keypoint(self, target: Keypoint, look: Look) -> Goal:
        """The score of a keypoint at the peak of its heat map."""
        if target.axis is not None and target.axis != "score":
            raise TargetError(f"a heat map has no column {target.axis!r}; leave axis= out")
        return self._goal(target.label, look)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The keypoint with the highest peak."""
        maps = self.maps.read(look)
        best = maps.reshape(len(maps), -1).max(axis=1).argmax()
        goal = self._goal(int(best), look)
        return replace(goal, note=f"the keypoint with the highest peak, {goal.words}")

    def _goal(self, label: Label, look: Look) -> Goal:
        maps = self.maps.read(look)
        index = _index(label, self.maps.channels, self.labels)
        peak = int(maps[index].argmax())
        weights = np.zeros(maps.shape, np.float32)
        weights[index].reshape(-1)[peak] = 1
        words = f"keypoint={quoted(_name(index, self.labels))}"
        found = self.labels[index] if self.labels else None
        return Goal(self.aim, self.maps.feed(weights), words, index, found, box=_cell(peak, maps, look))


def _index(label: Label, count: int, labels: Sequence[str] | None) -> int:
    """Return the index of the keypoint *label*; TargetError for an index out of range or an unknown name."""
    if isinstance(label, str) and labels:
        return labelling.index(label, labels)
    if isinstance(label, str):
        raise TargetError(
            f"the names of the keypoints are not known; give a number from 0 to {count - 1}, or --labels FILE"
        )
    if not 0 <= label < count:
        raise TargetError(f"there is no keypoint {label}: the model has {count}, 0 to {count - 1}")
    return label


def _simcc(evidence: Evidence) -> Iterator[tuple[ir.Value, DenseOutput]]:
    """Yield SimCC's scores of each place along x, [N, keypoints, places] (arXiv 2107.03332): by name, or two outputs
    with as many places for each pixel of width and of height.
    """
    tables = [y for y in numeric_outputs(evidence.graph, 3) if isinstance(length(y, 1), int)]
    for y in tables:
        if y.name == "simcc_x" or (len(tables) == 2 and y is tables[0] and _places_along(tables, evidence)):
            yield y, DenseOutput(y.name or "", GridLayout(1, (2,)), int(str(length(y, 1))))


def _places_along(tables: Sequence[ir.Value], evidence: Evidence) -> bool:
    """Return whether two *tables* [N, keypoints, places] have as many places for each pixel of x as of y."""
    layout = picture_layout(evidence.image)
    size = () if layout is None else layout.size(evidence.image)
    lengths = [n for n in (*size, *(length(y, 2) for y in tables)) if isinstance(n, int)]
    counts = {length(y, 1) for y in tables}
    if len(lengths) != 4 or len(counts) != 1 or not is_usual_count(counts.pop()):
        return False
    height, width, across, down = lengths
    return across * height == down * width and across / width in (1, 1.5, 2, 3, 4)


def _cell(peak: int, maps: Array, look: Look) -> Corners | None:
    """Return the cell of the peak in the image's pixels; None where the maps have no two axes."""
    if maps.ndim != 3:
        return None
    (height, width), (i, j) = look.size, divmod(peak, maps.shape[2])
    y, x = height / maps.shape[1], width / maps.shape[2]
    return look.to_picture((j * x, i * y, (j + 1) * x, (i + 1) * y))


def _source(evidence: Evidence, y: ir.Value, maps: DenseOutput) -> str | None:
    """Return how the grid *y* is known to be heat maps of keypoints; None where it is not."""
    if named(evidence, _OF_PARTS, y) == "names" or has_boxes(evidence):
        return None
    said = named(evidence, _NAMES, y)
    if said is None and not maps.grid and maps.layout is not None and len(maps.layout.space) == 1:
        return "shapes"  # SimCC without a name
    if said is not None or maps.channels < 4 or maps.channels == channels(evidence.image):
        return said
    if not is_coarser(maps.size(y), evidence.image):
        return None
    return "run" if is_peaked([maps.view(value)[0] for value in evidence.values(y)]) else None


def _examples(kind: type[TargetKind], count: int, labels: Sequence[str] | None) -> tuple[str, ...]:
    return (f"keypoint={quoted(_name(count - 1, labels))}",) if kind is Keypoint else ()


def _name(index: int, labels: Sequence[str] | None) -> str:
    return labels[index] if labels else str(index)
