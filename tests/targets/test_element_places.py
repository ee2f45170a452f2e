"""Where the elements of scores may be is read off the decoder, and taken as unknown where it depends on the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxcam.autodiff.window_elements import KnownPlace
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.candidates import Aimer, Candidates, Element
from onnxcam.targets.detectors.element_places import element_places

CELLS, CLASSES = 6, 3
COLUMNS = 5 + CLASSES
"""Of a row of a box: four sides, the objectness, the classes."""


def seen(elements: Callable[[Any, Any], list[Element]]) -> Candidates:
    aim = Aimer([(WeightsAim("y"), (CELLS, COLUMNS))], elements)
    return Candidates(np.zeros((CELLS, 4)), np.zeros((CELLS, CLASSES)), aim)


def of_row(candidate: Any, category: Any) -> list[Element]:
    row = candidate * COLUMNS
    return [Element(0, row + 5 + category, 0.5), Element(0, row + 4, 0.5)]


def test_score_and_objectness_share_the_cell() -> None:
    ((score, sure),) = element_places([seen(of_row), seen(of_row)])
    assert score == KnownPlace([(0, 5), (5, 7)], [True, True])
    assert sure == KnownPlace([(0, 5), (4, 4)], [True, False])
    assert KnownPlace.either([score, sure]) == KnownPlace([(0, 5), (4, 7)], [True, False])


def test_candidates_of_a_level_have_narrower_bounds() -> None:
    ((score, _),) = element_places([seen(of_row)], np.array([2, 3]))
    assert score.bounds == [(2, 3), (5, 7)]


def test_rows_that_depend_on_the_image_are_not_known() -> None:
    def of_other_row(candidate: Any, category: Any) -> list[Element]:
        return of_row(CELLS - 1 - candidate, category)

    assert element_places([seen(of_row), seen(of_other_row)]) == [[]]


def test_a_head_without_candidates_has_no_places() -> None:
    assert element_places([seen(of_row)], np.zeros(0, np.int64)) == [[]]
