"""The image encoder of a decoder: how an image becomes its tensor, and how many embeddings it gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxcam.decoders.meeting import is_mask, pixels
from onnxcam.engine import Session
from onnxcam.errors import ModelError
from onnxcam.preprocess import ResolvedPreprocess, Spec, TensorSpec, resolve

__all__ = ["Encoder"]

_PROBE = np.full((64, 64, 3), 127, np.uint8)


@dataclass(frozen=True)
class Encoder:
    """The encoder *model*, and the preprocessing of its images."""

    model: ir.Model
    resolved: ResolvedPreprocess

    @classmethod
    def of(cls, model: ir.Model, path: Path, spec: Spec | None) -> Encoder:
        """Find the preprocessing: *spec*, else the files beside the model at *path*, else a guess."""
        image = pixels(model.graph.inputs)
        shape = list(image.shape or ())
        tensor = TensorSpec.of(ir.Value(name=image.name, shape=ir.Shape([shape[0], *shape[-3:]]), type=image.type))
        metadata = dict(model.metadata_props)
        return cls(model, resolve(spec, tensor, path=path, metadata=metadata, graph_hint=image, whole=True))

    @property
    def words(self) -> str | None:
        """The preprocessing as text; None where it was guessed, or is a function."""
        said = str(self.resolved.preprocess)
        return None if self.resolved.guessed or said.startswith("function ") else said

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the tensor of an image."""
        height, width = self.resolved.preprocess(_PROBE).shape[-2:]
        return int(height), int(width)

    def measure(self, features: str) -> tuple[int, int]:
        """Return the number and the width of the embeddings of one image, by a run."""
        image, tensor = pixels(self.model.graph.inputs), self.resolved.preprocess(_PROBE)
        rank = len(image.shape or ())
        feeds = {image.name or "": tensor if rank == 4 else tensor[:, None]}
        for mask in filter(is_mask, self.model.graph.inputs):
            assert mask.dtype is not None
            feeds[mask.name or ""] = np.ones((1, 1, *tensor.shape[-2:]), mask.dtype.numpy())
        session = Session(self.model)
        unknown = [name for name in session.inputs if name not in feeds]
        if unknown:
            raise ModelError(
                f"the part 'vision' has an input {unknown[0]!r} of unknown meaning; known are an image and its mask of "
                "pixels"
            )
        found = session.run(session.filled(feeds), [features])[features]
        return found.size // found.shape[-1], int(found.shape[-1])
