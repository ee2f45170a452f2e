"""Class names in files of other tools beside a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxcam.metadata import labels
from onnxcam.metadata.label_files import files_of_names, names_in, names_in_lines

NAMES = ["cat", "dog", "old bird"]
TABLE = "tag_id,name,category,count\n" + "".join(f"{number},{name},0,9\n" for number, name in enumerate(NAMES))
FILES = {
    "labels.txt": "\n".join(NAMES) + "\n",
    "imagenet_classes.txt": "\n".join(NAMES),
    "model.txt": "0: cat\n1: dog\n2: old bird",
    "classes.json": json.dumps(NAMES),
    "class_indices.json": json.dumps({"dog": 1, "cat": 0, "old bird": 2}),
    "signature.json": json.dumps({"classes": {"Label": NAMES}}),
    "metadata.json": json.dumps({"tfjsVersion": "1.7.4", "labels": NAMES, "imageSize": 224}),
    "inference.yml": "PostProcess:\n  Topk:\n    label_list:\n    - cat\n    - dog\n    - old bird\n",
    "data.yaml": "nc: 3\nnames:\n  0: cat\n  1: dog\n  2: old bird\n",
    "selected_tags.csv": TABLE,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_beside_the_model(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name], "utf-8")
    names = labels.ClassNames(path=tmp_path / "model.onnx")
    assert names.of(3) == NAMES
    assert names.of(4) is None
    assert (names.origin(3), names.why(3)) == ("file", f"{name} beside the model")


@pytest.mark.parametrize("text", ["", "{", "[1, 2", '{"a": {"b": []}}', "[[[]]]", '{"labels": [null]}', "\0"])
@pytest.mark.parametrize("name", ["labels.json", "data.yaml", "selected_tags.csv", "inference.yml"])
def test_strange_files_name_nothing(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert list(files_of_names(tmp_path / "model.onnx")) == []


def test_a_folder_of_many_files(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"labels{number:02}.txt").write_text("a\nb\n", "utf-8")
    assert len(list(files_of_names(tmp_path / "model[1].onnx"))) == 16


def test_numbers_and_synsets_before_names_are_left_out() -> None:
    assert names_in_lines("0 cat\n1 dog\n") == ["cat", "dog"]
    assert names_in_lines("1 cat\n2 dog\n") == ["1 cat", "2 dog"]
    assert names_in_lines("n02123045 tabby, tabby cat\nn02123159 tiger cat") == ["tabby, tabby cat", "tiger cat"]
    assert names_in_lines("0\n1\n2") == ["0", "1", "2"]


def test_names_of_indices_that_are_numbers() -> None:
    assert names_in({"0": "1", "1": "0"}) == ["1", "0"]
    assert names_in({"90": 1, "0": 0}) == ["0", "90"]
