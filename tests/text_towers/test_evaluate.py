"""Evaluation of the maps of texts: cosines in place of probabilities, masks of what a text means, and refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxcam.errors import MetricError, TargetError, TruthError
from onnxcam.explainer.explainer import Explainer
from onnxcam.media import image
from tests.command import Ran
from tests.text_towers.towers import RNG, image_tower, text_tower, words

pytest.importorskip("scipy", reason="the extra onnxcam[evaluate] is not installed")
from onnxcam.metrics import evaluate

STAR = 'like="a red star"'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both towers, a picture, and a mask of its upper half."""
    monkeypatch.chdir(tmp_path)
    image_tower(tmp_path / "image.onnx")
    text_tower(tmp_path / "text.onnx", "masked")
    words(tmp_path, length=8, pad_id=0, pad_token="<pad>")
    image.write("a.png", RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8))
    Path("masks").mkdir()
    mask = np.zeros((8, 8, 3), np.uint8)
    mask[:4] = 255
    image.write("masks/a.png", mask)
    return tmp_path


@pytest.mark.parametrize("target", [STAR, f'{STAR} unlike="a blue ring"'])
def test_cosines_stand_in_place_of_probabilities(folder: Path, target: str) -> None:
    told = {"preprocess": "unit", "text_model": "text.onnx", "target": target}
    ids = ["deletion", "road-morf", "energy-pointing", "max-sensitivity"]
    found = evaluate("image.onnx", ["a.png"], methods=["layercam"], metrics=ids, truth="masks", **told)  # type: ignore[arg-type]
    explained = Explainer("image.onnx", "layercam", **told)("a.png")  # type: ignore[arg-type]
    (curve,) = found.curves["deletion"]["layercam"]
    expected = (1 + explained.score) / 2 if target == STAR else (2 + explained.score) / 4
    assert curve.probability[0] == pytest.approx(expected, abs=1e-5)
    assert found.curves["road-morf"]["layercam"][0].accuracy is None
    (row,) = found.rows
    assert row.label == target
    assert row.values["energy-pointing"] == pytest.approx(explained.map[:4].sum() / explained.map.sum(), abs=1e-4)
    assert np.isfinite(list(row.values.values())).all()


def test_the_command_and_shards(folder: Path, onnxcam: Callable[..., Ran]) -> None:
    own = ("image.onnx", "a.png", "-p", "unit", "--metric", "sparseness", "-m", "layercam", "--text-model", "text.onnx")
    assert onnxcam("evaluate", *own, "-t", STAR, "-o", "out").code == 0
    (row,) = json.loads(Path("out/evaluation.json").read_text(encoding="utf-8"))["pictures"]
    assert row["target"]["label"] == STAR
    shutil.copy("a.png", "b.png")
    changed = ("evaluate", *own, "-t", "like=b.png", "-o", "shard", "--shard", "0/1")
    assert onnxcam(*changed).code == 0
    image.write("b.png", image.read("a.png")[::-1])
    ran = onnxcam(*changed)
    assert (ran.code, "is the journal of another evaluation" in ran.err) == (2, True), ran.err


def test_what_is_refused(folder: Path) -> None:
    told = {"preprocess": "unit", "methods": ["layercam"], "metrics": ["sparseness"]}
    texts = {**told, "text_model": "text.onnx", "target": STAR}
    with pytest.raises(MetricError, match=r"this is an embedding: name what images are compared with, --target 'like="):
        evaluate("image.onnx", ["a.png"], **told)  # type: ignore[arg-type]
    with pytest.raises(TargetError, match="for a text give the text tower that belongs to the model with --text-model"):
        evaluate("image.onnx", ["a.png"], target=STAR, **told)  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="sanity-cascading is for classifiers; leave it out for 'like="):
        evaluate("image.onnx", ["a.png"], **{**texts, "metrics": ["sanity-cascading"]})  # type: ignore[arg-type]
    Path("boxes.json").write_text(json.dumps({"a.png": [{"label": "star", "box": [0, 0, 4, 4]}]}), encoding="utf-8")
    with pytest.raises(
        TruthError, match=r"the truth names classes, and 'like=.*' is none; give masks or boxes without"
    ):
        evaluate("image.onnx", ["a.png"], **{**texts, "metrics": ["energy-pointing"]}, truth="boxes.json")  # type: ignore[arg-type]
