"""`Clues`: the graph and the facts about it by which the layouts of detectors are recognised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.graph.infer import no_numbers
from onnxcam.graph.operators import Trait, operators
from onnxcam.metadata.literals import literal
from onnxcam.structure.layout import GridLayout
from onnxcam.targets.detectors.boxes import BoxConvention, settled, written
from onnxcam.targets.detectors.grid import cells, plan
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array
from onnxcam.targets.scores import integer_units

__all__ = ["Clues", "Length", "alike", "dims", "is_float", "name", "named", "scale_of", "trace"]

Length: TypeAlias = "int | None"  # None: open

_PYTORCH = ("main_graph", "torch_jit", "torch-jit-export")  # what its exporters call a graph
_SELECTS = ("NonMaxSuppression", "TopK", "ArgMax")
_DETECTORS = ("detect", "segment", "pose", "obb")  # values of Ultralytics' metadata `task`
_PROBE = 224  # the length that probe images take on an open axis
_SHAPES = operators(Trait.COPIES | Trait.RESHAPES | Trait.CUTS | Trait.QUANTISES)
_SHAPES |= {"Transpose", "Concat", "QLinearConcat", "ScatterND"}


@dataclass
class Clues:
    """The graph and the known facts about it.

    Attributes:
        evidence: What is known of the model.
        size: Height and width of the image tensor.
        labels: The number of class names.
        said: The user or the card says that the model is a detector.
    """

    evidence: Evidence
    size: tuple[Length, ...]
    labels: int | None
    said: bool

    @classmethod
    def of(cls, evidence: Evidence, layout: GridLayout, labels: int | None, said: bool) -> Clues:
        """Return the clues of a model whose image has *layout*."""
        size = tuple(length if isinstance(length, int) else None for length in layout.size(evidence.image))
        return cls(evidence, size, labels, said)

    @property
    def graph(self) -> ir.Graph:
        """Return the graph."""
        return self.evidence.graph

    @property
    def probe(self) -> tuple[int, ...]:
        """Return the size of the tensors of probe images."""
        return tuple(length or _PROBE for length in self.size)

    @property
    def kind(self) -> str | None:
        """Return the task in Ultralytics' metadata, if it is one of a detector."""
        task = self.evidence.names.metadata.get("task")
        return task if task in _DETECTORS else None

    @property
    def known(self) -> bool:
        """Return whether the user, the card or the metadata say that the model is a detector."""
        return self.said or self.kind is not None or self.boxes is not None

    @property
    def source(self) -> str:
        """Return how it is known that the model is a detector, where it is not by the layout."""
        return "metadata" if self.kind is not None else "shapes"

    @cached_property
    def boxes(self) -> ir.Value | None:
        """The output of boxes that the user or the card names."""
        return self.evidence.output("boxes")

    @cached_property
    def scores(self) -> ir.Value | None:
        """The output of scores that the user or the card names."""
        return self.evidence.output("scores")

    @property
    def keypoints(self) -> int:
        """Return the number of columns of keypoints in Ultralytics' metadata."""
        shape = literal(self.evidence.names.metadata.get("kpt_shape", ""))
        fits = isinstance(shape, list | tuple) and all(isinstance(length, int) for length in shape)
        return prod(shape) if fits and len(shape) else 0

    @cached_property
    def masks(self) -> int:
        """The number of mask prototypes: the channels of an output [N, K, h, w] of a quarter of the image's size."""
        found = (dims(y) for y in self.outputs(4))
        return next((n for _, n, *space in found if n is not None and 8 <= n <= 64 and self._is_quarter(space)), 0)

    def _is_quarter(self, space: Sequence[Length]) -> bool:
        pairs = zip(space, self.size, strict=True)
        return all(one is None or whole is None or 2 <= whole / one <= 8 for one, whole in pairs)

    def outputs(self, rank: int) -> list[ir.Value]:
        """Return the outputs of *rank* axes."""
        numbers = (y for y in self.graph.outputs if no_numbers(y) is None)
        return [y for y in numbers if y.shape is not None and len(y.shape) == rank]

    def tables(self, rank: int) -> list[ir.Value]:
        """Return the outputs of *rank* axes that may hold boxes: all, or the one that the user or the card names."""
        return [y for y in self.outputs(rank) if self.boxes is None or y is self.boxes]

    def has_rows(self, y: ir.Value) -> bool:
        """Return whether the first axis of *y* is no axis of images: it is not 1, or a run shows other lengths."""
        first = dims(y)[0]
        if first is not None or not self.suppresses:
            return first is not None and first > 1 and dims(self.evidence.image)[:1] != [first]
        return any(len(value) != 1 for value in self.evidence.values(y))

    @property
    def selects(self) -> bool:
        """Return whether the graph suppresses or sorts candidates by itself, or takes their best class."""
        return any(node.op_type in _SELECTS for node in self.graph.all_nodes())

    @property
    def suppresses(self) -> bool:
        """Return whether the graph suppresses or sorts candidates by itself."""
        return any(node.op_type in _SELECTS[:2] for node in self.graph.all_nodes())

    @property
    def y_first(self) -> bool:
        """Return whether the producer writes y before x, as TensorFlow and ONNX do, and PyTorch does not."""
        noted = any("pkg.torch.onnx" in key for node in self.graph for key in node.metadata_props)
        return not noted and self.graph.name not in _PYTORCH

    @property
    def from_tensorflow(self) -> bool:
        """Return whether the image's channels are last, as TensorFlow has them."""
        return dims(self.evidence.image)[-1:] in ([1], [3])

    def samples(self, y: ir.Value) -> list[Array]:
        """Return the output *y* for each probe image, as real numbers without the batch axis."""
        scale, zero = scale_of(y) or (1, 0)
        values = [(value - np.float32(zero)) * scale for value in self.evidence.values(y)]
        return [value[0] if value.ndim > 2 else value for value in values]

    def convention(self, likely: BoxConvention, samples: Sequence[Array]) -> BoxConvention:
        """Return the convention that the user or the card names, else the one of *likely* that *samples* follow."""
        said = getattr(self.evidence.card, "boxes", None) or ""
        text = said.rpartition(":")[2] if self.boxes is not None and said != self.boxes.name else ""
        if text:
            by = self.evidence.names.source("boxes") or "card"
            one = written(text)
            return BoxConvention(one.forms, one.relative, by, likely.sorted, likely.any_corner)
        found = settled(likely, list(samples), self.probe)
        return self._by_cells(found, likely, samples) if found.source == "run" and likely.sorted else found

    def _by_cells(self, found: BoxConvention, likely: BoxConvention, samples: Sequence[Array]) -> BoxConvention:
        """Return *found*, or the form of *likely* whose boxes lie much nearer to the cells of a grid."""
        levels = plan(len(samples[0]), self.probe) if found.forms else None
        if levels is None or len(likely.forms) < 2:
            return found
        cell = cells(levels, self.probe)
        middles = (cell[:, :2] + 0.5) * cell[:, 2:]
        away = {form: self._distance(replace(found, forms=(form,)), samples, middles) for form in likely.forms}
        best = min(away, key=lambda form: away[form])
        return replace(found, forms=(best,)) if 3 * away[best] < away[found.forms[0]] else found

    def _distance(self, one: BoxConvention, samples: Sequence[Array], middles: Array) -> float:
        """Return how far the middles of boxes of convention *one* are from *middles*, in pixels."""
        corners = np.concatenate([one.corners(sample, self.probe) for sample in samples])
        return float(np.abs((corners[:, :2] + corners[:, 2:]) / 2 - np.tile(middles, (len(samples), 1))).mean())


