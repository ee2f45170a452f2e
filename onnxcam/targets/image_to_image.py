"""Image to image: a patch of the output, such as that of an upscaler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxcam.errors import TargetError
from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.dense import DenseOutput, cell_count, dense_outputs, is_larger, like_image, who
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import channels, holds_images, is_signed
from onnxcam.targets.kinds import Patch, Top
from onnxcam.targets.registry import Task, resolves

__all__ = ["ImageToImage"]


@dataclass(frozen=True)
class ImageToImage(Task):
    """A model from image to image. A patch of its output is explained by its edges: D = Σ |∂y|, the sum of the
    differences between neighbouring pixels (local attribution maps, arXiv 2011.11036).
    """

    output: DenseOutput
    source: str = "shapes"
    name: str = "an image-to-image model"
    cards = ("image",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the task for each image, the largest first: its proportions, and as many channels as the input or more
        pixels; or one or three channels behind Tanh.
        """
        wanted = evidence.output("scores")
        found = [
            (y, one) for y, one in dense_outputs(evidence) if one.layout is not None and len(one.layout.space) == 2
        ]
        for y, output in sorted(found, key=lambda pair: -cell_count(pair[1].size(pair[0]))):
            if wanted in (None, y) and (known or _is_image(evidence, y, output)):
                yield cls(output, who(evidence, known) or ("graph" if is_signed(y) else "shapes"))

    def parts(self) -> Iterator[Part]:
        """Yield which output is the image."""
        yield Part("image", repr(self.output.tensor), self.source)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return self.output.aim

    @property
    def dense(self) -> DenseOutput:
        """Return the output."""
        return self.output

    @resolves(Patch)
    def patch(self, target: Patch, look: Look) -> Goal:
        """The edges in a part of the output."""
        y = self._output(look)
        x1, y1, x2, y2 = map(round, target.corners)
        return self._goal(y, (x1, y1, x2, y2), look)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The edges in the middle of the output."""
        y = self._output(look)
        corners, where = _middle(*y.shape[-2:]), "the middle of what the model puts out"
        middle = _part(y, corners)
        if middle[0].size > 1 and not _edges(middle).any():
            corners, where = _busiest(y), "the part of what the model puts out with most edges"
        goal = self._goal(y, corners, look)
        return replace(goal, note=f"{where}, {goal.words}")

    def _output(self, look: Look) -> Array:
        return self.output.read(look).astype(np.float64)

    def _goal(self, picture: Array, corners: tuple[int, int, int, int], look: Look) -> Goal:
        """Return the edges in a patch of *picture* [C, h, w]; TargetError for a patch that is not inside it."""
        height, width = picture.shape[-2:]
        x1, y1, x2, y2 = corners
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise TargetError(
                f"the patch {x1},{y1},{x2},{y2} does not lie in what the model puts out, {width} × {height} pixels"
            )
        weights = np.zeros_like(picture, np.float32)
        weights[..., y1:y2, x1:x2] = _edges(_part(picture, corners))
        words = f"patch={x1},{y1},{x2},{y2}"
        box = look.patch(corners, (height, width), self.output.tensor, self.output.placed)
        return Goal(self.aim, self.output.feed(weights), words, box=box)


def _is_image(evidence: Evidence, y: ir.Value, output: DenseOutput) -> bool:
    size, image = output.size(y), evidence.image
    own = output.channels in (1, 3) and (is_larger(size, image) or is_signed(y))
    own = own or (output.channels == 3 and holds_images(image))
    return (output.channels == channels(image) or own) and like_image(size, image)


def _part(picture: Array, corners: tuple[int, int, int, int]) -> Array:
    x1, y1, x2, y2 = corners
    return picture[..., y1:y2, x1:x2]


def _busiest(picture: Array) -> tuple[int, int, int, int]:
    """Return the quarter of the lengths of *picture* [C, h, w], in steps of an eighth, with most edges."""
    height, width = picture.shape[-2:]
    x, y = ([length * i // 8 for i in range(9)] for length in (width, height))
    parts = [(x[i], y[j], x[i + 2], y[j + 2]) for j in range(7) for i in range(7)]
    return max(parts, key=lambda part: float(np.abs(_edges(_part(picture, part))).sum()))


def _edges(patch: Array) -> Array:
    """Return ∂D/∂y of a patch [C, …, h, w]. D is homogeneous in y, so D = Σ y · ∂D/∂y."""
    slope = np.zeros_like(patch)
    for axis in range(1, patch.ndim):
        steps = np.sign(np.diff(patch, axis=axis))
        before, after = [(0, 0)] * patch.ndim, [(0, 0)] * patch.ndim
        before[axis], after[axis] = (1, 0), (0, 1)
        slope += np.pad(steps, before) - np.pad(steps, after)
    return slope


def _middle(height: int, width: int) -> tuple[int, int, int, int]:
    return width * 3 // 8, height * 3 // 8, max(width * 5 // 8, 1), max(height * 5 // 8, 1)
