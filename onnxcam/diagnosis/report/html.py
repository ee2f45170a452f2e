"""Diagnosis → one self-contained HTML page: the sentence, the network as a line, maps before and after, the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from onnxcam.compare.outcome import ModelInfo
from onnxcam.compare.report.formatting import capital, count
from onnxcam.compare.report.page import render, template
from onnxcam.compare.report.panel import ramps
from onnxcam.diagnosis.diagnosis import Diagnosis, Effect, TensorDiagnosis
from onnxcam.diagnosis.formatting import effect_text, percent
from onnxcam.diagnosis.moved_biases import moved_words
from onnxcam.diagnosis.places import TensorPlace
from onnxcam.diagnosis.report.line import KINDS, Cell, NetworkColumn, find_jump, network_line
from onnxcam.diagnosis.report.maps import BeforeAfter, MapView
from onnxcam.text import visible

__all__ = ["COLUMNS", "LISTED", "html"]

COLUMNS = 56
"""Columns of a row of the line."""
LISTED = 50
"""Maximum number of unmatched tensors that are listed."""
_LABEL, _STEP, _CELL = 74, 18, 15
_OBJECTIVES = ("map", "outputs", "score")
_HEIGHTS = {"accumulated": 40, "activation": 18, "weight": 18, "bias": 10}


@dataclass(frozen=True)
class _Strip:
    """One row of the line: its size, and its columns with their left edges."""

    width: int
    height: int
    columns: list[tuple[int, dict[str, Any]]]


def html(
    diagnosis: Diagnosis,
    candidate: ModelInfo,
    places: Mapping[str, TensorPlace],
    shown: Sequence[BeforeAfter] = (),
) -> str:
    """Return the report of *diagnosis* as one HTML file.

    *candidate* describes the quantised model, *places* has the places of the tensors in its file, and *shown* has the
    pictures before and after.

    Raises:
        OutputError: Jinja is not installed.
    """
    ranks = {one.tensor: rank for rank, one in enumerate(diagnosis.tensors, 1)}
    columns = network_line(diagnosis, places)
    kinds = [kind for kind in KINDS if any(kind == cell.kind for one in columns for cell in one.cells)]
    tops = _tops(kinds)
    variables = {
        "model": visible(PurePath(candidate.name).name),
        "sentence": visible(diagnosis.sentence, 1000),
        "changes": [(name, percent(value)) for name, value in diagnosis.change.items() if name != "score"],
        "images": count(len(diagnosis.images)),
        "method": candidate.method,
        "jump": _jump(diagnosis, ranks),
        "strips": _strips(columns, ranks, tops),
        "rows": [_row(one, ranks, diagnosis.sqnr_ranks) for one in diagnosis.tensors],
        "hits": _hits(diagnosis),
        "cards": [_card(one) for one in shown],
        "unmatched": [visible(name) for name in diagnosis.unmatched[:LISTED]],
        "unmatched_left": max(0, len(diagnosis.unmatched) - LISTED),
        "moved": moved_words(diagnosis.moved_biases),
        "warnings": [visible(warning, 1000) for warning in dict.fromkeys(diagnosis.warnings)],
        "heat_ramp": ramps()[0],
        "kinds": kinds,
        "tops": tops,
    }
    style = template("onnxcam.compare.report", "report.css") + template(__package__, "diagnosis.css")
    return render(__package__, "diagnosis.html", variables, style, template(__package__, "diagnosis.js"))


def _tops(kinds: Sequence[str]) -> dict[str, int]:
    """Return the upper edge of each row of a strip."""
    tops, y = {}, 0
    for name in ("accumulated", *kinds):
        tops[name] = y
        y += _HEIGHTS[name] + 3
    return {**tops, "operator": y + 3}


def _strips(columns: Sequence[NetworkColumn], ranks: Mapping[str, int], tops: Mapping[str, int]) -> list[_Strip]:
    """Return rows of about the same length."""
    longest = math.ceil(len(columns) / math.ceil(len(columns) / COLUMNS))
    return [
        _Strip(
            _LABEL + max(40, longest) * _STEP,
            tops["operator"] + 10 + max(7 * len(one.operator) for one in row),
            [(_LABEL + at * _STEP, _drawn(column, ranks, tops)) for at, column in enumerate(row)],
        )
        for row in (columns[at : at + longest] for at in range(0, len(columns), longest))
    ]


def _drawn(column: NetworkColumn, ranks: Mapping[str, int], tops: Mapping[str, int]) -> dict[str, Any]:
    height = round(_HEIGHTS["accumulated"] * column.height, 1)
    return {
        "operator": visible(column.operator),
        "bar": height,
        "bar_top": round(_HEIGHTS["accumulated"] - height, 1),
        "accumulated": "" if column.accumulated is None else percent(column.accumulated),
        "cells": [_cell(one, ranks, tops) for one in column.cells],
    }


def _cell(cell: Cell, ranks: Mapping[str, int], tops: Mapping[str, int]) -> dict[str, Any]:
    best = min(ranks[one.tensor] for one in cell.tensors)
    return {
        "kind": cell.kind,
        "top": tops[cell.kind],
        "height": _HEIGHTS[cell.kind],
        "width": _CELL,
        "shade": round(cell.shade, 3),
        "rank": best,
        "mark": str(best) if best <= 9 and cell.kind != "bias" else "",
        "pale": cell.shade < 0.6,
        "words": "\n".join(_words(one, ranks[one.tensor]) for one in cell.tensors),
    }


def _words(one: TensorDiagnosis, rank: int) -> str:
    """Return what the line says of a tensor when the pointer is on it."""
    lines = [f"{rank}. {one.words}", f"{percent(one.share)} of the damage"]
    lines += [f"{name}: {effect_text(name, effect)}" for name, effect in one.effects.items()]
    lines += [] if one.sqnr is None else [f"SQNR: {one.sqnr:.1f} dB"]
    lines += [] if one.cause is None else [f"cause: {one.cause.words}", f"cure: {one.cause.cure}"]
    return "\n".join(lines)


def _jump(diagnosis: Diagnosis, ranks: Mapping[str, int]) -> dict[str, Any] | None:
    jump = find_jump(diagnosis)
    if jump is None:
        return None
    return {
        "name": visible(jump.tensor.name, 80),
        "tensor": jump.tensor.tensor,
        "rank": ranks[jump.tensor.tensor],
        "before": percent(jump.before),
        "after": percent(jump.after),
    }


def _row(one: TensorDiagnosis, ranks: Mapping[str, int], noise: Mapping[str, int]) -> dict[str, Any]:
    return {
        "rank": ranks[one.tensor],
        "name": visible(one.name, 80),
        "kind": one.kind,
        "shape": " × ".join(map(str, one.shape)),
        "numbers": [
            (one.share, percent(one.share), ""),
            *(_effect(name, one.effects.get(name)) for name in _OBJECTIVES),
            (one.accumulated, "" if one.accumulated is None else percent(one.accumulated), ""),
            (one.sqnr, "" if one.sqnr is None else f"{one.sqnr:.1f} dB", ""),
            (noise[one.tensor], str(noise[one.tensor]), ""),
        ],
        "cause": "" if one.cause is None else visible(one.cause.words, 300),
        "cause_id": "" if one.cause is None else one.cause.id,
        "cure": "" if one.cause is None else visible(one.cause.cure, 300),
    }


def _effect(objective: str, effect: Effect | None) -> tuple[float | None, str, str]:
    """Return the mean, the mean as text, and the spread as text."""
    mean, _, spread = effect_text(objective, effect).partition(" ± ")
    unit = " %" if spread.endswith(" %") else ""
    return None if effect is None else effect.mean, f"{mean}{unit}", spread


def _hits(diagnosis: Diagnosis, most: int = 5) -> tuple[int, int]:
    """Return how many of the noisiest tensors are among those with the most damage, and of how many."""
    ranks = diagnosis.sqnr_ranks
    worst = diagnosis.tensors[:most]
    return sum(ranks[one.tensor] <= len(worst) for one in worst), len(worst)


def _card(one: BeforeAfter) -> dict[str, Any]:
    tensor = one.tensor
    return {
        "rank": one.rank,
        "name": visible(tensor.words, 120),
        "share": percent(tensor.share),
        "cause": "" if tensor.cause is None else visible(capital(tensor.cause.words), 300),
        "cure": "" if tensor.cause is None else visible(f"Cure: {tensor.cause.cure}", 300),
        "image": visible(PurePath(one.image).name),
        "target": visible(one.target, 80),
        "picture": one.picture,
        "width": one.size[0],
        "height": one.size[1],
        "views": [
            (view.title, view.picture, f"{view.score:.3g}", _agreement(view) if at else "")
            for at, view in enumerate(one.views)
        ],
    }


def _agreement(view: MapView) -> str:
    return ", no map: no positive evidence" if view.iou is None else f", IoU {view.iou:.2f}"
