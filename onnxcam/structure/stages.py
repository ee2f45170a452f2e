"""Every layer that can be named, stage by stage: the activations whose cells have a place in the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.autodiff.table import RuleSet
from onnxcam.graph.infer import no_numbers
from onnxcam.graph.io import all_tensors
from onnxcam.structure.layer import Layer, ancestors, has_extent, tail
from onnxcam.structure.names import module_outputs
from onnxcam.structure.propagate import layouts

__all__ = ["NamedLayer", "named_layers"]


@dataclass(frozen=True)
class NamedLayer:
    """A layer of a stage; a stage is a run of layers of one grid.

    Attributes:
        stage: The number of the stage, from 1.
        names: The framework's names of the layer, the outermost module first, else that of the tensor.
        layer: The tensor and its layout.
        operator: The operator that makes it.
    """

    stage: int
    names: tuple[str, ...]
    layer: Layer
    operator: str

    @property
    def channels(self) -> str:
        """The number of channels."""
        length = list(self.layer.value.shape or ())[self.layer.layout.channel]
        return str(length) if isinstance(length, int) else "?"


def named_layers(
    graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet, found: Sequence[Layer] = ()
) -> Iterator[NamedLayer]:
    """Yield the layers between *image* and *scores* from the image on; *found* are those that a run has located."""
    known = {layer.value: layer for layer in found}
    known |= {y: Layer(y, layout) for y, layout in layouts(graph, image, rules).items() if y not in known}
    before, own = ancestors(scores), tail(scores)
    modules: dict[ir.Value, list[str]] = {}
    taken = {*all_tensors(graph), *(node.name for node in graph)}  # these names come before those of modules
    for name, y in module_outputs(graph).items():
        if name not in taken:
            modules.setdefault(y, []).append(name)
    stage, size = 0, ""
    for node in graph:
        for y in node.outputs:
            if y not in known or y not in before or y in own or no_numbers(y) or not has_extent(y, known[y].layout):
                continue
            stage, size = stage + (known[y].size != size), known[y].size
            yield NamedLayer(stage, tuple(modules.get(y, [y.name or ""])), known[y], node.op_type)
