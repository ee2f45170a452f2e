"""Segmentation: a class over the region that the model gives it, or over a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.metadata.reading import SOURCES, Part
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.classification import class_index
from onnxcam.targets.dense import (
    MASKS,
    DenseOutput,
    cell_count,
    dense_outputs,
    has_boxes,
    is_fine,
    is_larger,
    lies_in_unit,
    like_image,
    mask_cells,
    named,
    sums_to_one,
    who,
)
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import channels, decided, function_before, holds_images, is_signed, length
from onnxcam.targets.heads import ends_linear
from onnxcam.targets.kinds import Class, ClassRegion, Top
from onnxcam.targets.notation import ImageSource, Label, quoted
from onnxcam.targets.registry import TargetKind, Task, resolves
from onnxcam.targets.text_maps import maps_of_text

__all__ = ["Mask", "Segmentation"]

Mask = NDArray[np.bool_]

_BACKGROUND = frozenset(("background", "__background__"))
_OTHER = (
    r"(?<!tensor)flow|proto|embed|feat(?!ure_?fusion)|offset|heat_?map|paf|depth(?!_?wise)|disp|(^|_)normals?($|_)"
    r"|anomal|quer|geo|instance|(^|_)semi$|desc|(^|_)ab$|density|enhance|restor|recon"
)
"""Names of grids that are no scores of classes."""
_TWO = (
    "the two values of {0!r} for each pixel are taken for classes, which is a guess: they may be a vector, such as "
    "optical flow or the colours a and b; task (--task) vectors or segmentation says which"
)
_LOW = -2.0
"""Grey images, normalised or not, and noise that is subtracted from them have no values below this."""
_QUANTISED = (ir.DataType.INT8, ir.DataType.UINT8)


@dataclass(frozen=True)
class Segmentation(Task):
    """A segmentation: scores [N, classes, …] of each pixel or voxel. A class is explained by its mean score over a
    region (Seg-Grad-CAM, arXiv 2002.11434, takes the sum).
    """

    scores: DenseOutput
    labels: Sequence[str] | None
    source: str = "shapes"
    why: str = ""  # how the scores are known, in words
    independent: bool = False  # a cell may be of several classes, or of none
    main: int | None = None  # the class of the default target, where it is anywhere: the text of a text detector
    name: str = "a segmentation"
    cards = ("segmentation",)

    @property
    def warnings(self) -> tuple[str, ...]:  # type: ignore[override]
        """That two values for each pixel, of which only the shape says something, need not be classes."""
        guessed = self.source == "shapes" and self.classes == 2
        return (_TWO.format(self.scores.tensor),) if guessed else ()

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield a segmentation for each grid of scores, and for the scores behind each decision."""
        wanted, said = evidence.output("scores"), evidence.names.source("scores")
        grids = sorted(_grids(evidence, known), key=lambda grid: -cell_count(grid[1].size(grid[0])))
        found = [
            cls(scores, None, said or source, independent=_are_independent(evidence, y, scores))
            for y, scores, source in grids
            if wanted in (None, y)
        ]
        for y in evidence.graph.outputs:
            behind = _behind(y, evidence) if wanted in (None, y) else None
            if behind is not None:
                found.append(cls(behind, None, said or "graph", f"what decides the output {y.name}"))
        for task in sorted(found, key=lambda task: list(SOURCES).index(task.source)):
            text = maps_of_text(evidence, task.scores)
            labels = evidence.names.of(task.classes)
            if text is not None:
                task = replace(task, why="a text detector", main=0)
            yield replace(task, labels=labels or text)

    def parts(self) -> Iterator[Part]:
        """Yield where the scores are."""
        count = self.scores.channels
        each = f"{count} independent classes" if self.independent else f"{count} classes"
        value = f"{self.scores.tensor!r}, {each if count > 1 else 'one class'} for each cell"
        yield Part("scores", value, self.source, self.why)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.scores.channels

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return self.scores.aim

    @property
    def dense(self) -> DenseOutput:
        """Return the scores."""
        return self.scores

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        last = self._name(self.classes - 1)
        own = {ClassRegion: (f"class={quoted(last)}", "mask=FILE", f"class={quoted(last)} mask=FILE"), Class: (last,)}
        return own.get(kind) or super()._examples(kind)

    @resolves(ClassRegion)
    def region(self, target: ClassRegion, look: Look) -> Goal:
        """The mean score of a class over a mask, or where it is predicted; without a class, of the largest one."""
        return self._goal(target.label, target.mask, look)

    @resolves(Class)
    def one(self, target: Class, look: Look) -> Goal:
        """The mean score of a class where it is predicted."""
        return self._goal(target.label, None, look)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The mean score of the class that covers most of the image."""
        if not (self._seen(self._map(look)) >= 0).any():
            return self._highest(look)
        if self.main is not None and self._has(self._map(look), self.main).any():
            return self._goal(self.main, None, look)
        goal = self._goal(None, None, look)
        name, is_beside = self._name(goal.index or 0), self.has_background and goal.index
        beside = " beside the background" if is_beside else ""
        return replace(goal, note=f"the class that covers most of the image{beside}, {name}")

    def _highest(self, look: Look) -> Goal:
        """The highest score of a class that no cell has."""
        maps = self._map(look)
        index = int(maps.reshape(len(maps), -1).max(axis=1).argmax())
        scores = maps[index]
        weights = np.zeros_like(scores, np.float32)
        weights.reshape(-1)[int(scores.argmax())] = 1
        what = f"class {self._name(0)}" if self.classes == 1 else f"a class; {self._name(index)} has the highest score"
        note = f"no cell is of {what}; the map explains the highest score, {float(scores.max()):.3g}"
        label = self.labels[index] if self.labels else None
        return Goal(self.aim, self._feed(index, weights, look), "top", index, label, note=note)

    def _goal(self, label: Label | None, source: ImageSource | None, look: Look) -> Goal:
        """Return the mean score over a region; TargetError for a class that is nowhere, or a mask of another size."""
        scores = self._map(look)
        seen = self._seen(scores)
        mask = None if source is None else mask_cells(source, look, self.scores, scores.shape[1:])
        index = self._largest(seen, mask) if label is None else class_index(label, self.classes, self.labels)
        region = (self._has(scores, index) if self.independent else seen == index) if mask is None else mask
        if not region.any():
            there = ", ".join(self._name(i) for i in np.unique(seen).tolist() if i >= 0)
            raise TargetError(f"class {self._name(index)!r} is nowhere in this image; the model sees {there or 'none'}")
        feed = self._feed(index, np.asarray(region / region.sum(), np.float32), look)
        words = f"class={quoted(self._name(index))}" + ("" if source is None else f" mask={quoted(source)}")
        return Goal(self.aim, feed, words, index, self.labels[index] if self.labels else None)

    def predicted(self, look: Look) -> Array:
        """Return the class of each cell, int64 [*space], −1 for none; of independent classes bool [classes, *space]."""
        scores = self._map(look)
        return np.asarray(scores > _threshold(scores)) if self.independent else self._seen(scores).astype(np.int64)

    @property
    def background(self) -> int | None:
        """The class of the background; None if there is none."""
        return 0 if self.has_background else None

    def _map(self, look: Look) -> Array:
        """Return the scores of each class in each cell, [classes, *space]."""
        return self.scores.read(look)

    def _seen(self, scores: Array) -> Array:
        """Return the class of each cell of *scores* [C, …]; −1 where it may be none and is not likely."""
        if len(scores) > 1 and not self.independent:
            return np.asarray(scores.argmax(axis=0))
        return np.where(scores.max(axis=0) > _threshold(scores), scores.argmax(axis=0), -1)

    def _has(self, scores: Array, index: int) -> Array:
        """Return which cells are of the class *index*."""
        return np.asarray(scores[index] > _threshold(scores))

    def _feed(self, index: int, cells: Array, look: Look) -> Array:
        """Return the weights that explain the class *index* over *cells*, a weight for each."""
        weights = np.zeros((self.classes, *cells.shape), np.float32)
        weights[index] = cells
        return self.scores.feed(weights)

    def _largest(self, seen: Array, mask: Mask | None) -> int:
        """Return the class that covers most cells; the background only if there is no other."""
        counts = np.bincount(seen[mask] if mask is not None else seen[seen >= 0], minlength=self.classes)
        if mask is None and self.has_background and counts[1:].any():
            counts[0] = 0
        return int(counts.argmax())

    @property
    def has_background(self) -> bool:
        """Whether class 0 is the background."""
        return self.classes > 2 if not self.labels else self.labels[0].casefold() in _BACKGROUND

    def _name(self, index: int) -> str:
        return self.labels[index] if self.labels else str(index)


def _grids(evidence: Evidence, known: bool) -> Iterator[tuple[ir.Value, DenseOutput, str]]:
    """Yield each output that is scores of classes, and how that is known."""
    for y, scores in dense_outputs(evidence):
        source = who(evidence, known) or _source(evidence, y, scores)
        if source is not None:
            yield y, scores, source


def _source(evidence: Evidence, y: ir.Value, scores: DenseOutput) -> str | None:
    """Return how *y* is known to be scores of classes; None where it is not."""
    image = evidence.image
    floats = y.dtype is None or y.dtype.is_floating_point() or y.dtype in _QUANTISED
    size = scores.size(y)
    if (
        not floats
        or decided(y) is not None
        or is_signed(y)
        or not is_fine(size, image)
        or named(evidence, _OTHER, y) == "names"
    ):
        return None
    text = maps_of_text(evidence, scores)
    if text is not None:
        return "run" if len(text) == 3 else "shapes"
    said = (
        "graph"
        if function_before(y) in ("softmax", "sigmoid")
        else named(evidence, MASKS, y) or _counted(evidence, scores)
    )
    if scores.layout is None:
        return said or lies_in_unit(evidence, y)
    if scores.grid:
        return said or sums_to_one(evidence, y, scores.layout.channel) or (None if has_boxes(evidence) else "shapes")
    if scores.channels != channels(image):
        return said or (None if _other_is_meant(evidence, y, scores) else "shapes")
    if scores.channels > 1:
        own = named(evidence, MASKS, y) or _counted(evidence, scores)
        return own or sums_to_one(evidence, y, scores.layout.channel)
    return said or ("run" if _are_logits(evidence.values(y)) else None)


def _are_logits(values: Sequence[NDArray[np.generic]]) -> bool:
    """Return whether all *values* reach as far below zero as no grey image does."""
    return bool(values) and all(v.dtype.kind == "f" and v.min() < min(_LOW, -v.max() / 4) for v in values)


def _counted(evidence: Evidence, scores: DenseOutput) -> str | None:
    """Return the source of the class names if they are as many as the channels; else None."""
    names = evidence.names.of(None)
    return evidence.names.origin(len(names)) if names and len(names) == scores.channels > 1 else None


def _other_is_meant(evidence: Evidence, y: ir.Value, scores: DenseOutput) -> bool:
    """Return whether an unnamed grid is more likely a part of a detector, an enlarged image, or beside an image."""
    image = evidence.image
    beside = [(other, one) for other, one in dense_outputs(evidence) if other is not y and one.layout is not None]
    if scores.channels == 3 and holds_images(image) and like_image(scores.size(y), image):
        return True
    images = (one.channels == channels(image) == 3 and like_image(one.size(other), image) for other, one in beside)
    return has_boxes(evidence) or is_larger(scores.size(y), image) or any(images)


def _behind(y: ir.Value, evidence: Evidence) -> DenseOutput | None:
    """Return the scores that the output *y* decides about, if they are a fine grid over the image."""
    own, found = picture_layout(evidence.image), decided(y)
    if own is None or found is None or found[0].shape is None:
        return None
    scores, axis = _with_batch(*found)
    if axis is None:
        axis = own.channel if len(scores.shape or ()) == own.rank else None
    if len(scores.shape or ()) != own.rank - (axis is None) or axis == 0:
        return None
    space = tuple(i for i in range(1, len(scores.shape or ())) if i != axis)
    count = 1 if axis is None else length(scores, axis)
    if not isinstance(count, int) or not is_fine([length(scores, i) for i in space], evidence.image):
        return None
    return DenseOutput(scores.name or "", None if axis is None else GridLayout(axis, space), count)


def _with_batch(scores: ir.Value, axis: int | None) -> tuple[ir.Value, int | None]:
    """Return *scores* before the network takes the only image of a batch of one, and their axis of classes."""
    node = scores.producer()
    before = None if node is None or node.op_type not in ("Gather", "Squeeze", "Reshape") else node.inputs[0]
    single = before is not None and list(before.shape or ()) == [1, *(scores.shape or ())]
    return (before, axis + 1) if single and before is not None and axis is not None else (scores, axis)


def _threshold(scores: Array) -> float:
    """Return the score above which a cell is of a class: a half of probabilities, 0 of logits."""
    probable = scores.min() >= 0 and scores.max() <= 1
    return 0.5 if probable else 0


def _are_independent(evidence: Evidence, y: ir.Value, scores: DenseOutput) -> bool:
    """Return whether the channels of *y* are scores of several classes that do not exclude each other."""
    if scores.channels < 2 or scores.layout is None or ends_linear(y):
        return maps_of_text(evidence, scores) is not None
    return lies_in_unit(evidence, y) is not None and sums_to_one(evidence, y, scores.layout.channel) is None
