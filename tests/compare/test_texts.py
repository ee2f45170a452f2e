"""Texts, images and vectors as targets of a comparison: image towers, files of two towers, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import onnxcam as package
from onnxcam.compare.validate import validate
from onnxcam.errors import ImageError, OutputError, TargetError
from onnxcam.text_towers import TextTower
from tests.command import Ran
from tests.compare.tasks.twins import MODELS, drawn, quantised, spoilt

CLIP, TEXT = MODELS / "clip_image.onnx", MODELS / "clip_text.onnx"
STAR = 'like="a red star"'


def test_an_int8_clip_passes_and_a_spoilt_one_fails(tmp_path: Path, onnxcam: Callable[..., Ran]) -> None:
    photos = drawn(tmp_path / "photos", count=6)
    int8 = quantised(CLIP, photos, tmp_path / "int8.onnx")
    bad = spoilt(int8, tmp_path / "bad.onnx")
    own = ("--target", STAR, "--text-model", TEXT)
    ran = onnxcam(
        "validate", CLIP, int8, photos, *own, "-o", tmp_path / "out", "--require", "pearson>=0.95, cosine>=0.99"
    )
    assert ran.code == 0, ran.err
    assert onnxcam("validate", CLIP, bad, photos, *own, "-o", tmp_path / "bad").code == 1
    (pair, *_) = json.loads((tmp_path / "out" / "validation.json").read_text())["pictures"]
    (one,) = pair["objects"]
    explained = package.explain(CLIP, pair["picture"], target=STAR, text_model=TEXT)
    assert one["target"] == STAR
    assert one["scores"]["reference"] == pytest.approx(explained.score, abs=1e-5)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "explained: <bdi>like=&#34;a red star&#34;" in page
    assert f"cosine {one['scores']['reference']:.3f}" in page


def test_texts_images_and_vectors(towers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = list[str]()
    embed = TextTower._embed
    monkeypatch.setattr(
        TextTower, "_embed", lambda self, text, length: (runs.append(text), embed(self, text, length))[1]
    )
    models, photos = (towers / "image.onnx", towers / "coarse.onnx"), str(towers / "photos")
    told = {"preprocess": "unit", "text_model": towers / "text.onnx", "require": "mapped>=0"}
    by_text = validate(*models, photos, target=STAR, **told)  # type: ignore[arg-type]
    assert runs == ["a red star", "something"]  # once for all images of both models
    vector = TextTower.open(towers / "text.onnx", None)("a red star", 4).unit
    np.save(towers / "star.npy", vector)
    by_vector = validate(*models, photos, target=f"like={towers / 'star.npy'}", preprocess="unit", require="mapped>=0")
    for one, other in zip(by_text.journal, by_vector.journal, strict=True):
        assert one.values == pytest.approx(other.values, abs=1e-4)
        assert one.objects[0].scores == pytest.approx(other.objects[0].scores, abs=1e-5)
    unlike = validate(*models, photos, target=f'{STAR} unlike="a blue ring"', **told)  # type: ignore[arg-type]
    assert unlike.journal[0].objects[0].target == f'{STAR} unlike="a blue ring"'
    picture = towers / "photos" / "0.png"
    by_image = validate(*models, photos, target=f"like={picture}", preprocess="unit", require="mapped>=0")
    assert by_image.journal[0].objects[0].scores == pytest.approx((1, 1), abs=1e-5)  # each by its own embedding


def test_files_of_two_towers(towers: Path) -> None:
    told = {"target": STAR, "preprocess": "unit", "require": "mapped>=0"}
    own = validate(towers / "both.onnx", towers / "both_coarse.onnx", str(towers / "photos"), **told)  # type: ignore[arg-type]
    alone = validate(towers / "both.onnx", towers / "coarse.onnx", str(towers / "photos"), **told)  # type: ignore[arg-type]
    assert not own.warnings
    assert alone.warnings == [
        "the candidate has no text tower: its texts are embedded by that of the reference, both.onnx"
    ]
    first, second = ([pair.objects[0].scores for pair in found.journal] for found in (own, alone))
    assert [one[0] for one in first] == pytest.approx([one[0] for one in second])
    assert [one[1] for one in first] != pytest.approx(
        [one[1] for one in second], abs=1e-4
    )  # it has a coarse text tower


def test_what_means_nothing_is_refused_before_an_image_is_read(towers: Path) -> None:
    models, nothing = (towers / "image.onnx", towers / "coarse.onnx"), str(towers / "photos")
    told = {"preprocess": "unit", "text_model": towers / "text.onnx"}
    np.save(towers / "short.npy", np.ones(3))
    cases = {
        "3": "target .3. is not for an embedding: leave it out, or name what images are compared with, like=FILE or",
        f"like={towers / 'short.npy'}": "has 3 numbers, but the embedding of the image has 4",
        'like="a a a a a a a"': "has 9 tokens, and text.onnx takes at most 8; shorten it",
    }
    for target, message in cases.items():
        with pytest.raises(TargetError, match=message):
            validate(*models, nothing, target=target, **told)  # type: ignore[arg-type]
    with pytest.raises(TargetError, match="for a text give the text tower that belongs to the model with --text-model"):
        validate(*models, nothing, target=STAR, preprocess="unit")
    with pytest.raises(ImageError, match="no such file"):
        validate(*models, nothing, target="like=missing.png", preprocess="unit")
    with pytest.raises(TargetError, match=r"like=.*: classifiers are compared by one class; give an index or a label"):
        validate(MODELS / "classifier_fc.onnx", MODELS / "classifier_fc.onnx", nothing, target=STAR)
    with pytest.raises(TargetError, match=r"any:0-1. is 2 classes \(.*\): classifiers are compared by one class"):
        validate(MODELS / "classifier_fc.onnx", MODELS / "classifier_fc.onnx", nothing, target="any:0-1")


def test_a_changed_file_of_the_target_does_not_resume(towers: Path) -> None:
    shutil.copy(towers / "photos" / "0.png", towers / "a.png")
    shutil.copy(towers / "photos" / "1.png", towers / "b.png")
    models, photos = (towers / "image.onnx", towers / "coarse.onnx"), str(towers / "photos")
    told = {"preprocess": "unit", "require": "mapped>=0", "text_model": towers / "text.onnx"}
    for target, changed in ((f"like={towers / 'a.png'} unlike={towers / 'b.png'}", "b.png"), (STAR, "tokenizer.json")):
        out = towers / f"out-{changed}"
        validate(*models, photos, out, target=target, **told)  # type: ignore[arg-type]
        validate(*models, photos, out, target=target, **told)  # type: ignore[arg-type]
        if changed == "b.png":
            shutil.copy(towers / "photos" / "2.png", towers / "b.png")
        else:
            (towers / changed).write_text((towers / changed).read_text() + "\n")
        with pytest.raises(OutputError, match="is the journal of another validation"):
            validate(*models, photos, out, target=target, **told)  # type: ignore[arg-type]
