"""What an evaluation found, and what becomes of it: summaries, JSON, and a folder that appears whole or not at all."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

import onnxcam
from onnxcam.files import Folder, write, writing
from onnxcam.metrics import curve_plots
from onnxcam.metrics.base import Curve
from onnxcam.metrics.bootstrap import Interval, interval
from onnxcam.metrics.lookup import Settings
from onnxcam.metrics.sanity import Outcome
from onnxcam.text import to_json

FILE, PICTURE = "evaluation.json", "curves.png"


@dataclass(frozen=True)
class Measured:
    """What the metrics say of one picture, one class and one method."""

    image: str
    target: int
    label: str | None
    method: str
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """One metric of one method over all cases: the mean and its 95 % bootstrap interval."""

    metric: str
    method: str
    better: str
    mean: float
    low: float | None
    high: float | None
    cases: int
    pictures: int


@dataclass
class Evaluation:
    """What `evaluate` found.

    Attributes:
        rows: One for each picture, class and method.
        curves: By metric and method, one for each row.
        outcomes: Of the sanity checks, each with its verdict.
        settings: Of each method and metric, by its id.
        better: Which way is better, by metric.
        layers: What CAM methods looked at, by method.
        warnings: What the user should know.
    """

    model: str | None
    preprocess: str
    truth: dict[str, str] | None
    batch_size: int
    seed: int
    settings: Settings
    better: dict[str, str]
    warnings: list[str]
    layers: dict[str, str | None] = field(default_factory=dict)
    rows: list[Measured] = field(default_factory=list)
    curves: dict[str, dict[str, list[Curve]]] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """The methods and baselines, in order."""
        return list(dict.fromkeys(row.method for row in self.rows))

    def of(self, method: str) -> list[Measured]:
        """Return the rows of *method*."""
        return [row for row in self.rows if row.method == method]

    def add(self, outcome: Outcome) -> None:
        """Take in the outcome of a check: its values belong to the rows of its method."""
        self.outcomes.append(outcome)
        for row, value in zip(self.of(outcome.method), outcome.values, strict=True):
            row.values[outcome.check] = float(value)

    def interval(self, method: str, values: Any) -> Interval:
        """Return the mean of *values*, one for each row of *method*, and its interval."""
        return interval(np.asarray(values, np.float64), [row.image for row in self.of(method)], self.seed)

    def summary(self) -> list[Summary]:
        """Return one row for each metric and method."""
        return [self._summed(metric, method) for metric in self.better for method in self.methods]

    def _summed(self, metric: str, method: str) -> Summary:
        rows = self.of(method)
        found = self.interval(method, [row.values[metric] for row in rows])
        low, high = (None if end is None else float(end) for end in (found.low, found.high))
        pictures = len({row.image for row in rows})
        return Summary(metric, method, self.better[metric], float(found.mean), low, high, len(rows), pictures)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it: null where a number is not finite."""
        found: dict[str, Any] = {
            "onnxcam": onnxcam.__version__,
            "model": self.model,
            "preprocess": self.preprocess,
            "truth": self.truth,
            "layers": self.layers,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "settings": self.settings,
            "summary": [asdict(row) for row in self.summary()],
            "checks": [self._checked(outcome) for outcome in self.outcomes],
            "curves": {
                metric: {method: self._curve(method, curves) for method, curves in by_method.items()}
                for metric, by_method in self.curves.items()
            },
            "pictures": [
                {
                    "image": row.image,
                    "target": {"index": row.target, "label": row.label},
                    "method": row.method,
                    "metrics": row.values,
                }
                for row in self.rows
            ],
            "warnings": self.warnings,
        }
        return {name: _finite(value) for name, value in found.items()}

    def _curve(self, method: str, curves: list[Curve]) -> dict[str, list[float]]:
        found = {
            "share": curves[0].share.tolist(),
            "probability": self.interval(method, [curve.probability for curve in curves]).mean.tolist(),
        }
        kept = [curve.accuracy for curve in curves if curve.accuracy is not None]
        return found | ({"accuracy": np.mean(kept, axis=0).tolist()} if kept else {})

    def _checked(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "check": outcome.check,
            "method": outcome.method,
            "passed": outcome.passed,
            "verdict": outcome.verdict,
            "stages": list(outcome.stages),
            "similarity": outcome.similarity.mean(1).tolist(),
        }

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write evaluation.json, and curves.png and .pdf where there are curves, into *directory*; return their paths.

        OutputError where that cannot be done; then nothing is written.
        """
        with Report(directory) as report:
            return report.write(self)


class Report(Folder):
    """The folder of an evaluation: made before the work, so that one that cannot be written to is known at once."""

    def __init__(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        super().__init__(directory, FILE, overwrite=overwrite)

    def __enter__(self) -> Self:
        curve_plots.require()
        return super().__enter__()

    def write(self, evaluation: Evaluation) -> list[Path]:
        """Stage the files of *evaluation*; return what their paths will be."""
        text = to_json(evaluation.to_dict()) + "\n"
        with writing(self.path):
            drawn = curve_plots.draw(evaluation, self.staging / PICTURE) if curve_plots.drawable(evaluation) else []
        write(self.staging / FILE, text)
        return [self.path / FILE, *(self.path / file.name for file in drawn)]


def _finite(value: Any) -> Any:
    """Return *value* with null for each number in it that is not finite."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
