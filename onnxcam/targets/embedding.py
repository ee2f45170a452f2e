"""Embedding: the similarity of an image to another one, minus that to a third."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.targets.aim import DirectionAim
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import length, numeric_outputs
from onnxcam.targets.kinds import Like, Top
from onnxcam.targets.notation import quoted
from onnxcam.targets.registry import Task, resolves
from onnxcam.targets.scores import of_pictures

__all__ = ["Embedding"]


@dataclass(frozen=True)
class Embedding(Task):
    """A network from images to vectors [N, D], compared by their cosine."""

    output: str
    name: str = "an embedding"
    cards = ("embedding",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield an embedding for the first output [N, D] of floats that the graph divides by its norm, or *known*."""
        for y in numeric_outputs(evidence.graph, 2):
            floats = y.dtype is not None and y.dtype.is_floating_point()
            if (known or _is_unit(y)) and of_pictures(y, evidence.graph) and isinstance(length(y, 1), int) and floats:
                yield cls(y.name or "")
                return

    @property
    def aim(self) -> DirectionAim:
        """Return a direction among embeddings."""
        return DirectionAim(self.output)

    @resolves(Like)
    def like(self, target: Like, look: Look) -> Goal:
        """The cosine with the embedding of one image minus that with another."""
        direction = np.zeros_like(self._unit(look)) if target.picture is None else self._unit(look.of(target.picture))
        if target.unlike is not None:
            direction = direction - self._unit(look.of(target.unlike))
        given = {"like": target.picture, "unlike": target.unlike}
        words = " ".join(f"{key}={quoted(picture)}" for key, picture in given.items() if picture is not None)
        return Goal(self.aim, direction.astype(np.float32), words)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The negative cosine with the embedding of a tensor of zeros."""
        blank = np.zeros_like(look.feeds[look.image])
        direction = -self._unit(look.at(blank))
        note = "what makes the embedding unlike that of a tensor of zeros; like=FILE compares images"
        return Goal(self.aim, direction, "top", note=note)

    def _unit(self, look: Look) -> Array:
        y = look.tensors([self.output])[0].reshape(-1).astype(np.float64)
        unit: Array = (y / max(float(np.linalg.norm(y)), 1e-12)).astype(np.float32)
        return unit


def _is_unit(y: ir.Value) -> bool:
    """Return whether the graph divides *y* by its norm."""
    node = y.producer()
    if node is None or node.op_type not in ("Div", "LpNormalization"):
        return False
    below = node.inputs[1] if node.op_type == "Div" else None
    while below is not None and (maker := below.producer()) is not None:
        if maker.op_type in ("ReduceL2", "Sqrt"):
            return True
        if maker.op_type not in ("Clip", "Max", "Expand", "Reshape", "Unsqueeze", "Add"):
            return False
        below = maker.inputs[0]
    return node.op_type == "LpNormalization"
