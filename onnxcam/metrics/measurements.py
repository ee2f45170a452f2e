"""What is measured of one image with one source of maps, its journal, and the evaluation of all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxcam.journal import RunJournal
from onnxcam.metrics.base import Array, Curve
from onnxcam.metrics.results import Evaluation, Measurement

__all__ = ["EvaluationJournal", "ImageMeasurements", "assembled", "measurements_of"]


@dataclass(frozen=True)
class ImageMeasurements:
    """What is measured of one image with one source of maps.

    Attributes:
        image: Path of the image.
        rows: One measurement for each explained class.
        curves: The curves of each row, by metric.
        blank: How many of its maps are blank.
    """

    image: str
    rows: Sequence[Measurement]
    curves: Sequence[Mapping[str, Curve]]
    blank: int

    def moved(self, image: str) -> ImageMeasurements:
        """Return the same of an image whose path is *image*."""
        return replace(self, image=image, rows=[replace(row, image=image) for row in self.rows])


def assembled(found: Evaluation, measured: Iterable[ImageMeasurements]) -> Evaluation:
    """Add what is *measured*, source by source, to *found*; return it."""
    blank: dict[str, int] = {}
    for one in measured:
        method = one.rows[0].method
        blank[method] = blank.get(method, 0) + one.blank
        found.rows.extend(one.rows)
        for curves in one.curves:
            for metric, curve in curves.items():
                found.curves.setdefault(metric, {}).setdefault(method, []).append(curve)
    found.warnings += [
        f"{method}: {count} of {len(found.of(method))} maps are blank: no positive evidence for the class"
        for method, count in blank.items()
        if count
    ]
    return found


class EvaluationJournal(RunJournal[ImageMeasurements]):
    """Journal of the measurements of an evaluation.

    Those of image k of n with source s have the number s n + k.
    """

    kind, schema = "evaluation", 1

    def _written(self, result: ImageMeasurements) -> dict[str, Any]:
        rows = [
            {**vars(row), "values": _numbers(row.values), "curves": {id: _written_curve(x) for id, x in curves.items()}}
            for row, curves in zip(result.rows, result.curves, strict=True)
        ]
        return {"image": result.image, "rows": rows, "blank": result.blank}

    def _result(self, entry: Mapping[str, Any]) -> ImageMeasurements:
        return measurements_of(entry)

    def _picture(self, result: ImageMeasurements) -> str:
        return result.image


def measurements_of(entry: Mapping[str, Any]) -> ImageMeasurements:
    """Return the measurements in the *entry* of a journal; raise ValueError if it is invalid."""
    try:
        rows = [
            Measurement(
                row["image"],
                row["target"],
                row["label"],
                row["method"],
                {id: float(value) for id, value in row["values"].items()},
            )
            for row in entry["rows"]
        ]
        curves = [{id: _read_curve(curve) for id, curve in row["curves"].items()} for row in entry["rows"]]
        return ImageMeasurements(entry["image"], rows, curves, entry["blank"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{error}") from None


def _numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | str:
    """Return *value* for JSON, which has no number that is not finite."""
    return float(value) if math.isfinite(value) else str(float(value))


def _written_curve(curve: Curve) -> dict[str, Any]:
    arrays = {"share": curve.share, "probability": curve.probability, "accuracy": curve.accuracy}
    return {
        "value": _number(curve.value),
        **{name: None if array is None else [_number(x) for x in array.tolist()] for name, array in arrays.items()},
    }


def _read_curve(entry: Mapping[str, Any]) -> Curve:
    accuracy = entry["accuracy"]
    return Curve(
        share=_array(entry["share"]),
        value=float(entry["value"]),
        probability=_array(entry["probability"]),
        accuracy=None if accuracy is None else _array(accuracy),
    )


def _array(numbers: Sequence[float | str]) -> Array:
    return np.array([float(x) for x in numbers], np.float64)
