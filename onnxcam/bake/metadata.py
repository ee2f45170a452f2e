"""What a baked model says of itself to its host: how a picture becomes its input, what its outputs mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from onnxcam import __version__
from onnxcam.errors import PreprocessError
from onnxcam.metadata.reserved import BAKED
from onnxcam.model.description import ModelDescription
from onnxcam.preprocess import CallablePreprocess, Preprocess
from onnxcam.targets.classification import Classes
from onnxcam.targets.scores import Scores, are_exclusive, missing_head

SCHEMA = 1


def stamp(
    model: ir.Model, network: ModelDescription, *, method: str, layer: str | None, target: int | str, index: int | None
) -> None:
    """Write the stamp of what was baked of *network* into the metadata of *model* (docs/web.md), labels to its card.

    *index* is the fixed class, −1 for the model's own, None for a run-time input.
    """
    told: dict[str, Any] = {"schema": SCHEMA, "onnxcam": __version__, "method": method, "layer": layer}
    told |= {"target": str(target), "class": index, "picture": _picture(network)}
    if isinstance(network.task, Classes):
        told["scores"] = _scores(network.task.scores, network.multi_label)
        if network.task.labels:
            replace(network.names.card, labels=list(network.task.labels)).put(model)
    model.metadata_props[BAKED] = json.dumps(told)


def _picture(network: ModelDescription) -> dict[str, Any] | None:
    """Return how a picture becomes the model's own tensor; None where only a function of Python's could say it."""
    try:
        how = network.preprocessing
    except PreprocessError:  # no picture of one or three channels; whoever runs the model makes its tensor
        return None
    return (
        None
        if isinstance(how, CallablePreprocess)
        else {"tensor": network.picture, **_geometry(how), **_arithmetic(how)}
    )


def _geometry(how: Preprocess) -> dict[str, Any]:
    sizes = {name: getattr(how, name) for name in ("resize", "crop", "letterbox")}
    return {**sizes, "interpolation": how.interpolation}


def _arithmetic(how: Preprocess) -> dict[str, Any]:
    return {
        "order": how.order,
        "layout": how.layout,
        "dtype": how.dtype.name,
        "range": how.range,
        "mean": how.mean,
        "std": how.std,
        "units": how.units,
        "raw": how.takes_raw,
    }


def _scores(scores: Scores, multi_label: bool) -> dict[str, Any]:
    """Return the output of the scores, and the function from them to probabilities."""
    units = None if scores.output_units is None else scores.output_units.known
    exclusive = are_exclusive(scores.head, multi_label)
    head = missing_head(scores.head, scores.classes, exclusive=exclusive)
    return {"name": scores.output, "units": units, "probabilities": head}
