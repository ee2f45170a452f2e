"""The levels of a detector's head: which candidates share one, and the layer of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.model.description import ModelDescription
from onnxcam.model.levels import HeadLevels
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detection import Detections
from tests.bake.tasks import MODELS
from tests.zoo.conventions import CONVENTIONS


def network(name: str, folder: Path) -> ModelDescription:
    convention = next(one for one in CONVENTIONS if one.name == name)
    onnx.save(convention.make(), folder / "m.onnx")
    return ModelDescription(folder / "m.onnx", "cpu")


def test_one_grid_is_one_level() -> None:
    own = HeadLevels(ModelDescription(MODELS / "detector.onnx", "cpu"))
    levels, places = own.levels()
    assert len(levels) == 1
    assert not places.size
    assert own.choice(levels[0]).layer.name == "neck.2"
    assert "30 % of the boxes at this level" in own.choice(levels[0]).reason
    assert own.choice(levels[0]) is own.choice(levels[0])


def test_a_tensor_for_each_grid(tmp_path: Path) -> None:
    own = HeadLevels(network("OpenCV zoo: YuNet", tmp_path))
    levels, places = own.levels()
    assert len({aim.tensor for aim, _ in levels}) == len(levels) > 1
    assert sorted(np.bincount(places), reverse=True) == list(np.bincount(places))  # fine grids have most cells


def test_rows_that_the_graph_gathers_are_one_level(tmp_path: Path) -> None:
    own = HeadLevels(network("WongKinYiu: YOLOv7 end2end", tmp_path))
    levels, _ = own.levels()
    assert len(levels) <= 1


def test_explain_takes_the_layer_of_the_level() -> None:
    explainer = Explainer(MODELS / "detector.onnx")
    levels = HeadLevels(explainer.network)
    x = next(iter(explainer.network.probe_looks()))
    task = explainer.network.task
    assert isinstance(task, Detections)
    seen = task.candidates(x.tensors(task.decoder.tensors), x.size)
    aim, weights = seen.aim(0, 0)
    assert levels.has(aim)
    assert not levels.has(WeightsAim("other"))
    level = levels.level(aim, weights, x)
    assert level == levels.levels()[0][0]


@pytest.mark.parametrize(
    ("model", "sizes"), [("ultraface_rfb320", [3600, 600, 160, 60]), ("yunet_n_320", [1600, 400, 100])]
)
def test_real_heads(model: str, sizes: list[int], real: Path) -> None:
    own = HeadLevels(ModelDescription(real / "models" / f"{model}.onnx", "cpu"))
    levels, places = own.levels()
    assert list(np.bincount(places)) == sizes
    assert len(levels) == len(sizes)
