"""A model opened to be explained: in canonical form, with its picture found, and the input that is asked about."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.errors import ModelError
from onnxcam.graph.io import ModelLike
from onnxcam.graph.operators import Trait, operators
from onnxcam.metadata.reserved import load_bare
from onnxcam.passes import canonical
from onnxcam.structure.layout import picture_input, picture_layout


@dataclass(frozen=True)
class Subject:
    """A canonical model, which may be edited, its picture input, and the one that maps are asked of."""

    model: ir.Model
    image: ir.Value
    asked: ir.Value  # the picture itself, or words, or numbers

    @classmethod
    def open(cls, source: ModelLike, asked: str | None = None) -> Subject:
        """Open *source*; ModelError where no input is a picture, or none is called *asked*."""
        return cls.of(canonical(load_bare(source), STANDARD), asked)

    @classmethod
    def of(cls, model: ir.Model, asked: str | None = None) -> Subject:
        """Find the picture in *model*, a canonical one: the input *asked*, unless that is none and another one is."""
        wanted = picture_input(model.graph, asked)
        if picture_layout(wanted) is None and any(picture_layout(x) is not None for x in model.graph.inputs):
            return cls(model, picture_input(model.graph), wanted)
        return cls(model, wanted, wanted)

    @property
    def batch(self) -> int | ir.SymbolicDim | None:
        """Return how many pictures a run takes, an int where that is fixed."""
        return self.image.shape[0] if self.image.shape is not None and len(self.image.shape) else None

    def twin(self) -> Subject:
        """Return a copy, to be edited by itself."""
        return Subject.of(self.model.clone(), self.asked.name)

    def differentiable(self) -> ir.Value:
        """Return what stands for the asked input where gradients flow: itself, or the vectors of its words.

        ModelError where it holds integers of which no table of vectors is made.
        """
        dtype = self.asked.dtype
        if self.asked is self.image or dtype is None or dtype.is_floating_point():
            return self.asked
        ways = [self.asked]
        while ways:
            for node, position in ways.pop().uses():
                if node.op_type == "Gather" and position == 1:
                    return node.outputs[0]
                if node.op_type in _MOVED and position == 0:
                    ways.append(node.outputs[0])
        raise ModelError(
            f"input {self.asked.name!r} holds integers that no table turns into vectors: nothing to differentiate by"
        )


_MOVED = operators(Trait.COPIES | Trait.RESHAPES) | {"Slice"}
