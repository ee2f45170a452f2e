"""Metadata of a baked model for its host application: preprocessing, and meaning of the outputs."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from onnxcam import __version__
from onnxcam.bake.plan import BakePlan
from onnxcam.errors import PreprocessError
from onnxcam.metadata.reserved import BAKED, baked_names
from onnxcam.model.description import ModelDescription
from onnxcam.preprocess import CallablePreprocess, Preprocess

__all__ = ["SCHEMA", "stamp"]

SCHEMA = 1


def stamp(
    model: ir.Model,
    network: ModelDescription,
    *,
    method: str,
    layer: str | None,
    target: int | str,
    plan: BakePlan,
    taken: Collection[str | None] = (),
) -> None:
    """Write the metadata of a baked *model* (docs/web.md), and the labels to its card.

    *taken* are the names of the model's own tensors.
    """
    values: dict[str, Any] = {"schema": SCHEMA, "onnxcam": __version__, "method": method, "layer": layer}
    values |= {"task": network.task.id, "target": str(target), "picture": _picture(network), **plan.metadata()}
    names = {name: new for name, new in baked_names(taken).items() if name != new}
    values |= {"names": names} if names else {}
    if network.class_names:
        replace(network.names.card, labels=list(network.class_names)).put(model)
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
