"""Segmentation by queries: class scores and a mask for each query, as in MaskFormer, Mask2Former and OneFormer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.metadata.reading import Part
from onnxcam.structure.layout import GridLayout
from onnxcam.targets.dense import DenseOutput, has_boxes, has_proportions, named
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Look
from onnxcam.targets.graph_outputs import class_names, length, numeric_outputs
from onnxcam.targets.keypoint_layouts import is_peaked
from onnxcam.targets.registry import Task
from onnxcam.targets.scores import sigmoid, softmax
from onnxcam.targets.segmentation import Segmentation

__all__ = ["QueryMasks"]

_CLASSES = r"class|logit|cls|score"
_MASKS = r"mask"
_COORDINATES = 4
"""Coordinates of keypoints and boxes have at most so many columns."""


@dataclass(frozen=True)
class QueryMasks(Segmentation):
    """Class scores [N, queries, classes + 1], the last one for no object, and masks [N, queries, h, w].

    A cell has the class c with the highest Σ_q p(c | q) σ(mask_q) (arXiv 2107.06278). A class is explained by the mean
    over its region of the masks, weighted by p(c | q).
    """

    logits: str = ""
    count: int = 0

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the task for outputs of classes and masks with as many queries; with boxes it is a detector."""
        for y in [] if has_boxes(evidence) else numeric_outputs(evidence.graph, 3):
            masks, count = _masks(evidence, y), length(y, 2)
            if masks is not None and isinstance(count, int) and count > 1:
                names = class_names(evidence.names, count - 1, known)
                source = "names" if named(evidence, _CLASSES, y) == "names" else "shapes"
                yield cls(masks, names, source, logits=y.name or "", count=count - 1)

    def parts(self) -> Iterator[Part]:
        """Yield the outputs of classes and masks."""
        yield Part("scores", f"{self.logits!r}, {self.classes} classes of {self.scores.channels} queries", self.source)
        yield Part("masks", repr(self.scores.tensor), self.source)

    @property
    def classes(self) -> int:
        """The number of classes, without the one for no object."""
        return self.count

    def _map(self, look: Look) -> Array:
        masks = self.scores.read(look).astype(np.float64)
        found: Array = np.einsum("qc,q...->c...", self._probabilities(look), sigmoid(masks))
        return found

    def _feed(self, index: int, cells: Array, look: Look) -> Array:
        share = self._probabilities(look)[:, index]
        weights = share.reshape(-1, *[1] * cells.ndim) * cells / max(float(share.sum()), 1e-12)
        return self.scores.feed(weights.astype(np.float32))

    def _probabilities(self, look: Look) -> Array:
        """Return p(c | q), [queries, classes]."""
        (y,) = look.tensors([self.logits])
        return softmax(y[0].astype(np.float64))[:, :-1]


def _masks(evidence: Evidence, y: ir.Value) -> DenseOutput | None:
    """Return the masks whose queries have the class scores *y* [N, queries, classes + 1]; None for none."""
    found = [(other, masks) for other in numeric_outputs(evidence.graph, 4) if (masks := _of(evidence, y, other))]
    if named(evidence, _CLASSES, y) == "names":
        return next((masks for other, masks in found if named(evidence, _MASKS, other) == "names"), None)
    return found[0][1] if len(found) == 1 and _are_queries(evidence, y, *found[0]) else None


def _of(evidence: Evidence, y: ir.Value, other: ir.Value) -> DenseOutput | None:
    """Return *other* as a map [N, queries, h, w] for each query of *y*; None where it has other lengths."""
    queries, layout = length(other, 1), GridLayout(1, (2, 3))
    fits = isinstance(queries, int) and queries == length(y, 1)
    proportions = has_proportions(layout.size(other), evidence.image)
    return DenseOutput(other.name or "", layout, int(str(queries))) if fits and proportions else None


def _are_queries(evidence: Evidence, y: ir.Value, other: ir.Value, masks: DenseOutput) -> bool:
    """Return whether unnamed outputs are classes and masks: no coordinates of keypoints or boxes beside heat maps."""
    beside = [one for one in numeric_outputs(evidence.graph, 3) if one is not y and length(one, 1) == masks.channels]
    count = length(y, 2)
    few = not isinstance(count, int) or count <= _COORDINATES
    return not (few or beside) and not is_peaked([masks.view(value)[0] for value in evidence.values(other)])
