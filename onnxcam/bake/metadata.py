"""Metadata of a baked model for its host application: preprocessing, and meaning of the outputs."""

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
from onnxcam.targets.scores import Scores, missing_head

__all__ = ["SCHEMA", "stamp"]

SCHEMA = 1


def stamp(
    model: ir.Model, network: ModelDescription, *, method: str, layer: str | None, target: int | str, index: int | None
) -> None:
    """Write the metadata of a baked *model* (docs/web.md), and the labels to its card.

    *index* is the fixed class, −1 for the top class, None for a run-time input.
    """
    values: dict[str, Any] = {"schema": SCHEMA, "onnxcam": __version__, "method": method, "layer": layer}
    values |= {"target": str(target), "class": index, "picture": _picture(network)}
    if isinstance(network.task, Classes):
        values["scores"] = _scores(network.task.scores, network.multi_label)
        if network.task.labels:
            replace(network.names.card, labels=list(network.task.labels)).put(model)
    model.metadata_props[BAKED] = json.dumps(values)


def _picture(network: ModelDescription) -> dict[str, Any] | None:
    """Return the preprocessing as JSON; None if it is a Python function."""
    try:
        found = network.resolved
    except PreprocessError:  # no image of one or three channels; the host must prepare the tensor
        return None
    how = found.preprocess
    if isinstance(how, CallablePreprocess):
        return None
    guess = {"guess": found.why} if found.guessed else {}
    return {"tensor": network.picture, **_geometry(how), **_arithmetic(how), **guess}


def _geometry(how: Preprocess) -> dict[str, Any]:
    sizes = {name: getattr(how, name) for name in ("resize", "crop", "letterbox")}
    padding = {"longest": how.longest, "fill": how.fill, "anchor": how.anchor if how.anchor != "centre" else None}
    return {**sizes, **{k: v for k, v in padding.items() if v is not None}, "interpolation": how.interpolation}


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
    """Return the output with the scores, and the function that turns them into probabilities."""
    units = None if scores.output_units is None else scores.output_units.known
    head = missing_head(scores.head, scores.classes, exclusive=scores.are_exclusive(multi_label))
    pair = {"pair": True} if scores.is_single else {}
    return {"name": scores.output, "units": units, "probabilities": head, **pair}
