"""The network as a line: its quantised tensors in order, each activation with the weights beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxcam.diagnosis.diagnosis import Diagnosis, TensorDiagnosis
from onnxcam.diagnosis.places import TensorPlace

__all__ = ["KINDS", "Cell", "Jump", "NetworkColumn", "find_jump", "network_line"]

KINDS = ("activation", "weight", "bias")
"""Kinds of tensors, one row of the line each."""


@dataclass(frozen=True)
class Cell:
    """One or more tensors of one kind: colour from 0 to 1, and the tensors."""

    kind: str
    shade: float
    tensors: tuple[TensorDiagnosis, ...]


@dataclass(frozen=True)
class NetworkColumn:
    """A quantised activation with the weights and biases of the operators that lead to it.

    Attributes:
        operator: The operator that makes it; ``input`` for an input of the model.
        cells: Its cells, in the order of `KINDS`.
        accumulated: Effect on the outputs of all rounding up to it; None if unknown.
        height: The same from 0 to 1, of the largest.
    """

    operator: str
    cells: tuple[Cell, ...]
    accumulated: float | None
    height: float


@dataclass(frozen=True)
class Jump:
    """The first tensor where the accumulated effect on the outputs grows by much: before and there."""

    tensor: TensorDiagnosis
    before: float
    after: float


def network_line(diagnosis: Diagnosis, places: Mapping[str, TensorPlace]) -> list[NetworkColumn]:
    """Return the columns, from the input to the outputs."""
    columns: dict[str, list[TensorDiagnosis]] = {}
    for one in sorted(diagnosis.tensors, key=lambda one: (one.kind != "activation", one.place)):
        place = places.get(one.tensor)
        behind = one.tensor if one.kind == "activation" or place is None or not place.activation else place.activation
        columns.setdefault(behind, []).append(one)
    worst = max((one.share for one in diagnosis.tensors), default=0.0)
    highest = max((one.accumulated or 0.0 for one in diagnosis.tensors), default=0.0)
    ordered = sorted(columns.values(), key=lambda tensors: tensors[0].place)
    return [_column(tensors, places, worst or 1.0, highest or 1.0) for tensors in ordered]


def find_jump(diagnosis: Diagnosis) -> Jump | None:
    """Return the first activation where the accumulated effect grows by half of its largest growth or more."""
    path = sorted((one for one in diagnosis.tensors if one.accumulated is not None), key=lambda one: one.place)
    jumps: list[Jump] = []
    high = 0.0
    for one in path:
        jumps.append(Jump(one, high, one.accumulated or 0.0))
        high = max(high, one.accumulated or 0.0)
    most = max((_growth(one) for one in jumps), default=0.0)
    return next((one for one in jumps if most > 0 and _growth(one) >= most / 2), None)


def _growth(jump: Jump) -> float:
    return jump.after - jump.before


def _column(
    tensors: Sequence[TensorDiagnosis], places: Mapping[str, TensorPlace], worst: float, highest: float
) -> NetworkColumn:
    first = tensors[0]
    place = places.get(first.tensor)
    operator = first.node or ("input" if place is None or place.owner is None else place.owner.op_type)
    groups = {kind: tuple(one for one in tensors if one.kind == kind) for kind in KINDS}
    cells = tuple(
        Cell(kind, min(1.0, math.sqrt(sum(one.share for one in group) / worst)), group)
        for kind, group in groups.items()
        if group
    )
    height = max(0.0, first.accumulated or 0.0) / highest
    return NetworkColumn(operator, cells, first.accumulated, height)
