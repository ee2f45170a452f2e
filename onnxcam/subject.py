"""A model opened to be explained: in canonical form, with its picture found."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.extras import load_bare
from onnxcam.graph import ModelLike
from onnxcam.layout import picture_input
from onnxcam.passes import canonical


@dataclass(frozen=True)
class Subject:
    """A canonical model, which may be edited, and its picture input."""

    model: ir.Model
    image: ir.Value

    @classmethod
    def open(cls, source: ModelLike, image: str | None = None) -> Subject:
        """Open *source*; ModelError where no input, or not that called *image*, is a picture."""
        return cls.of(canonical(load_bare(source), STANDARD), image)

    @classmethod
    def of(cls, model: ir.Model, image: str | None = None) -> Subject:
        """Find the picture in *model*, a canonical one."""
        return cls(model, picture_input(model.graph, image))

    @property
    def batch(self) -> int | ir.SymbolicDim | None:
        """Return how many pictures a run takes, an int where that is fixed."""
        return self.image.shape[0] if self.image.shape is not None and len(self.image.shape) else None

    def twin(self) -> Subject:
        """Return a copy, to be edited by itself."""
        return Subject.of(self.model.clone(), self.image.name)
