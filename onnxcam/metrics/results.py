"""Result of an evaluation: measurements, curves, checks, and a summary of each metric."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import onnxcam
from onnxcam.deprecation import warn_renamed
from onnxcam.metrics.base import Curve
from onnxcam.metrics.bootstrap import Interval, bootstrap_interval
from onnxcam.metrics.lookup import Settings
from onnxcam.metrics.sanity import CheckResult
from onnxcam.text import finite

__all__ = ["Evaluation", "Measurement", "Summary"]


@dataclass(frozen=True)
class Measurement:
    """Metric values of one image, class and method."""

    image: str
    target: int
    label: str | None
    method: str
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """Mean of one metric of one method over all cases, with its 95 % bootstrap interval."""

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
    """Result of `evaluate`.

    Attributes:
        model: Path of the model, if it has one.
        preprocess: Preprocessing of the images.
        truth: Path and mask values of the ground truth.
        rows: One measurement per image, class and method.
        curves: One curve per row, by metric and method.
        checks: Results of the sanity checks, with their verdicts.
        settings: Settings by id of the method or metric.
        better: Better direction of each metric, ``"higher"`` or ``"lower"``.
        layers: Explained layer of each CAM method, by method.
        warnings: Warnings for the user.
        unreadable: (image, reason) of each image that was left out.
        guessed: What was guessed of the model, and its value.
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
    rows: list[Measurement] = field(default_factory=list)
    curves: dict[str, dict[str, list[Curve]]] = field(default_factory=dict)
    checks: list[CheckResult] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    guessed: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line: the model, and how many images, methods and metrics, without their values."""
        images = len({row.image for row in self.rows})
        return (
            f"Evaluation({self.model or 'a model'}: {images} images, methods {', '.join(self.methods) or 'none'}, "
            f"metrics {', '.join(self.better) or 'none'})"
        )

    @property
    def outcomes(self) -> list[CheckResult]:
        """Old name of ``checks``."""
        warn_renamed("Evaluation.outcomes", "Evaluation.checks")
        return self.checks

    @property
    def methods(self) -> list[str]:
        """Methods and baselines, in order."""
        return list(dict.fromkeys(row.method for row in self.rows))

    def of(self, method: str) -> list[Measurement]:
        """Return the rows of *method*."""
        return [row for row in self.rows if row.method == method]

    def add(self, result: CheckResult) -> None:
        """Add the result of a check, and its values to the rows of its method."""
        self.checks.append(result)
        for row, value in zip(self.of(result.method), result.values, strict=True):
            row.values[result.check] = float(value)

    def interval(self, method: str, values: Any) -> Interval:
        """Return the mean of *values* [rows of *method*, …] and its bootstrap interval."""
        return bootstrap_interval(np.asarray(values, np.float64), [row.image for row in self.of(method)], self.seed)

    def summary(self) -> list[Summary]:
        """Return a summary of each metric and method."""
        return [self._summed(metric, method) for metric in self.better for method in self.methods]

    def _summed(self, metric: str, method: str) -> Summary:
        rows = self.of(method)
        found = self.interval(method, [row.values[metric] for row in rows])
        low, high = (None if end is None else float(end) for end in (found.low, found.high))
        pictures = len({row.image for row in rows})
        return Summary(metric, method, self.better[metric], float(found.mean), low, high, len(rows), pictures)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of evaluation.json; numbers that are not finite become None."""
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
            "checks": [self._checked(result) for result in self.checks],
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
            "unreadable": [{"picture": picture, "why": why} for picture, why in self.unreadable],
            "warnings": self.warnings,
        }
        return {name: finite(value) for name, value in found.items()}

    def _curve(self, method: str, curves: list[Curve]) -> dict[str, list[float]]:
        found = {
            "share": curves[0].share.tolist(),
            "probability": self.interval(method, [curve.probability for curve in curves]).mean.tolist(),
        }
        kept = [curve.accuracy for curve in curves if curve.accuracy is not None]
        return found | ({"accuracy": np.mean(kept, axis=0).tolist()} if kept else {})

    def _checked(self, result: CheckResult) -> dict[str, Any]:
        return {
            "check": result.check,
            "method": result.method,
            "passed": result.passed,
            "verdict": result.verdict,
            "stages": list(result.stages),
            "similarity": result.similarity.mean(1).tolist(),
        }

    def _repr_html_(self) -> str:
        from onnxcam.metrics.notebook import html

        return html(self)

    def save(self, directory: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
        """Write evaluation.json, and curves.png and .pdf if there are curves, to *directory*; return their paths.

        Raises:
            OutputError: a file cannot be written, or the folder holds an evaluation and *overwrite* is false; then none
                is.
        """
        from onnxcam.metrics.report import save

        return save(self, directory, overwrite=overwrite)
