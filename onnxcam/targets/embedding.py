"""Embedding: the similarity of an image to another one, a text or a vector, minus that to a second one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.errors import TargetError
from onnxcam.metadata.reading import Part
from onnxcam.structure.layer import ancestors
from onnxcam.targets.aim import DirectionAim
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.fit import fit
from onnxcam.targets.goal import Array, Goal, Look, Reference
from onnxcam.targets.graph_outputs import function_before, length, numeric_outputs
from onnxcam.targets.kinds import Like, Top
from onnxcam.targets.notation import ImageSource, quoted
from onnxcam.targets.reference_files import is_file, vector_of
from onnxcam.targets.registry import TargetKind, Task, resolves
from onnxcam.targets.text_parts import TextParts
from onnxcam.targets.vectors import EMBEDDING, EMBEDDINGS, SCORES, Vector, vectors, words_of

__all__ = ["Embedding"]


@dataclass(frozen=True)
class Embedding(Task):
    """A network from images to vectors [N, D] or [N, D, 1, 1], tokens [N, T, D], or a grid [N, D, h, w]; of tokens and
    cells the means are compared.
    """

    output: str
    source: str = "shapes"
    has_texts: bool = False  # the file holds the text tower too
    idle: tuple[str, ...] = ()  # inputs on which the embedding does not depend, such as a text's
    name: str = "an embedding"
    sees_centre = True
    cards = ("embedding",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield an embedding for the likeliest vector of features; if *known*, for any vector.

        Where no vector is one, hidden states [N, T, D] or grids [N, D, h, w] are, if all outputs have such names; of
        several grids the last one. A model with class scores is none, unless it has a text tower: its scores compare.
        """
        found = vectors(evidence)
        own = [one for one in found if one.role == EMBEDDING]
        has_texts = bool(own) and TextParts.of(evidence.graph) is not None
        if any(one.role == SCORES for one in found) and not known and not has_texts:
            return
        for one in sorted(own or (found if known else []), key=_order):
            before = ancestors(one.value)
            idle = tuple(x.name or "" for x in evidence.graph.inputs if x not in before)
            yield cls(one.name, one.source, has_texts, idle)
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

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        return tuple(words for words in super()._examples(kind) if self.has_texts or '"' not in words)

    @resolves(Like)
    def like(self, target: Like, look: Look) -> Goal:
        """The cosine with the embedding of one image, text or vector minus that with another."""
        given = {"like": target.picture, "unlike": target.unlike}
        found = {key: self._reference(key, one, look) for key, one in given.items() if one is not None}
        signs = {"like": 1, "unlike": -1}
        direction = sum(signs[key] * one.unit.astype(np.float64) for key, one in found.items())
        if not np.any(direction):
            raise TargetError("like and unlike have the same embedding, so their difference is zero; leave out unlike")
        words = " ".join(f"{key}={quoted(given[key])}" for key in found)
        texts = next((one.inputs for one in found.values() if one.inputs), {})
        inputs = {**self._blank(look), **texts}
        cosines, warnings = ("", ()) if look.frame is None else fit(self._unit(look), found, look)
        note = self._note(list(found.items()), cosines)
        return Goal(self.aim, np.asarray(direction, np.float32), words, inputs=inputs, note=note, warnings=warnings)

    def _note(self, found: Sequence[tuple[str, Reference]], cosines: str) -> str:
        """Return what the image is compared with, how, and the *cosines*; empty for images."""
        told = ", ".join(f"{key} {one.note}" for key, one in found if one.note)
        how = "; ".join(dict.fromkeys(one.how for _, one in found if one.how))
        if not told:
            return ""
        end = f": {cosines}" if cosines else ""
        return f"{told}; {how + '; ' if how else ''}cosine with {self.output!r}, all of length 1{end}"

    def _reference(self, key: str, source: ImageSource, look: Look) -> Reference:
        """Return what the image is compared with: a vector, a text, or another image."""
        length = len(self._unit(look))
        vector = vector_of(key, source, length)
        if vector is not None:
            return vector
        if isinstance(source, str) and not is_file(source):
            if look.text is not None:
                return look.text(source, length)
            raise TargetError(
                f"{key}={quoted(source)} is no file; for a text give the text tower that belongs to the model with "
                "--text-model (text_model=)"
            )
        return Reference(self._unit(look.of(source)))

    def _blank(self, look: Look) -> dict[str, Array]:
        """Return values of the inputs on which the embedding does not depend."""
        feeds = {name: look.feeds[name] for name in self.idle if name in look.feeds}
        return {name: x[0] for name, x in feeds.items() if x.shape[:1] == (1,)}

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The negative cosine with the embedding of a tensor of zeros."""
        direction = -self._unit(look.at(np.zeros_like(look.feeds[look.image])))
        if not direction.any():
            raise TargetError(
                f"{self.output!r} is an embedding without classes, and that of a tensor of zeros is zero: name an "
                'image to compare with, like=FILE, or a text, like="a dog"'
            )
        note = "what makes the embedding unlike that of a tensor of zeros; like=FILE compares images"
        return Goal(self.aim, direction, "top", inputs=self._blank(look), note=note)

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
