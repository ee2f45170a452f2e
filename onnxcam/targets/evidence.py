"""Evidence: what a model's file says, and what a run of it shows, by which tasks are recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.errors import TargetError, nearest
from onnxcam.metadata.card import Card
from onnxcam.metadata.labels import ClassNames

__all__ = ["Evidence", "open_length"]

_LENGTH = 224
"""The length of an open axis of space in the probe images."""
_SAMPLES = 8192
"""The length of an open axis of time in probe signals: networks of sounds reduce it a thousandfold."""
_VOXELS = 64
"""The length of an open axis in probe volumes: a cube of 224 has 43 times as many voxels."""


def open_length(axes: int) -> int:
    """Return the length of an open axis of space in the probe of an input with so many *axes* of space."""
    return {1: _SAMPLES, 3: _VOXELS}.get(axes, _LENGTH)


@dataclass
class Evidence:
    """What is known of a model before its task is.

    Attributes:
        graph: The graph, in canonical form.
        image: Its image input.
        names: The labels and the metadata; `ClassNames.card` has what the user and the card say.
        sample: Runs the model on each of a few probe images, and returns the outputs by name, [1, …] each; an empty
            list where it cannot run without further inputs. The default never runs it.
    """

    graph: ir.Graph
    image: ir.Value
    names: ClassNames
    sample: Callable[[], Sequence[Mapping[str, NDArray[Any]]]] = field(default=list)

    @cached_property
    def runs(self) -> Sequence[Mapping[str, NDArray[Any]]]:
        """The outputs for each probe image. The model runs at the first use: ask only where the graph is unsure."""
        return self.sample()

    @property
    def card(self) -> Card:
        """What the user says of the model, else its card."""
        return self.names.card

    def output(self, part: str) -> ir.Value | None:
        """Return the output that the user or the card names as *part*, ``"scores"`` or ``"boxes"``; None for none.

        TargetError where the model has no such output.
        """
        said = getattr(self.card, part)
        if said is None:
            return None
        outputs = {y.name or "": y for y in self.graph.outputs}
        name = said.rpartition(":")[0] or said if part == "boxes" and said not in outputs else said
        if name not in outputs:
            raise TargetError(f"the model has no output {name!r} for {part}.{nearest(name, list(outputs))}")
        return outputs[name]

    def values(self, output: ir.Value) -> list[NDArray[Any]]:
        """Return *output* for each probe image, [1, …] each."""
        return [run[output.name or ""] for run in self.runs if output.name in run]
