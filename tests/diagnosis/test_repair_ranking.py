"""The tensors that give wrong images their top class back come first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxcam.diagnosis.repair_plan import RepairPlan
from onnxcam.diagnosis.repair_ranking import by_margin

EFFECTS = {
    "a": np.array([[0.1, -0.1, 0], [0, 0, 0], [0, 0, 0]]),
    "b": np.array([[-0.6, 0, 0.6], [0, 0, 0], [0.2, 0, 0]]),
    "c": np.array([[0, 0, 0], [0, 0.9, 0.1], [0, 0, 0]]),
    "d": np.array([[0, 0, 0], [0, 0, 0], [0.5, 0.5, 0]]),
}
"""Change of the scores of three images by the rounding of each tensor."""


@dataclass
class _Bench:
    """A bench whose outputs are the sum of the effects of all tensors that are not in float."""

    real: Sequence[Sequence[np.ndarray]] = field(
        default_factory=lambda: [[row[None]] for row in np.array([[1.0, 0, 0.5], [0, 0.1, 0.6], [0.9, 0, 0]])]
    )

    def outputs(
        self, units: Mapping[str, Any], shifts: Mapping[str, Any], floats: Collection[str], images: Sequence[int]
    ) -> list[list[np.ndarray]]:
        change = sum(effect for tensor, effect in EFFECTS.items() if tensor not in floats)
        return [[(self.real[place][0] + change[place])] for place in images]


def test_tensors_that_restore_margins_come_first() -> None:
    bench: Any = _Bench()
    assert by_margin(RepairPlan(), ["a", "b", "c", "d"], bench, lambda name: 1)[:2] == ["b", "c"]
    costly = by_margin(RepairPlan(), ["a", "b", "c", "d"], bench, lambda name: {"b": 9}.get(name, 1))
    assert costly[0] == "c"


def test_without_a_wrong_image_the_ranking_stays() -> None:
    bench: Any = _Bench()
    plan = RepairPlan(floats=("b", "c"))
    assert by_margin(plan, ["d", "a"], bench, lambda name: 1) == ["d", "a"]
