"""How a text fills the inputs of a tower: its length, padding, and what stands beside the token ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.errors import ModelError
from onnxcam.text_towers import TextTower
from tests.text_towers.towers import END, PAD, START, TABLE, text_tower, unit, words

DOG = [START, 9, END]


def embedded(folder: Path, pooling: str, **options: Any) -> tuple[np.ndarray, str]:
    text_tower(folder / "text.onnx", pooling, **options)
    found = TextTower.open(folder / "text.onnx", None)("dog", 4)
    return found.unit, found.how


def rows(ids: list[int]) -> np.ndarray:
    return unit(TABLE[ids].astype(np.float64).sum(0))


@pytest.mark.parametrize(
    ("length", "padding", "config", "ids", "told"),
    [
        (8, {}, {}, [*DOG, *[0] * 5], "padded to 8 by the id 0, a guess: its files state none,"),
        (8, {"pad_id": 5}, {}, [*DOG, *[5] * 5], "padded to 8 by the id 5,"),
        (8, {"pad_id": 5, "direction": "left"}, {}, [*[5] * 5, *DOG], "padded to 8 by the id 5,"),
        (8, {}, {"tokenizer_config.json": {"pad_token": "red"}}, [*DOG, *[5] * 5], "padded to 8 by the id 5,"),
        (8, {}, {"special_tokens_map.json": {"pad_token": {"content": "red"}}}, [*DOG, *[5] * 5], "by the id 5,"),
        ("t", {"pad_id": 5, "length": 6}, {}, [*DOG, *[5] * 3], "padded to 6 by the id 5,"),
        ("t", {"pad_id": 5}, {"tokenizer_config.json": {"model_max_length": 4}}, [*DOG, 5], "padded to 4 by the id 5,"),
        ("t", {"pad_id": 5}, {"tokenizer_config.json": {"model_max_length": 10**30}}, DOG, "tokenizer.json and"),
    ],
)
def test_a_tower_without_a_mask(
    tmp_path: Path, length: int | str, padding: dict[str, Any], config: dict[str, Any], ids: list[int], told: str
) -> None:
    words(tmp_path, **padding)
    for name, content in config.items():
        (tmp_path / name).write_text(json.dumps(content))
    found, how = embedded(tmp_path, "summed", length=length)
    np.testing.assert_allclose(found, rows(ids), atol=1e-6)
    assert told in how


@pytest.mark.parametrize("padding", [{}, {"pad_id": 5, "direction": "left"}])
@pytest.mark.parametrize("length", [8, "t"])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_a_mask_hides_the_padding(tmp_path: Path, padding: dict[str, Any], length: int | str, dtype: str) -> None:
    words(tmp_path, **padding)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 8}))
    found, how = embedded(tmp_path, "masked", length=length, dtype=dtype)
    np.testing.assert_allclose(found, rows(DOG), atol=1e-6)
    assert ("padded" in how) == (length == 8)


def test_types_and_positions(tmp_path: Path) -> None:
    words(tmp_path)
    ids = [*DOG, *[PAD] * 5]
    found, _ = embedded(tmp_path, "placed")
    np.testing.assert_allclose(found, unit((TABLE[ids] * np.arange(8)[:, None]).sum(0)), atol=1e-6)


def test_an_input_of_unknown_meaning(tmp_path: Path) -> None:
    words(tmp_path)
    with pytest.raises(
        ModelError, match=r"text\.onnx: the text tower takes 'flags' .* beside the token ids, and it is not known what"
    ):
        embedded(tmp_path, "flagged")


@pytest.mark.parametrize("where", ["text.tokenizer.json", "tokenizer.json", "../tokenizer.json"])
def test_where_a_tokenizer_is_found(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "onnx"
    folder.mkdir()
    words(folder, name=where)
    if where == "text.tokenizer.json":
        (folder / "tokenizer.json").write_text("another model's")
    tower = TextTower.open(text_tower(folder / "text.onnx"), None)
    assert (tower.tokenizer.path.name, tower.tokenizer.source) == (Path(where).name, "file")
    assert TextTower.open(folder / "text.onnx", folder / where).tokenizer.source == "user"
