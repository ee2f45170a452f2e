"""Words as targets: the cosine of two towers and its gradient, by finite differences; and it is told how."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxcam
from onnxcam import Explainer
from onnxcam.errors import TargetError
from onnxcam.media import image
from onnxcam.targets.kinds import Like
from onnxcam.testing import run
from tests.text_towers.towers import (
    END,
    RNG,
    START,
    TABLE,
    WORDS,
    image_embedding,
    image_tower,
    text_tower,
    two_towers,
    unit,
    words,
)

MODELS = Path(__file__).parents[2] / "models"

SENTENCE = [START, 4, 5, 7, END]  # a red star
OTHER = [START, 4, 6, 8, END]  # a blue ring


@pytest.fixture
def towers(tmp_path: Path) -> Path:
    image_tower(tmp_path / "image.onnx")
    text_tower(tmp_path / "text.onnx", "masked")
    words(tmp_path, length=8, pad_id=0, pad_token="<pad>")
    return tmp_path


def explainer(folder: Path, **options: object) -> Explainer:
    return Explainer(folder / "image.onnx", preprocess="unit", text_model=folder / "text.onnx", **options)  # type: ignore[arg-type]


def vector(ids: list[int]) -> np.ndarray:
    """Return the embedding of token *ids*, slowly: the sum of their rows, of length 1."""
    return unit(sum(TABLE[i].astype(np.float64) for i in ids))


def cosine(x: np.ndarray, ids: list[int]) -> float:
    return float(unit(image_embedding(x)) @ vector(ids))


CASES = [
    ('like="a red star"', lambda x: cosine(x, SENTENCE)),
    ("like='A Red star' unlike='a blue ring'", lambda x: cosine(x, SENTENCE) - cosine(x, OTHER)),
    ('unlike="a blue ring"', lambda x: -cosine(x, OTHER)),
]


@pytest.mark.parametrize(("target", "score"), CASES)
def test_the_score_and_its_gradient(towers: Path, target: str, score: object) -> None:
    x = RNG.random((1, 3, 8, 8)).astype(np.float32)
    own = explainer(towers, method="gradient")
    np.testing.assert_allclose(own.scores(x, target), score(x[0]), atol=1e-6)  # type: ignore[operator]
    gradient, direction = own.attribute(x, target)[0], RNG.standard_normal((3, 8, 8))
    step = 1e-4 * direction
    expected = (score(x[0] + step) - score(x[0] - step)) / 2e-4  # type: ignore[operator]
    np.testing.assert_allclose((gradient * direction).sum(), expected, rtol=2e-3)


def test_it_is_told_what_was_compared_and_how(towers: Path) -> None:
    found = onnxcam.explain(
        towers / "image.onnx",
        RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8),
        preprocess="unit",
        target='like="a red star"',
        text_model=towers / "text.onnx",
    )
    assert found.words == 'like="a red star"'
    other = explainer(towers)(found.image, 'like="something"').score
    assert found.note == (
        "like 'a red star' (5 tokens: <start> a red star <end>); tokenizer.json, padded to 8 by the id 0, and "
        f"'text_embeds' of text.onnx; cosine with 'image_embeds', all of length 1: {found.score:.3f}, "
        f"and {other:.3f} with that of 'something'"
    )
    again = explainer(towers)(found.image, found.words)
    assert again.score == found.score


def test_two_texts_have_two_maps_and_one_text_is_embedded_once(towers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, x = explainer(towers), RNG.random((2, 3, 8, 8)).astype(np.float32)
    one, other = own.attribute(x, 'like="a red star"'), own.attribute(x, "like=dog")
    assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()
    assert own.network.text_tower is not None
    monkeypatch.setattr(own.network.text_tower, "_embed", None)
    np.testing.assert_array_equal(own.attribute(x, 'like="a red star"'), one)


@pytest.mark.parametrize("shape", [(4,), (1, 4)])
def test_a_vector_is_as_good_as_its_text(towers: Path, shape: tuple[int, ...]) -> None:
    own, x = explainer(towers), RNG.random((1, 3, 8, 8)).astype(np.float32)
    np.save(towers / "star.npy", 3 * vector(SENTENCE).reshape(shape))
    by_vector = own.attribute(x, f"like={towers / 'star.npy'}")
    np.testing.assert_allclose(by_vector, own.attribute(x, 'like="a red star"'), rtol=1e-4, atol=1e-7)
    without = Explainer(towers / "image.onnx", preprocess="unit")
    np.testing.assert_array_equal(without.attribute(x, f"like={towers / 'star.npy'}"), by_vector)
    found = without(RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8), f"like={towers / 'star.npy'}")
    assert found.note.endswith("star.npy: a vector of 4 numbers, brought to length 1; cosine with 'image_embeds', "
                               f"all of length 1: {found.score:.3f}")  # fmt: skip


def test_a_picture_that_does_not_fit_is_pointed_out() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from models.family import HELD_OUT
    from models.tasks import task

    own = Explainer(MODELS / "clip_image.onnx", text_model=MODELS / "clip_text.onnx")
    star = next(sample for sample in task("clip_image").samples(HELD_OUT, 9) if " unlike=" not in sample.target)
    fits = own(star.feeds["image"], star.target)
    assert re.search(r"all of length 1: 0\.\d{3}, and -?0\.\d{3} with that of 'something'$", fits.note)
    assert not fits.warnings
    texts = [f'like="a {colour} cross"' for colour in ("black", "teal", "pink")]
    worst = min((own(star.feeds["image"], text) for text in texts), key=lambda found: found.score)
    (said,) = worst.warnings
    assert re.match(
        r"the cosine with the text, \S+, is lower than that with 'something', \S+: the picture may not", said
    )
    (said,) = own(star.feeds["image"], f"{worst.words} un{star.target}").warnings
    assert said.startswith("the picture is nearer to what stands behind unlike (cosine 0.")
    unit = fits.outputs["image_embeds"][0]
    (said,) = own(star.feeds["image"], Like(-unit)).warnings
    assert said.startswith("the cosine is negative (-1.000): both are unlike")


def test_a_file_of_two_towers(tmp_path: Path) -> None:
    path = two_towers(tmp_path / "both.onnx")
    words(tmp_path)
    own, x = Explainer(path, preprocess="unit"), RNG.random((3, 3, 8, 8)).astype(np.float32)
    parts = {part.name: str(part) for part in own.network.reading}
    assert parts["embedding"].startswith("embedding: 'image_embeds'")
    assert parts["text tower"] == "text tower: 'text_embeds', of 'input_ids' of 8 tokens from 12 ids (the graph)"
    assert parts["tokenizer"] == "tokenizer: tokenizer.json, 10 tokens (a file beside the model)"
    expected = [cosine(row, SENTENCE) - cosine(row, OTHER) for row in x]
    np.testing.assert_allclose(own.scores(x, 'like="a red star" unlike="a blue ring"'), expected, atol=1e-6)
    found = own(RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8), 'like="a red star"')
    np.testing.assert_allclose(found.outputs["logits_per_image"][0, 0], found.score, atol=1e-6)


def test_a_file_of_two_towers_takes_texts_as_classes_and_images_too(tmp_path: Path) -> None:
    path, picture = two_towers(tmp_path / "both.onnx"), RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    own = Explainer(path, preprocess="unit")  # it needs no tokenizer for these
    image.write(tmp_path / "other.png", RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8))
    assert own(picture, f"like={tmp_path / 'other.png'}").score < 1
    with pytest.raises(TargetError, match='like=FILE, or a text, like="a dog"'):
        own(picture)
    ids = np.array([SENTENCE + [0] * 3, OTHER + [0] * 3])
    mask = np.array([[1] * 5 + [0] * 3] * 2)
    by_ids = own(picture, "0", inputs={"input_ids": ids[:1], "attention_mask": mask[:1]})
    words(tmp_path)
    by_text = Explainer(path, preprocess="unit")(picture, 'like="a red star"')
    np.testing.assert_allclose(by_ids.score, by_text.score, atol=1e-6)


def test_texts_of_one_batch_may_have_other_lengths(tmp_path: Path) -> None:
    image_tower(tmp_path / "image.onnx")
    text_tower(tmp_path / "text.onnx", "masked", length="t")
    words(tmp_path)
    x = RNG.random((2, 3, 8, 8)).astype(np.float32)
    found = explainer(tmp_path).scores(x, ["like=dog", 'like="a red star"'])
    np.testing.assert_allclose(found, [cosine(x[0], [START, 9, END]), cosine(x[1], SENTENCE)], atol=1e-6)


def test_the_command(towers: Path, onnxcam: object) -> None:
    np.save(towers / "picture.npy", np.zeros(1))
    image.write(towers / "picture.png", RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8))
    own = ("explain", towers / "image.onnx", towers / "picture.png", "-p", "unit", "--text-model", towers / "text.onnx")
    ran = onnxcam(*own, "-t", 'like="a red star"', "-t", "like=dog", "-o", "out")  # type: ignore[operator]
    assert ran.code == 0, ran.err
    assert "target: like 'dog' (3 tokens: <start> dog <end>); tokenizer.json" in ran.err
    entries = json.loads(Path("out/manifest.json").read_text(encoding="utf-8"))
    assert [entry["words"] for entry in entries] == ['like="a red star"', "like=dog"]
    assert len({entry["raw"] for entry in entries}) == 2


def test_a_baked_file_holds_the_text(towers: Path) -> None:
    from onnxcam.bake.bake import bake

    path, x = towers / "baked.onnx", RNG.random((2, 3, 8, 8)).astype(np.float32)
    said = {"target": 'like="a red star"', "preprocess": "unit", "text_model": towers / "text.onnx"}
    bake(towers / "image.onnx", path, raw=True, **said)  # type: ignore[arg-type]
    found = run(onnx.load(path), {"pixel_values": x})
    np.testing.assert_allclose(found["onnxcam.cosine"], [cosine(row, SENTENCE) for row in x], atol=1e-6)
    expected = explainer(towers).attribute(x, 'like="a red star"')
    np.testing.assert_allclose(found["onnxcam.map"], np.maximum(expected, 0), rtol=1e-4, atol=1e-7)


def test_inspect_tells_of_the_towers(towers: Path, onnxcam: object) -> None:
    two_towers(towers / "both.onnx")
    ran = onnxcam("inspect", towers / "both.onnx")  # type: ignore[operator]
    assert "text tower: 'text_embeds', of 'input_ids' of 8 tokens from 12 ids (the graph)" in ran.out
    assert 'like="a dog" unlike="a cat"' in ran.out
    ran = onnxcam("inspect", towers / "text.onnx")  # type: ignore[operator]
    assert ran.code == 0
    assert "text tower: 'text_embeds' of text.onnx, of 'input_ids' of 8 tokens from 12 ids (the graph)" in ran.out
    assert "it is the text tower of another model: give it with --text-model" in ran.out
    assert len(WORDS) == 10
