"""Embedding: the similarity of an image to another one, minus that to a third."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.errors import TargetError
from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import DirectionAim
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import function_before, length, numeric_outputs
from onnxcam.targets.kinds import Like, Top
from onnxcam.targets.notation import quoted
from onnxcam.targets.registry import Task, resolves
from onnxcam.targets.vectors import EMBEDDING, EMBEDDINGS, SCORES, Vector, vectors, words_of

__all__ = ["Embedding"]


@dataclass(frozen=True)
class Embedding(Task):
    """A network from images to vectors [N, D] or [N, D, 1, 1], tokens [N, T, D], or a grid [N, D, h, w]; of tokens and
    cells the means are compared.
    """

    output: str
    source: str = "shapes"
    name: str = "an embedding"
    sees_centre = True
    cards = ("embedding",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield an embedding for the likeliest vector of features; if *known*, for any vector.

        Where no vector is one, hidden states [N, T, D] or grids [N, D, h, w] are, if all outputs have such names; of
        several grids the last one. A model with class scores is none.
        """
        found = vectors(evidence)
        own = [one for one in found if one.role == EMBEDDING]
        if any(one.role == SCORES for one in found) and not known:
            return
        for one in sorted(own or (found if known else []), key=_order):
            yield cls(one.name, one.source)
            return
        if not found and all(map(_is_called_feature, evidence.graph.outputs)):
            hidden = [y for y in numeric_outputs(evidence.graph, 3) if isinstance(length(y, 2), int)]
            grids = [y for y in numeric_outputs(evidence.graph, 4) if isinstance(length(y, 1), int)]
            for y in sorted((*hidden, *grids[::-1]), key=lambda y: "embed" not in words_of(y))[:1]:
                yield cls(y.name or "", "names")

    def parts(self) -> Iterator[Part]:
        """Yield which output is the embedding."""
        yield Part("embedding", repr(self.output), self.source)

    @property
    def aim(self) -> DirectionAim:
        """Return a direction among embeddings."""
        return DirectionAim(self.output)

    def vector(self, look: Look) -> Array:
        """Return the embedding of the image, float32 [D], of length 1; zero if the model's is."""
        return self._unit(look)

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
        direction = -self._unit(look.at(np.zeros_like(look.feeds[look.image])))
        if not direction.any():
            raise TargetError(
                f"{self.output!r} is an embedding without classes, and that of a tensor of zeros is zero: name an "
                "image to compare with, like=FILE"
            )
        note = "what makes the embedding unlike that of a tensor of zeros; like=FILE compares images"
        return Goal(self.aim, direction, "top", note=note)

    def _unit(self, look: Look) -> Array:
        (y,) = look.tensors([self.output])
        axes = {3: (1,), 4: (2, 3)}.get(y.ndim if y.size > max(y.shape) else 0, ())
        y = y.mean(axis=axes).reshape(-1).astype(np.float64)
        unit: Array = (y / max(float(np.linalg.norm(y)), 1e-12)).astype(np.float32)
        return unit


def _is_called_feature(y: ir.Value) -> bool:
    return bool(words_of(y) & EMBEDDINGS) and function_before(y) not in ("sigmoid", "softmax")


def _order(one: Vector) -> tuple[bool, bool]:
    """Return a key by which embeddings for comparison come before pooled features."""
    words = words_of(one.value)
    return not words & {"embed", "embedding", "emb"}, "pooler" not in words
