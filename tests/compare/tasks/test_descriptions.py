"""Comparison of vision-language decoders: the folder of parts, a coarse one, a given text, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.command import Ran
from tests.compare.tasks.twins import MODELS, drawn, rounded

pytest.importorskip("tokenizers", reason="the extra onnxcam[text] is not installed")
from onnxcam.compare.observer import Observer
from onnxcam.compare.recordings import Recording
from onnxcam.decoders.load import join
from onnxcam.errors import TargetError
from onnxcam.explainer.explainer import Explainer

DESCRIBER = MODELS / "describer"
TEXT = 'text="green cross left of red square"'


@pytest.fixture
def coarse(tmp_path: Path) -> Path:
    """The describer with a decoder of 4-bit weights."""
    shutil.copytree(DESCRIBER, tmp_path / "coarse")
    name = "decoder_model_merged.onnx"
    rounded(DESCRIBER / name, tmp_path / "coarse" / name, steps=7)
    return tmp_path / "coarse"


def test_the_words_of_both_are_compared(coarse: Path, tmp_path: Path, onnxcam: Callable[..., Ran]) -> None:
    photos = drawn(tmp_path / "photos", count=1)
    ran = onnxcam("validate", DESCRIBER, coarse, photos, "-o", tmp_path / "own", "--objects", "2", "-r", "mapped>=1")
    assert ran.code == 0, ran.err
    (pair,) = json.loads((tmp_path / "own" / "validation.json").read_text())["pictures"]
    first, second = (one["target"] for one in pair["objects"])
    assert first.replace("at=0", "at=1") == second
    explained = Explainer(join(DESCRIBER))(pair["picture"], target=second)
    assert pair["objects"][1]["scores"]["reference"] == pytest.approx(np.exp(explained.score), abs=1e-4)
    page = (tmp_path / "own" / "report.html").read_text()
    assert "candidate − reference; r " in page
    assert onnxcam("record", DESCRIBER, photos, "-o", tmp_path / "recorded").code == 0
    recorded = Recording(tmp_path / "recorded")[0].maps[1]
    assert recorded.target == second
    assert recorded.score == pytest.approx(np.exp(explained.score), abs=1e-4)


def test_a_given_text_and_what_is_refused(coarse: Path, tmp_path: Path, onnxcam: Callable[..., Ran]) -> None:
    photos = drawn(tmp_path / "photos", count=1)
    own = ("validate", DESCRIBER, coarse, photos, "-o", tmp_path / "out", "-r", "mapped>=1", "--objects", "2")
    ran = onnxcam(*own, "-t", TEXT)
    assert ran.code == 0, ran.err
    (pair,) = json.loads((tmp_path / "out" / "validation.json").read_text())["pictures"]
    assert [one["target"] for one in pair["objects"]] == [f"{TEXT} at=0", f"{TEXT} at=1"]
    observer, clip = Observer(DESCRIBER), MODELS / "clip_image.onnx"
    with pytest.raises(
        TargetError, match="'3' is not for a vision-language decoder: leave it out, or name a text whose"
    ):
        observer.check("3")
    with pytest.raises(TargetError, match="the tokenizer does not know the word"):
        observer.check('text="a zebra"')
    for words, message in (
        (
            ("validate", clip, clip, photos, "--prompt", "hi"),
            "is no vision-language decoder: --prompt and --image-token",
        ),
        (("inspect", clip, "--tokenizer", "x.json"), "--tokenizer is for a folder of the parts of a decoder"),
        (("inspect", clip, "--prompt", "hi"), "--prompt is for vision-language decoders; give the folder of its parts"),
    ):
        ran = onnxcam(*words)
        assert (ran.code, message in ran.err) == (2, True), ran.err
    ran = onnxcam("inspect", DESCRIBER)
    assert ran.code == 0
    assert "task: a vision-language decoder" in ran.out
    assert "prompt: '<image>'" in ran.out