def scale_of(y: ir.Value) -> tuple[float, int] | None:
    """Return scale and zero point of the integers *y*; None for other tensors, or where they are unknown."""
    units = integer_units(y)
    return None if units is None else units.known


def trace(y: ir.Value) -> Iterator[ir.Node]:
    """Yield the nodes that make parts of *y*, behind those that only move or cut values."""
    waiting, seen = [y], set()
    while waiting:
        node = waiting.pop().producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type in _SHAPES:
            waiting += [x for x in node.inputs if x is not None]
        else:
            yield node


def named(values: Sequence[ir.Value], *words: str) -> ir.Value | None:
    """Return the first of *values* whose name holds one of *words*."""
    return next((y for y in values if any(word in name(y).lower() for word in words)), None)


def name(y: ir.Value) -> str:
    """Return the name of *y*."""
    return y.name or ""


def is_float(y: ir.Value) -> bool:
    """Return whether *y* holds real numbers."""
    return y.dtype is not None and y.dtype.is_floating_point()


def dims(y: ir.Value) -> list[Length]:
    """Return the shape of *y*, None for each open axis; empty where it is unknown."""
    return [dim if isinstance(dim, int) else None for dim in y.shape] if y.shape is not None else []


def alike(one: Length, other: Length) -> bool:
    """Return whether two lengths may be equal."""
    return one is None or other is None or one == other
