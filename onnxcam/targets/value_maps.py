"""Maps of one value for each pixel: depth, anomaly and others. The mean of a region is explained, or a score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.graph.infer import no_numbers
from onnxcam.metadata import sidecar
from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.dense import (
    MASKS,
    DenseOutput,
    cell_count,
    dense_outputs,
    has_boxes,
    mask_cells,
    named,
    rectangle_cells,
    who,
)
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import (
    channels,
    decided,
    function_before,
    is_scaled,
    is_signed,
    numeric_outputs,
    unclipped,
    unscaled,
)
from onnxcam.targets.kinds import ClassRegion, MeanRegion, Top
from onnxcam.targets.notation import Corners, quoted, rectangle
from onnxcam.targets.registry import TargetKind, Task, resolves

__all__ = ["Anomaly", "Depth", "ValueMap", "VectorMap"]

_DEPTH = r"depth(?!_?wise)|disp(?!lace|atch)|midas"
_DENSITY = r"density|(^|_)crowd|(^|_)count"
_VECTORS = r"(?<!tensor)flow(?!er)|(^|_)normals?($|_)|(^|_)ab($|_)|motion|displacement_?field|(^|_)uv($|_)"
_STEREO = r"left|right"
_FRAMES = r"left|right|frame|next|prev|^im(age|g)?_?\d$"
"""Names of the inputs of networks for two images of one scene."""
_RISES = ("relu", "softplus", "exp")
_ANOMALY = r"anomal|pred_score|(^|_)amap($|_)"
_SCORE = r"score"
_ABOVE_MASKS = 1.5
"""Masks have values from 0 to 1; a map without names is one of another quantity if it has values above this."""


@dataclass(frozen=True)
class Depth(Task):
    """A map of depth, or of another quantity, [N, 1, H, W] or [N, H, W]. The mean over a region is explained."""

    values: DenseOutput
    source: str = "names"
    name: str = "a depth model"
    cards: ClassVar[tuple[str, ...]] = ("depth",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the task for each map of one value with a name of depth, or of the images of a stereo camera."""
        wanted = evidence.output("scores")
        for y, values in dense_outputs(evidence):
            if values.channels != 1 or len(values.size(y)) != 2 or wanted not in (None, y):
                continue
            said = who(evidence, known) or named(evidence, _DEPTH, y) or _takes(evidence, _STEREO)
            if said is not None and (known or not _has_decision(evidence)):
                yield cls(values, said)

    def parts(self) -> Iterator[Part]:
        """Yield the output of the map."""
        yield Part("map", repr(self.values.tensor), self.source)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the map."""
        return self.values.aim

    @property
    def dense(self) -> DenseOutput:
        """Return the map."""
        return self.values

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        return ("mask=FILE",) if kind is ClassRegion else super()._examples(kind)

    @resolves(MeanRegion)
    def mean(self, target: MeanRegion, look: Look) -> Goal:
        """The mean over a rectangle of the image."""
        return _mean(self.values, target, look)

    @resolves(ClassRegion)
    def masked(self, target: ClassRegion, look: Look) -> Goal:
        """The mean over a mask."""
        return _masked(self.values, target, look, self.name)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The mean over the middle of the image, or around the highest value where the middle has one value only."""
        values = _sizes(self.values.read(look))
        centre, where = np.divide(look.picture, 2), "the middle of the image"
        if np.ptp(values[rectangle_cells(_around(centre, look), look, self.values, values.shape)]) == 0:
            peak = np.unravel_index(int(values.argmax()), values.shape)
            centre = np.asarray([at[peak] for at in look.centres(values.shape, self.values.tensor, self.values.placed)])
            where = "the highest value"
        goal = self.mean(MeanRegion(_around(centre, look)), look)
        return replace(goal, note=f"the mean over {where}, {goal.words}")


