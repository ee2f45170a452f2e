"""The result of a diagnosis: what each quantised tensor contributes, the worst first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnxcam
from onnxcam.diagnosis.causes import Cause
from onnxcam.diagnosis.formatting import percent
from onnxcam.diagnosis.moved_biases import MovedBias
from onnxcam.text import visible

__all__ = ["SCHEMA", "Diagnosis", "Effect", "TensorDiagnosis"]

SCHEMA = 1
"""Version of the names in diagnosis.json."""
_NAME = 60  # characters of a tensor's name in a sentence
_STANDS_OUT = 0.1
"""A tensor with less of the damage, and without a cause, does not stand out."""


@dataclass(frozen=True)
class Effect:
    """The first-order effect of one tensor's rounding on one objective, over the images.

    Attributes:
        size: Mean magnitude.
        mean: Mean.
        spread: Standard deviation.
        worst: Image where its magnitude is largest.
    """

    size: float
    mean: float
    spread: float
    worst: str


@dataclass(frozen=True)
class TensorDiagnosis:
    """What the rounding of one tensor does.

    Attributes:
        tensor: Its name in the quantised model.
        name: Its name in the float model; that of the quantised one if they cannot be paired.
        kind: ``activation``, ``weight`` or ``bias``.
        place: Its position among the quantised tensors, from the input to the outputs.
        node: Operator that makes an activation, or uses a weight, such as ``Conv``.
        shape: Its shape.
        effects: By objective: ``score``, ``outputs``, ``map``.
        share: Share of the damage, 0 to 1: the mean over the objectives of its size relative to that of all tensors.
        accumulated: Mean magnitude of the effect on the outputs of all rounding up to this tensor; None for weights.
        sqnr: Signal-to-noise ratio of its own rounding in dB; None without noise.
        clipped: Share of its values outside the range of its integers.
        cause: Named cause of the error; None if nothing stands out.
    """

    tensor: str
    name: str
    kind: str
    place: int
    node: str
    shape: tuple[int | str, ...]
    effects: Mapping[str, Effect]
    share: float
    accumulated: float | None
    sqnr: float | None
    clipped: float
    cause: Cause | None

    @property
    def words(self) -> str:
        """Return the tensor in a few words."""
        return f"{self.kind} {visible(self.name, _NAME)}"


@dataclass(frozen=True)
class Diagnosis:
    """What spoils a quantised model.

    Attributes:
        tensors: The tensors, the largest share of the damage first.
        change: By objective, the mean magnitude of the change when all is quantised.
        images: Images that were used.
        unmatched: Quantised tensors without a float partner.
        warnings: What the user should know.
        moved_biases: Biases that differ from those of the float model, as NNCF and AIMET correct them.
        guessed: What was guessed of the quantised model, and its value.
        given: Number of images that were given; 0 if it is not known.
    """

    tensors: Sequence[TensorDiagnosis]
    change: Mapping[str, float]
    images: Sequence[str]
    unmatched: Sequence[str] = ()
    warnings: Sequence[str] = ()
    moved_biases: Sequence[MovedBias] = ()
    guessed: Mapping[str, str] = field(default_factory=dict)
    given: int = 0

    @property
    def sentence(self) -> str:
        """Return the finding in plain words."""
        first = self.tensors[0]
        if not first.share:
            return "No rounding changes anything in these images: their outputs are constant, or the rounding is exact"
        causes = f"{first.kind.capitalize()} {visible(first.name, _NAME)} causes {percent(first.share)} of the damage"
        if first.cause is not None:
            return f"{causes}, because {first.cause.words}. Cure: {first.cause.cure}"
        if first.share < _STANDS_OUT:
            return f"No tensor stands out. {causes}; all rounding together changes {self._changes}"
        return f"{causes}. Nothing about its range stands out: keep it in float"

    @property
    def sqnr_ranks(self) -> Mapping[str, int]:
        """Return the rank of each tensor by its signal-to-noise ratio, the noisiest first, by the tensors' names."""
        noise = sorted(self.tensors, key=lambda one: math.inf if one.sqnr is None else one.sqnr)
        return {one.tensor: rank for rank, one in enumerate(noise, 1)}

    @property
    def _changes(self) -> str:
        """Return the change of the map, or of the outputs."""
        objective = "map" if "map" in self.change else "outputs"
        return f"the {objective} by {percent(self.change[objective])}"

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as JSON."""
        ranks = self.sqnr_ranks
        return {
            "schema": SCHEMA,
            "onnxcam": onnxcam.__version__,
            "sentence": self.sentence,
            "change": dict(self.change),
            "images": list(self.images),
            "unmatched": list(self.unmatched),
            "moved_biases": [one.as_dict() for one in self.moved_biases],
            "warnings": list(self.warnings),
            "tensors": [{**_tensor(one), "sqnr_rank": ranks[one.tensor]} for one in self.tensors],
        }


def _tensor(one: TensorDiagnosis) -> dict[str, Any]:
    return {
        "tensor": one.tensor,
        "name": one.name,
        "kind": one.kind,
        "place": one.place,
        "node": one.node,
        "shape": list(one.shape),
        "share": one.share,
        "effects": {name: vars(effect) for name, effect in one.effects.items()},
        "accumulated": one.accumulated,
        "sqnr": None if one.sqnr is None or math.isinf(one.sqnr) else one.sqnr,
        "clipped": one.clipped,
        "cause": None if one.cause is None else vars(one.cause),
    }
