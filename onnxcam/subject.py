"""A model opened to be explained: in canonical form, with its picture and its class scores found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.diagnose import cells_reached
from onnxcam.extras import load_bare
from onnxcam.graph import ModelLike
from onnxcam.layer import Choice, choose
from onnxcam.layout import picture_input
from onnxcam.passes import canonical
from onnxcam.target import Scores, find_scores


@dataclass(frozen=True)
class Subject:
    """A canonical model, which may be edited, its picture input and its scores."""

    model: ir.Model
    image: ir.Value
    scores: Scores

    @classmethod
    def open(cls, source: ModelLike) -> Subject:
        """Open *source*; ModelError or TargetError where it is no classifier of pictures."""
        return cls.of(canonical(load_bare(source), STANDARD))

    @classmethod
    def of(cls, model: ir.Model) -> Subject:
        """Find picture and scores in *model*, a canonical one."""
        return cls(model, picture_input(model.graph), find_scores(model.graph))

    def choose(self, layer: str | None) -> Choice:
        """Return the layer called *layer*, or the best one for None and ``"auto"``; LayerError where there is none."""
        probe = partial(cells_reached, self.model, self.image, self.scores)
        return choose(self.model.graph, self.image, self.scores.value, STANDARD, layer, probe)

    def twin(self) -> Subject:
        """Return a copy, to be edited by itself."""
        return Subject.of(self.model.clone())
