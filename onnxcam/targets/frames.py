"""Frames: outputs of rank 3 that may be scores of letters for each part of the image's width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.structure.layout import picture_layout
from onnxcam.targets.dense import is_plane, sums_to_one
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array
from onnxcam.targets.graph_outputs import decided, function_before, length, numeric_outputs
from onnxcam.targets.heads import before_head, ends_linear, parts_of_one
from onnxcam.targets.vectors import EMBEDDINGS, FEWEST_LETTERS, words_of

__all__ = ["Frames", "find_frames"]

_MANY = 20
"""Scores of fewer letters are not taken for letters by their shape alone."""
_FEATURES = 64
"""Numbers of scores that are multiples of this are usual for features, and unusual for letters."""
_LINE = 64
"""A line of text is at most this many pixels high."""
_NARROWEST = 2
"""A frame is at least this many pixels wide."""


@dataclass(frozen=True)
class Frames:
    """Scores of *letters* for each frame: an output, or the tensor that one decides about, and its axes."""

    scores: ir.Value
    letters: int
    batch: int = 0
    frame: int = 1
    letter: int = 2
    decided: bool = False
    flat: int = 0
    """The number of slots where the output is [N, slots · letters]; else 0."""

    @property
    def output(self) -> str:
        """The name of the tensor."""
        return self.scores.name or ""

    def view(self, y: Array) -> Array:
        """Return the scores of the first image, [frames, letters]."""
        if self.flat:
            return y[0].reshape(self.flat, self.letters)
        return y.transpose(self.batch, self.frame, self.letter)[0]

    def feed(self, weights: Array) -> Array:
        """Return *weights* [frames, letters] in the order of the output's axes, without that of images."""
        if self.flat:
            return weights.reshape(-1)
        return np.ascontiguousarray(weights.T) if self.letter < self.frame else weights

    def runs(self, evidence: Evidence) -> list[Array]:
        """Return the scores for each probe image."""
        value = next((y for y in evidence.graph.outputs if y.name == self.output), None)
        return [] if value is None else [self.view(y) for y in evidence.values(value)]

    def source(self, evidence: Evidence) -> str | None:
        """Return how the output is known to be scores of letters, whatever they are; None where it is not."""
        y = self.scores
        if self.flat:
            return "run" if self.letters >= FEWEST_LETTERS else None
        if self.letters < FEWEST_LETTERS or not self._fits(y, evidence):
            return None
        if self.letter != 2:
            return self._by_shape(evidence)
        if any(node.op_type in ("LSTM", "GRU") for node in evidence.graph) and not is_plane(evidence, y):
            return "graph"
        if self.decided or function_before(y) == "logsoftmax":
            return "graph"
        return sums_to_one(evidence, y, 2) or self._by_shape(evidence)

    def _by_shape(self, evidence: Evidence) -> str | None:
        """Return ``"shapes"`` for scores of many letters for each part of a line of text; else None.

        A line of text is a wide image. Frames before images, [T, N, A], are a habit of PyTorch's CTC.
        """
        y, frames = self.scores, length(self.scores, self.frame)
        features = self.letters % _FEATURES == 0 or bool(words_of(y) & EMBEDDINGS)
        if features or self.letters < _MANY or not ends_linear(y) or is_plane(evidence, y):
            return None
        if self.letter != 2 and not (isinstance(frames, int) and frames < self.letters):
            return None
        return "shapes" if self.batch == 1 or _is_wide(evidence.image) else None

    def _fits(self, y: ir.Value, evidence: Evidence) -> bool:
        """Return whether frames are parts of the image's width."""
        layout, frames = picture_layout(evidence.image), length(y, self.frame)
        width = layout.size(evidence.image)[-1] if layout is not None else None
        if not isinstance(frames, int) or not isinstance(width, int):
            return True
        return 1 < frames <= width // _NARROWEST and frames != self.letters  # as many of both: weights of attention


def _is_wide(image: ir.Value) -> bool:
    """Return whether *image* is at least twice as wide as high, or of an open width and at most a line of text high."""
    layout = picture_layout(image)
    if layout is None or len(layout.space) != 2:
        return False
    height, width = layout.size(image)
    if isinstance(height, int) and isinstance(width, int):
        return width >= 2 * height
    return isinstance(height, int) and height <= _LINE


def find_frames(evidence: Evidence) -> Iterator[Frames]:
    """Yield the outputs of rank 3 with their axes: letters at the last axis first, then at axis 1 (LPRNet).

    Then come the scores of which outputs [N, T] are the best letters.
    """
    for y in numeric_outputs(evidence.graph, 3):
        values = evidence.values(y) if not isinstance(length(y, 2), int) else []
        count = values[0].shape[2] if values else length(y, 2)
        if isinstance(count, int):
            batch = _batch_axis(y, evidence.image)
            yield Frames(y, count, batch, 1 - batch)
        other = length(y, 1)
        if isinstance(other, int) and other > 1:
            yield Frames(y, other, 0, 2, 1)
    for y in numeric_outputs(evidence.graph, 2):
        scores, axis = decided(y) or (y, None)
        count = length(scores, 2) if axis == 2 else None
        if isinstance(count, int):
            yield Frames(scores, count, decided=True)
    for y in numeric_outputs(evidence.graph, 2):
        yield from _in_one_vector(y, evidence)


def _in_one_vector(y: ir.Value, evidence: Evidence) -> Iterator[Frames]:
    """Yield the slots of an output [N, slots · letters] whose equal parts are probabilities in every run."""
    total = length(y, 1)
    if not isinstance(total, int) or total < 2 * FEWEST_LETTERS:
        return
    if ends_linear(y) or before_head(y).name is not None:
        return
    slots = parts_of_one([row.reshape(-1) for row in evidence.values(y) if row.dtype.kind == "f"])
    if slots:
        yield Frames(y, total // slots, flat=slots)


def _batch_axis(y: ir.Value, image: ir.Value) -> int:
    """Return the batch axis of *y*: 1 where that axis has the length of the image's batch, else 0."""
    if y.shape is None or image.shape is None:
        return 0
    own, batch = y.shape[1], image.shape[0]
    if isinstance(batch, int):
        return int(own == 1)
    name = getattr(batch, "value", None)
    return int(name is not None and getattr(own, "value", None) == name)
