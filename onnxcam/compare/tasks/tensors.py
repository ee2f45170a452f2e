"""Comparison of models without a known task: their outputs, number by number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare import similarity
from onnxcam.compare.outcome import Agreement, Answer, Prediction
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted
from onnxcam.errors import MetricError, TargetError
from onnxcam.targets.goal import Look
from onnxcam.targets.kinds import TensorElement
from onnxcam.targets.parser import parse
from onnxcam.targets.registry import TargetKind
from onnxcam.targets.tensors import Tensors

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison

__all__ = ["DEFAULTS", "TensorsObservation", "TensorsPrediction"]

DEFAULTS = "cosine>=0.98, output_error<=0.5"
"""Default requirements, for a quantised model without a known task against its float reference.

Measured on models/segmenter and models/embedder with outputs of other axes, as static int8 and with one activation
scale divided by 12, at five places: `output_error` is 0.04 to 0.14 sound and 0.55 to 4.2 spoilt, `cosine` 1.00 sound
and -0.15 to 0.99 spoilt. Maps are not required: what the sum of an output means is not known.
"""


@dataclass(frozen=True)
class TensorsPrediction(Prediction):
    """Outputs of a model for one image.

    Attributes:
        names: Names of the outputs.
        shapes: Shape of each, such as ``"1,7,64,64"``; empty for a number.
        values: Numbers of all outputs in order, float32 [V].
    """

    names: tuple[str, ...]
    shapes: tuple[str, ...]
    values: NDArray[np.float32]

    task = "tensors"
    metrics = ("cosine", "output_error")
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "names": "texts",
        "shapes": "texts",
        "values": "float [V]",
    }

    @classmethod
    def of(cls, outputs: Mapping[str, NDArray[Any]]) -> TensorsPrediction:
        """Return the numbers of *outputs* by name; other outputs, such as text, are left out."""
        kept = {name: y for name, y in outputs.items() if isinstance(y, np.ndarray) and y.dtype.kind in "fiub"}
        flat = [y.reshape(-1).astype(np.float32) for y in kept.values()]
        shapes = tuple(",".join(map(str, y.shape)) for y in kept.values())
        return cls(tuple(kept), shapes, np.concatenate([np.zeros(0, np.float32), *flat]))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the outputs in the *arrays* of a recording."""
        found = super().from_arrays(arrays)
        if len(found.shapes) != len(found.names):
            raise ValueError(f"'shapes' are {len(found.shapes)} instead of {len(found.names)}")
        if any(not all(part.isdecimal() and len(part) < 9 for part in one.split(",")) for one in found.shapes if one):
            raise ValueError("'shapes' holds a text that is no lengths")
        if sum(found.sizes) != len(found.values):
            raise ValueError(f"'values' are {len(found.values)} instead of {sum(found.sizes)}")
        return found

    @property
    def lengths(self) -> list[tuple[int, ...]]:
        """Return the shape of each output."""
        return [tuple(map(int, one.split(","))) if one else () for one in self.shapes]

    @property
    def sizes(self) -> list[int]:
        """Return the number of numbers of each output."""
        return [math.prod(one) for one in self.lengths]

    @property
    def parts(self) -> list[NDArray[np.float32]]:
        """Return the numbers of each output."""
        return np.split(self.values, np.cumsum(self.sizes)[:-1]) if self.names else []

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the outputs with their ranges."""
        rows = [
            {"name": name, "shape": list(shape), "low": _plain(part, np.min), "high": _plain(part, np.max)}
            for name, shape, part in zip(self.names, self.lengths, self.parts, strict=True)
        ]
        words = [f"{one['name']}: {one['low']} to {one['high']}" for one in rows if one["low"] is not None]
        return Answer("; ".join(words[:3]) + ("; …" if len(words) > 3 else "") or "no number", None, {"outputs": rows})

    def compare(self, candidate: TensorsPrediction) -> Agreement:
        """Compare each output; the worst one counts."""
        notes: list[str] = []
        rows: list[tuple[str, float, float]] = []
        for row, (name, other) in enumerate(_pairs(self, candidate)):
            shapes = self.lengths[row], candidate.lengths[other]
            if len(shapes[0]) != len(shapes[1]):
                raise MetricError(
                    f"the output {name!r} has {len(shapes[0])} axes in the reference and {len(shapes[1])} in the "
                    "candidate: outputs are compared number by number"
                )
            cosine, error = _agreement(self.parts[row], candidate.parts[other], name, notes)
            if shapes[0] != shapes[1]:
                notes.append(
                    f"the output {name!r} has the shapes {list(shapes[0])} and {list(shapes[1])}: no agreement"
                )
                cosine, error = 0.0, math.nan
            rows.append((name, cosine, error))
        cosines = [cosine for _, cosine, _ in rows if math.isfinite(cosine)]
        errors = [error for *_, error in rows if math.isfinite(error)]
        values = {"cosine": min(cosines, default=math.nan), "output_error": max(errors, default=math.nan)}
        told = [[name, _rounded(cosine), _rounded(error)] for name, cosine, error in rows]
        return Agreement(values, notes, {"outputs": told})

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return which of several outputs agrees least, by the mean of the errors."""
        errors: dict[str, list[float]] = {}
        for one in comparisons:
            for name, _, error in one.details["outputs"]:
                errors.setdefault(name, []).extend([] if error is None else [error])
        means = {name: float(np.mean(found)) for name, found in errors.items() if found}
        if not means:
            raise MetricError(
                f"no output can be compared in any of the {len(comparisons)} images: all are constant, empty or NaN"
            )
        worst = max(means, key=lambda name: means[name])
        if len(means) < 2 or means[worst] < 1:
            return []
        return [
            f"the output {worst!r} differs most: its largest error is {means[worst]:.2f} times the reference's spread"
        ]


