"""Biases that a quantiser moved: float constants of the quantised file that differ from those of the float model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.diagnosis.constants import Constant, used_constants
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.graph.io import all_tensors
from onnxcam.graph.subgraph import first_behind
from onnxcam.text import visible

__all__ = ["MovedBias", "moved_biases", "moved_words"]

_NAMED = 3  # biases that a sentence names
_NAME = 60  # characters of a name there


@dataclass(frozen=True, eq=False)
class MovedBias:
    """A bias, or another float constant, that NNCF, AIMET or a similar tool moved.

    Attributes:
        name: Its name in both models.
        array: Its values in the float model.
        change: Largest magnitude of the change.
        steps: The same in steps of the next quantised activation; None if none follows.
    """

    name: str
    array: NDArray[Any]
    change: float
    steps: float | None

    @property
    def words(self) -> str:
        """Return name and change."""
        size = f"{self.change:.2g}" if self.steps is None else f"{self.steps:.2g} steps of its output"
        return f"{visible(self.name, _NAME)} by {size}"

    def as_dict(self) -> dict[str, Any]:
        """Return name and change as JSON."""
        return {"name": self.name, "change": self.change, "steps": self.steps}


def moved_biases(mixture: Mixture, original: ir.Model, paired: Collection[str]) -> list[MovedBias]:
    """Return the float constants of the *mixture* that differ from those of the same name in *original*.

    *paired* names those of *original* that are the weights of a quantised tensor.
    """
    known = {one.name: one.array for one in used_constants(original) if one.name not in paired}
    steps = _steps(mixture)
    return [
        _moved(mixture, one, known[one.name], steps)
        for one in used_constants(mixture.real)
        if one.name in known
        and known[one.name].shape == one.array.shape
        and not np.allclose(known[one.name], one.array, rtol=1e-4, atol=1e-6)
    ]


def moved_words(found: Sequence[MovedBias]) -> str:
    """Return the biases in a sentence, the largest change first; "" for none."""
    if not found:
        return ""
    ranked = sorted(found, key=lambda one: -(one.steps or 0.0))
    named = ", ".join(one.words for one in ranked[:_NAMED])
    rest = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    one = len(found) == 1
    count = "1 bias differs" if one else f"{len(found)} biases differ"
    return f"{count} from the float model, as if a tool corrected {'it' if one else 'them'}: {named}{rest}"


def _moved(mixture: Mixture, bias: Constant, array: NDArray[Any], steps: Mapping[str, float]) -> MovedBias:
    size = float(np.abs(bias.array - array).max(initial=0))
    behind = (first_behind(node, steps) for node in all_tensors(mixture.real.graph)[bias.name].consumers())
    step = next((steps[found] for found in behind if found), None)
    return MovedBias(bias.name, array, size, None if not step else size / step)


def _steps(mixture: Mixture) -> dict[str, float]:
    """Return the size of a step of each quantised activation, by its tensor in the float network."""
    scales = {one.tensor: float(one.scale.max()) for one in mixture.quantisers}
    return {site.real: scales[tensor] for tensor, site in mixture.sites.items() if tensor in scales}
