"""Places that the graph does not show are measured by runs, and stated places are confirmed by them."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcam.structure.confirm import confirmed
from onnxcam.structure.place import Place
from onnxcam.structure.probing import ProbeAnswers
from onnxcam.structure.span import Span

SIZE = (64, 96)
STATED = Place(
    tuple(Span(axis, 0.0, float(n), 16, (0.0, float(n))) for axis, n in enumerate(SIZE)), warning="something"
)


def answers(rows: tuple[float, float], columns: tuple[float, float], width: float = 0.05) -> list[ProbeAnswers]:
    """Return the answers of a grid of 16 × 16 cells whose places go from one number to the other."""
    at = (np.arange(16) + 0.5) / 16
    places = [low + (high - low) * at for low, high in (rows, columns)]
    return [ProbeAnswers(grid, width) for grid in np.meshgrid(*places, indexing="ij")]


def test_what_agrees_is_confirmed() -> None:
    found = confirmed(STATED, answers((0, 1), (0, 1)), SIZE)
    assert found.is_plain(SIZE)


def test_a_wide_view_draws_the_answers_together() -> None:
    assert confirmed(STATED, answers((0.15, 0.85), (0.15, 0.85), width=0.25), SIZE).is_plain(SIZE)
    assert not confirmed(STATED, answers((0.15, 0.85), (0.15, 0.85)), SIZE).is_plain(SIZE)


@pytest.mark.parametrize(("columns", "interval"), [((0.5, 1), (48, 96)), ((1, 0), (0, 96)), ((0.1, 0.6), (9.6, 57.6))])
def test_a_part_is_measured(columns: tuple[float, float], interval: tuple[float, float]) -> None:
    found = confirmed(STATED, answers((0, 1), columns), SIZE)
    assert (found.warning, found.measured) == ("", "something")
    np.testing.assert_allclose(found.intervals, [(0, 64), interval], atol=0.5)
    assert (found.spans[1].start > found.spans[1].end) == (columns[0] > columns[1])


def test_transposed_axes_are_measured() -> None:
    found = confirmed(STATED, [ProbeAnswers(each.centres.T, each.width) for each in answers((0, 1), (0, 1))], SIZE)
    assert [span.source for span in found.spans] == [1, 0]
    assert found.measured


def test_what_lies_on_no_line_keeps_its_warning() -> None:
    twice = np.tile(np.linspace(0, 1, 8), 2)
    rows = answers((0, 1), (0, 1))
    found = confirmed(STATED, [rows[0], ProbeAnswers(np.tile(twice, (16, 1)), 0.05)], SIZE)
    assert found == STATED


def test_answers_are_the_mean_place_of_the_changes() -> None:
    found = ProbeAnswers.of(np.eye(8)[:, None, :].repeat(4, axis=1))
    np.testing.assert_allclose(found.centres[0], (np.arange(8) + 0.5) / 8)
    assert found.width == pytest.approx(0, abs=1e-6)