class TensorsObservation(Observation):
    """Models without a known task. The sum of an output is explained, or the elements that the user names."""

    task = Tensors
    prediction = TensorsPrediction

    def predict(self, model: Observed, look: Look) -> TensorsPrediction:
        """Return the outputs for one image."""
        return TensorsPrediction.of({name: look.outputs[name] for name in _task(model).outputs if name in look.outputs})

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the sum of the first output with a gradient."""
        task = _task(model)
        rank = task.ranks.get(task.example, 0)
        return [TensorElement(task.example, (slice(None),) * rank)] if rank else []

    def check(self, model: Observed, target: int | str) -> None:
        """Raise TargetError unless the *target* is elements of a tensor."""
        task = _task(model)
        if target == "top":
            return
        found = parse(target, None)
        if not isinstance(found, TensorElement) or found.tensor not in task.ranks:
            raise TargetError(f"target {target!r} is no element of {model.network.task.name}; such as {task.examples}")

    def own(self, model: Observed, target: TargetKind | str) -> TargetKind | str:
        """Return the elements of the model's own output, which may have another name."""
        found, task = parse(target, None), _task(model)
        if not isinstance(found, TensorElement) or found.tensor in task.ranks or len(task.outputs) != 1:
            return found
        return replace(found, tensor=task.outputs[0])


def _pairs(reference: TensorsPrediction, candidate: TensorsPrediction) -> list[tuple[str, int]]:
    """Return the name of each output of the reference and its place in the candidate: by name, else by order."""
    own, other = reference.names, candidate.names
    if set(own) == set(other):
        return [(name, other.index(name)) for name in own]
    if len(own) != len(other):
        raise MetricError(
            f"the reference has the outputs {', '.join(own) or 'none'} and the candidate {', '.join(other) or 'none'}: "
            "export both with the same"
        )
    return [(name, place) for place, name in enumerate(own)]


def _agreement(a: NDArray[np.float32], b: NDArray[np.float32], name: str, notes: list[str]) -> tuple[float, float]:
    """Return the cosine of two outputs, and the largest error by the reference's spread; NaN for what is not known."""
    sides = (("reference", a), ("candidate", b))
    wrong = [side for side, one in sides if not np.isfinite(one).all()]
    notes += [f"the {side}'s output {name!r} holds NaN or infinity" for side in wrong]
    if wrong:
        return (0.0 if wrong == ["candidate"] else math.nan), math.nan
    if a.size != b.size or not a.size:
        return math.nan, math.nan
    cosine, spread = similarity.cosine(a, b), float(a.std(dtype=np.float64))
    if not spread > 0:
        return cosine, math.nan
    return cosine, float(np.abs(a.astype(np.float64) - b).max()) / spread


def _rounded(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _plain(part: NDArray[np.float32], of: Any) -> float | None:
    """Return the least or largest number that is finite, for JSON."""
    known = part[np.isfinite(part)]
    return float(f"{float(of(known)):.4g}") if known.size else None


def _task(model: Observed) -> Tensors:
    found = model.network.task
    assert isinstance(found, Tensors)
    return found
