"""A model's file, its inputs, outputs and tasks, as the parts of a description share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import onnx_ir as ir

from onnxcam.graph.cache import GraphCache
from onnxcam.graph.io import ModelLike, building
from onnxcam.media.tiles import Tiling
from onnxcam.metadata.labels import ClassNames
from onnxcam.model.inputs import InputValue
from onnxcam.model.invalid import explaining_invalid_models
from onnxcam.model.measured import Measured, apply_measured
from onnxcam.model.prepared import PreparedModel
from onnxcam.model.signals import SignalChoice
from onnxcam.model.stitched import StitchedOutput
from onnxcam.preprocess import Spec
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets import Task
from onnxcam.text_towers import TextTower

__all__ = ["ModelFile"]


class ModelFile:
    """The file of a `ModelDescription`, which documents the attributes, and copies of it."""

    model: ModelLike
    provider: str
    preprocess: Spec | None
    wrt: str | None
    given: Mapping[str, InputValue]
    size: tuple[int, ...] | None
    cache: GraphCache | None
    signals: SignalChoice
    tiling: Tiling | None
    frames: int | str | None
    warnings: list[str]
    image: ir.Value
    explained: ir.Value
    others: list[ir.Value]
    outputs: list[str]
    names: ClassNames
    tasks: Sequence[Task]
    text_tower: TextTower | None
    stitched: StitchedOutput | None
    _unused: PreparedModel | None
    _measured: Measured

    def open(self) -> PreparedModel:
        """Return a copy of the model that the caller may edit."""
        if self._unused is not None:
            found, self._unused = self._unused, None
            return found
        with building(), explaining_invalid_models(self.model):
            prepared = PreparedModel.open(self.model, self.wrt, self.size, self.cache)
            self.warn_of_cache()
            if self._measured:
                apply_measured(prepared, self._measured)
            return prepared

    def warn_of_cache(self) -> None:
        """Warn of the entries of the cache that could not be used."""
        for text in self.cache.warnings if self.cache is not None else ():
            self.warn(text)

    @property
    def task(self) -> Task:
        """The model's likeliest task."""
        return self.tasks[0]

    @property
    def class_names(self) -> Sequence[str] | None:
        """The labels that targets may use."""
        return getattr(self.task, "labels", None)

    @property
    def picture(self) -> str:
        """The name of the image input."""
        return self.image.name or ""

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several classes."""
        return self.names.multi_label

    @cached_property
    def layout(self) -> GridLayout | None:
        """The layout of the image's tensor; None where it has no spatial axes."""
        return picture_layout(self.image)

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    @cached_property
    def _kept(self) -> PreparedModel:
        """A copy of the model that is never edited."""
        return self.open()

    @cached_property
    def _is_size_fixed(self) -> bool:
        """Whether the file fixes the lengths of the image input."""
        image = PreparedModel.open(self.model, self.wrt, None, self.cache).image
        layout = picture_layout(image)
        return layout is not None and all(isinstance(n, int) for n in layout.size(image))

    def _is_like_image(self, x: ir.Value) -> bool:
        return x.dtype == self.image.dtype and str(x.shape) == str(self.image.shape) and self.layout is not None
