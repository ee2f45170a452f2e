"""The layer of every stand-in has its grid, in the order of the picture: a moved square shows it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.structure.layer import Choice
from onnxcam.testing import run, tapped
from tests.structure.standins import CELL, SIZE, STANDINS, Net

BATCHES = (1, "batch")


def chosen(model: onnx.ModelProto, layer: str | None = None) -> Choice:
    choice = Explainer(model, preprocess="unit", layer=layer).choice
    assert choice is not None
    return choice


def answers(model: onnx.ModelProto, choice: Choice, row: int, column: int) -> np.ndarray:
    """Return how much each cell of the layer changes, in the mean, if one patch of a picture does."""
    rng = np.random.default_rng(0)
    inside, layout = tapped(model, [choice.layer.tensor]), choice.layer.layout
    total = np.zeros(1)
    for _ in range(6):
        x = rng.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
        changed = x.copy()
        patch = changed[:, :, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        patch[:] = rng.standard_normal(patch.shape)
        before, after = (layout.view(run(inside, {"x": value})[choice.layer.tensor]) for value in (x, changed))
        total = total + np.square(after - before)[0].sum(axis=0)
    return total


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("standin", STANDINS, ids=lambda make: make.__name__)
def test_the_last_layer_has_its_grid(standin: Callable[[Net], onnx.ModelProto], batch: int | str) -> None:
    model = standin(Net(batch))
    choice = chosen(model)
    assert choice.layer.name in ("last", "conv5") or standin.__name__ == "windows"
    for row, column in ((0, 1), (2, 6), (5, 3), (7, 7)):
        found = answers(model, choice, row, column)
        assert found.shape == STANDINS[standin]
        peak = np.unravel_index(found.argmax(), found.shape)
        assert abs(peak[1] - column) <= 1
        assert len(found) == 1 or abs(peak[0] - row) <= 1
