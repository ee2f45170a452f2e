"""Texts, tokenizers and text models that do not fit: one line says what, where and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.errors import ModelError, OnnxcamError, TargetError
from onnxcam.media import image
from tests.command import Ran
from tests.networks import classifier, saved
from tests.text_towers.towers import RNG, TABLE, WORDS, image_tower, text_tower, two_towers, words

PICTURE = RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8)
IDS = {word: i for i, word in enumerate(WORDS)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    image_tower(tmp_path / "image.onnx")
    return tmp_path


def asked(target: str | None = "like=dog", **options: Any) -> Any:
    return Explainer("image.onnx", preprocess="unit", **{"text_model": "text.onnx", **options})(PICTURE, target)


def refused(kind: type[OnnxcamError], *says: str, **options: Any) -> None:
    with pytest.raises(kind) as caught:
        asked(**options)
    for each in says:
        assert each in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_tokenizer(folder: Path) -> None:
    text_tower(folder / "text.onnx")
    refused(
        ModelError,
        "a text needs the tokenizer of the text model, and none lies beside 'text.onnx': neither tokenizer.json nor "
        "vocab.json with merges.txt; name its file with --tokenizer",
    )
    (folder / "empty").mkdir()
    refused(ModelError, "empty: the folder has neither tokenizer.json nor vocab.json", tokenizer="empty")
    refused(ModelError, "none.json", tokenizer="none.json")


def test_without_a_tokenizer_beside_two_towers(folder: Path) -> None:
    both = two_towers(folder / "both.onnx")
    own = Explainer(both, preprocess="unit")
    part = next(part for part in own.network.reading if part.name == "tokenizer")
    assert (part.value, "none lies beside 'both.onnx'" in part.why) == ("none", True)
    with pytest.raises(ModelError, match=r"none lies beside 'both\.onnx'"):
        own(PICTURE, "like=dog")
    with pytest.raises(ModelError, match="the model was given without a path"):
        Explainer(both.read_bytes(), preprocess="unit")(PICTURE, "like=dog")


@pytest.mark.parametrize("content", ["{}", "not json", '{"model": {"type": "None"}}'])
def test_a_file_that_is_no_tokenizer(folder: Path, content: str) -> None:
    text_tower(folder / "text.onnx")
    (folder / "tokenizer.json").write_text(content)
    refused(ModelError, "tokenizer.json: is no tokenizer that the library tokenizers reads (", "of the text model")


@pytest.mark.parametrize("merges", ["#version: 0.2\n", "#version: 0.2\na b\n"])
def test_a_vocabulary_that_is_not_clips(folder: Path, merges: str) -> None:
    text_tower(folder / "text.onnx")
    (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}))
    (folder / "merges.txt").write_text(merges)
    refused(ModelError, "vocab.json: is no tokenizer that the library tokenizers reads (")


def test_ids_beyond_the_models(folder: Path) -> None:
    text_tower(folder / "text.onnx")
    words(folder, {**IDS, "cat": 4000})
    refused(
        ModelError,
        "tokenizer.json: is the tokenizer of another model: it has 4001 tokens, and the table of 'text.onnx' behind "
        "'input_ids' has 12 rows; give the model's own with --tokenizer",
    )


def test_a_vocabulary_much_smaller_than_the_models(folder: Path) -> None:
    table = np.zeros((1025, 4), np.float32)
    text_tower(folder / "text.onnx", table=table)
    words(folder)
    refused(ModelError, "it has 10 tokens, and the table of 'text.onnx' behind 'input_ids' has 1025 rows")


@pytest.mark.parametrize(
    ("pooling", "ids", "says"),
    [
        ("end", {**IDS, "<end>": 11}, "reads a text at the token 2 (Equal"),
        ("end", {w: i for w, i in IDS.items() if w != "<end>"}, "which is no end token of [9]"),
        ("end", {**IDS, "dog": 2, "<end>": 9}, "reads a text at the token 2 (Equal"),
        ("largest", IDS, "reads a text at the largest id of a text (ArgMax"),
    ],
)
def test_other_special_tokens(folder: Path, pooling: str, ids: dict[str, int], says: str) -> None:
    text_tower(folder / "text.onnx", pooling)
    words(folder, ids)
    refused(ModelError, "tokenizer.json: is the tokenizer of another model, or adds no end: 'text.onnx' ", says)


def test_a_text_longer_than_the_context(folder: Path) -> None:
    text_tower(folder / "text.onnx")
    words(folder)
    refused(
        TargetError,
        "the text 'a red star a blue ring dog' has 9 tokens, and text.onnx takes at most 8; shorten it",
        target='like="a red star a blue ring dog"',
    )


def test_a_text_longer_than_the_tokenizer_says(folder: Path) -> None:
    text_tower(folder / "text.onnx", length="t")
    words(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 5}))
    refused(TargetError, "has 6 tokens, and text.onnx takes at most 5", target='like="a red star ring"')


def test_towers_of_other_widths(folder: Path) -> None:
    text_tower(folder / "text.onnx", table=np.ones((12, 6), np.float32))
    words(folder)
    refused(
        ModelError,
        "text.onnx: 'text_embeds' of the text has 6 numbers, but the image's embedding has 4: these towers do not "
        "belong together, or one was exported without its projection (text_embeds, image_embeds)",
    )


def test_a_text_model_that_is_none(folder: Path) -> None:
    words(folder)
    refused(ModelError, "image.onnx: is no text model: no output [N, D]", text_model="image.onnx")
    refused(ModelError, "none.onnx", text_model="none.onnx")


def test_an_embedding_of_a_text_that_is_zero(folder: Path) -> None:
    text_tower(folder / "text.onnx", table=np.zeros((12, 4), np.float32))
    words(folder)
    refused(ModelError, "text.onnx: 'text_embeds' of 'dog' is zero or not finite; export the text model again")


def test_the_library_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text_tower(folder / "text.onnx")
    words(folder)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    refused(
        ModelError,
        "a text as target needs the package tokenizers, which is not installed; pip install 'onnxcam[text]'",
    )


def test_a_model_that_is_no_embedding(folder: Path) -> None:
    text_tower(folder / "text.onnx")
    words(folder)
    upscaler = Path(__file__).parents[2] / "models" / "upscaler.onnx"
    for option in ({"text_model": "text.onnx"}, {"tokenizer": "tokenizer.json"}):
        with pytest.raises(TargetError, match="but this model is an image-to-image model; leave out --text-model"):
            Explainer(upscaler, **option)  # type: ignore[arg-type]
    scores = saved(folder / "scores.onnx", classifier())
    with pytest.raises(ModelError, match=r"'text_embeds' of the text has 4 numbers, but the image's embedding has"):
        Explainer(scores, preprocess="unit", text_model="text.onnx")(PICTURE, "like=dog")


def test_a_tokenizer_without_a_text_model(folder: Path) -> None:
    words(folder)
    refused(ModelError, "a tokenizer belongs to a text model, and this file has none", text_model=None, tokenizer=".")


def test_a_text_without_a_text_model(folder: Path) -> None:
    refused(
        TargetError,
        'like="a red star" is no file; for a text give the text tower that belongs to the model with --text-model',
        target='like="a red star"',
        text_model=None,
    )
    refused(OnnxcamError, "missing.png", target="like=missing.png", text_model=None)


@pytest.mark.parametrize("target", ['like=""', "like='  '"])
def test_an_empty_text(folder: Path, target: str) -> None:
    text_tower(folder / "text.onnx")
    words(folder)
    refused(TargetError, 'the text to compare with is empty; write what to look for, like="a dog"', target=target)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ('like="a red star', 'this quotation mark is not closed: end the value with "'),
        ("unlike='a dog like=cat", "this quotation mark is not closed: end the value with '"),
        ("like=a red star", "a key=value is missing here; a value with blanks needs quotation marks"),
        ('like="a red star" and more', "a key=value is missing here"),
        ("like=dog like=cat", "like= is given twice"),
    ],
)
def test_quotation_marks(folder: Path, target: str, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        asked(target, text_model=None)


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        (np.ones(5), "like= vector.npy has 5 numbers, but the embedding of the image has 4; give a vector of the same"),
        (np.array([1, np.nan, 0, 0]), "like= vector.npy is not finite: it holds NaN or infinity; save the embedding"),
        (np.array([1e308, np.inf, 0, 0]), "like= vector.npy is not finite"),
        (np.zeros(4), "like= vector.npy is zero; save the embedding again"),
    ],
)
def test_vectors(folder: Path, vector: np.ndarray, says: str) -> None:
    np.save("vector.npy", vector)
    refused(TargetError, says, target="like=vector.npy", text_model=None)
    Path("vector.npy").write_bytes(b"no array")
    refused(TargetError, "vector.npy: cannot be read as an array", target="like=vector.npy", text_model=None)


def test_the_command_refuses_in_one_line(folder: Path, onnxcam: Callable[..., Ran]) -> None:
    image.write(folder / "picture.png", PICTURE)
    text_tower(folder / "text.onnx")
    before = sorted(folder.rglob("*"))
    own = ("explain", "image.onnx", "picture.png", "-p", "unit", "-t", "like=dog")
    for more, says in (
        (("--text-model", "text.onnx"), "name its file with --tokenizer"),
        ((), "with --text-model"),
        (("--tokenizer", "t.json"), "a tokenizer belongs to a text model"),
    ):
        ran = onnxcam(*own, *more)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("error: ")
        assert ran.err.count("\n") == 1
        assert says in ran.err
        assert sorted(folder.rglob("*")) == before
    ran = onnxcam("explain", "text.onnx", "picture.png")
    assert "the model takes no image: 'input_ids' are the tokens of a text" in ran.err
    assert len(TABLE) == 12