@dataclass(frozen=True)
class ValueMap(Depth):
    """A map of one value that is no mask: a density, or a depth without a name."""

    name: str = "a model of one value for each pixel"
    cards = ()

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the task for each map of one value with a name of density, or with values that no mask has."""
        wanted = evidence.output("scores")
        for y, values in dense_outputs(evidence):
            if values.channels == 1 and len(values.size(y)) == 2 and wanted in (None, y):
                source = named(evidence, _DEPTH, y) or named(evidence, _DENSITY, y) or _quantity(evidence, y)
                if source is not None:
                    yield cls(values, source)


@dataclass(frozen=True)
class VectorMap(Depth):
    """Two or three values for each pixel that are no classes: optical flow, colours a and b, surface normals.

    The length of the mean vector over a region is explained.
    """

    name: str = "a model of a vector for each pixel"
    cards = ("vectors",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the task for each grid of vectors, the finest first: by names, or two channels in their own units."""
        wanted = evidence.output("scores")
        found = [(y, one) for y, one in dense_outputs(evidence) if len(one.size(y)) == 2 and wanted in (None, y)]
        for y, values in sorted(found, key=lambda pair: -cell_count(pair[1].size(pair[0]))):
            source = who(evidence, known) or _vectors(evidence, y, values)
            if source is not None:
                yield cls(values, source)


@dataclass(frozen=True)
class Anomaly(Task):
    """An anomaly detector: a score of the image, a map, or both. Without a score, the map's maximum is explained."""

    score: str | None  # the tensor of the score, before it is clipped
    batched: bool  # whether the score has an axis of images
    values: DenseOutput | None  # the map
    source: str = "names"
    name: str = "an anomaly detector"
    cards = ("anomaly",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the task if outputs have names of anomaly, or anomalib's metadata.json lies beside the model."""
        anomalib = "image_threshold" in sidecar.beside(evidence.names.path, "metadata.json")
        said = who(evidence, known) or ("file" if anomalib else None)
        score = next((y for y in evidence.graph.outputs if _is_score(y, evidence, said)), None)
        maps = (values for y, values in dense_outputs(evidence) if _is_map(y, values, evidence, said))
        values = next(maps, None)
        if score is not None or values is not None:
            batched = score is None or score.shape is None or len(score.shape) > 0
            yield cls(None if score is None else unclipped(score), batched, values, said or "names")

    def parts(self) -> Iterator[Part]:
        """Yield the score and the map."""
        if self.score is not None:
            yield Part("scores", repr(self.score), self.source)
        if self.values is not None:
            yield Part("map", repr(self.values.tensor), self.source)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the score, else over the map."""
        if self.score is None and self.values is not None:
            return self.values.aim
        return WeightsAim(self.score or "", 0 if self.batched else None)

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        if kind is Top:
            return super()._examples(kind)
        return () if self.values is None else ("mask=FILE",) if kind is ClassRegion else super()._examples(kind)

    @resolves(MeanRegion)
    def mean(self, target: MeanRegion, look: Look) -> Goal:
        """The mean anomaly over a rectangle of the image."""
        return _mean(self._map, target, look)

    @resolves(ClassRegion)
    def masked(self, target: ClassRegion, look: Look) -> Goal:
        """The mean anomaly over a mask."""
        return _masked(self._map, target, look, self.name)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The score of the image, or the maximum of the map."""
        if self.score is not None:
            (y,) = look.tensors([self.score])
            weights = np.ones(y.shape[1:] if self.batched else y.shape, np.float32)
            return Goal(self.aim, weights, "top", note=f"the anomaly score, {float(y.reshape(-1)[0]):.3g}")
        values = self._map.read(look)
        weights = np.zeros(values.shape, np.float32)
        weights[np.unravel_index(int(values.argmax()), values.shape)] = 1
        return Goal(self.aim, self._map.feed(weights), "top", note="the highest value of the anomaly map")

    @property
    def _map(self) -> DenseOutput:
        if self.values is None:
            raise TargetError("the model gives an anomaly score and no map; leave the target out")
        return self.values


def _sizes(values: Array) -> Array:
    """Return a map of one value as it is; of vectors [C, …] the length of each."""
    return values[0] if len(values) == 1 else np.linalg.norm(values.astype(np.float64), axis=0)


def _around(centre: Array, look: Look) -> Corners:
    """Return the rectangle of a quarter of the image's length along each axis around *centre* (y, x)."""
    (y, x), (height, width) = centre, look.picture
    return x - width / 8, y - height / 8, x + width / 8, y + height / 8


def _mean(values: DenseOutput, target: MeanRegion, look: Look) -> Goal:
    (x1, y1, x2, y2), (height, width) = target.corners, look.picture
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        raise TargetError(
            f"the region {rectangle(target.corners)} does not lie in the image, {width} × {height} pixels"
        )
    y = values.read(look)
    cells = rectangle_cells(target.corners, look, values, y.shape[1:])
    return _over(values, y, cells, f"region={rectangle(target.corners)}", target.corners)


def _masked(values: DenseOutput, target: ClassRegion, look: Look, name: str) -> Goal:
    if target.label is not None or target.mask is None:
        raise TargetError(f"{name} has no classes; name a part of the image with mask=FILE or region=x1,y1,x2,y2")
    y = values.read(look)
    cells = mask_cells(target.mask, look, values, y.shape[1:])
    return _over(values, y, cells, f"mask={quoted(target.mask)}")


def _over(values: DenseOutput, y: Array, cells: NDArray[np.bool_], words: str, box: Corners | None = None) -> Goal:
    """Return the mean of *y* over *cells*, of vectors the length of their mean; TargetError where there are none."""
    if not cells.any():
        raise TargetError(f"{words} covers no cell of the map, {cells.shape[1]} × {cells.shape[0]}; name a larger part")
    weights = np.asarray(_direction(y, cells) * (cells[None] / cells.sum()), np.float32)
    return Goal(values.aim, values.feed(weights), words, box=box)


def _direction(y: Array, cells: NDArray[np.bool_]) -> Array:
    """Return the unit vector of the mean of *y* [C, …] over *cells*, [C, 1, …]; 1 for a single channel."""
    mean = y[:, cells].mean(axis=1, dtype=np.float64) if len(y) > 1 else np.ones(1)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).reshape(-1, *[1] * cells.ndim)


def _has_decision(evidence: Evidence) -> bool:
    """Return whether an output is a vector of probabilities: a map of depth beside it is not what the model decides."""
    return any(function_before(y) in ("softmax", "sigmoid") for y in numeric_outputs(evidence.graph, 2))


def _quantity(evidence: Evidence, y: ir.Value) -> str | None:
    """Return how it is known that values are never negative and no mask's: the graph, a run, or None."""
    function = function_before(unscaled(y))
    if function == "sigmoid" and is_scaled(y) and decided(y) is None:
        return "graph"
    if channels(evidence.image) == 1 or no_numbers(y) is not None or decided(y) is not None:
        return None
    if function in _RISES and named(evidence, MASKS, y) is None:
        return "graph"
    values = [] if function in ("sigmoid", "softmax") else evidence.values(y)
    above = all(v.dtype.kind == "f" and v.min() >= 0 and v.max() > _ABOVE_MASKS for v in values)
    return "run" if values and above else None


def _vectors(evidence: Evidence, y: ir.Value, values: DenseOutput) -> str | None:
    """Return how it is known that *y* is a grid of vectors: names, or two channels that the graph scales."""
    if values.channels not in (2, 3) or decided(y) is not None or function_before(y) in ("sigmoid", "softmax"):
        return None
    said = named(evidence, _VECTORS, y)
    if said is not None or values.channels != 2 or has_boxes(evidence) or named(evidence, MASKS, y) is not None:
        return said
    return "graph" if is_signed(y) or is_scaled(y) else _takes(evidence, _FRAMES)


def _takes(evidence: Evidence, pattern: str) -> str | None:
    """Return "names" if the model takes two images like each other with names of *pattern*; else None."""
    image = evidence.image
    alike = [x for x in evidence.graph.inputs if x.dtype == image.dtype and str(x.shape) == str(image.shape)]
    return "names" if len(alike) > 1 and all(named(evidence, pattern, x) == "names" for x in alike) else None


def _is_score(y: ir.Value, evidence: Evidence, said: str | None) -> bool:
    """Return whether *y* has one number for each image, and its name says that it is the anomaly's score."""
    one = y.shape is not None and all(n == 1 for n in list(y.shape)[1:]) and len(y.shape) <= 2
    floats = y.dtype is not None and y.dtype.is_floating_point()
    pattern = _SCORE if said is not None else _ANOMALY
    return one and floats and named(evidence, pattern, y) is not None


def _is_map(y: ir.Value, values: DenseOutput, evidence: Evidence, said: str | None) -> bool:
    floats = y.dtype is not None and y.dtype.is_floating_point()
    return values.channels == 1 and floats and (said is not None or named(evidence, _ANOMALY, y) is not None)
