from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from onnxcam.errors import TargetError
from onnxcam.metadata import labels

HF = {"id2label": {"1": "dog", "0": "cat"}}


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "cat\ndog\n"),
        ("names.txt", "\ufeffcat \r\ndog\r\n\r\n"),
        ("names.json", ["cat", "dog"]),
        ("names.json", {"1": "dog", "0": "cat"}),
        ("names.json", HF),
        ("names.json", {"id2label": ["cat", "dog"]}),
        ("names.json", {"0": ["n02123045", "cat"], "1": ["n02084071", "dog"]}),
    ],
)
def test_files(tmp_path: Path, name: str, content: object) -> None:
    path = write(tmp_path / name, content)
    assert labels.resolve(path, 2) == labels.resolve(str(path), 2) == ["cat", "dog"]


def test_names_themselves() -> None:
    assert labels.resolve(("cat", "dog"), 2) == ["cat", "dog"]


def test_an_explicit_count_must_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "names.txt", "cat\ndog\n")
    with pytest.raises(TargetError, match=r"names.txt: 2 labels, but the model has 3 classes; give one for each"):
        labels.resolve(path, 3)
    with pytest.raises(TargetError, match=r"^labels: 1 labels, but the model has 1000 classes"):
        labels.resolve(["cat"], 1000)


@pytest.mark.parametrize("content", ["{", "7", '{"1": "dog"}', '{"0": 1.5}', "[[]]", "[" * 100000])
def test_json_without_labels(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "names.json", content)
    with pytest.raises(TargetError, match=r"names.json: no labels in it; JSON labels are"):
        labels.resolve(path, 1)


def test_unreadable_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TargetError, match=r"pipe: is a pipe, not a file of labels; give a file"):
        labels.resolve(tmp_path / "pipe", 2)
    with pytest.raises(TargetError, match=r"missing.txt: no such file; check the name"):
        labels.resolve(tmp_path / "missing.txt", 2)
    (tmp_path / "utf16.txt").write_bytes("cat".encode("utf-16"))
    with pytest.raises(TargetError, match=r"utf16.txt: the file of labels is not text in UTF-8; save it as that"):
        labels.resolve(tmp_path / "utf16.txt", 2)


def test_sources_in_their_order(tmp_path: Path) -> None:
    model = tmp_path / "repository" / "onnx" / "model.onnx"
    own = {"onnxcam": json.dumps({"schema": 1, "labels": ["own", "two"]})}
    yolo = {"names": "{0: 'person', 1: 'bicycle'}"}

    def found(metadata: dict[str, str]) -> list[str] | None:
        return labels.resolve(None, 2, path=model, metadata=metadata)

    assert found({}) is None
    assert found(yolo) == ["person", "bicycle"]
    write(model.parent.parent / "config.json", HF)
    assert found(yolo) == ["cat", "dog"]
    write(model.parent / "config.json", {"label_names": ["beside", "two"]})
    assert found(yolo) == ["beside", "two"]
    assert found(yolo | own) == ["own", "two"]
    assert labels.resolve(None, 3, path=model, metadata=yolo | own) is None  # none of them fits


@pytest.mark.parametrize("names", ["{0: 'person'", "person", "open('x')", "7", "", "(" * 10000])
def test_strange_metadata_names_nothing(names: str) -> None:
    assert labels.resolve(None, 1, metadata={"names": names, "onnxcam": names}) is None


def test_placeholders_of_transformers_are_no_names(tmp_path: Path) -> None:
    write(tmp_path / "config.json", {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}})
    assert labels.resolve(None, 2, path=tmp_path / "model.onnx") is None


def test_imagenet() -> None:
    names = labels.resolve(None, 1000)
    assert names is not None
    assert len(names) == 1000
    assert names[0] == "tench"
    assert names[281] == "tabby"
    assert names[999] == "toilet tissue"
    assert all(name and name == name.strip() for name in names)
    assert labels.resolve(None, 1001) == ["background", *names]
    assert labels.resolve(None, 999) is None


def test_index() -> None:
    names = ["tench, Tinca tinca", "Egyptian cat", "tabby, tabby cat", "cat", "cat"]
    assert labels.index("EGYPTIAN_cat", names) == 1
    assert labels.index("tabby cat", names) == 2
    assert labels.index(" tinca Tinca ", names) == 0
    assert labels.index("cat", names) == 3
    assert labels.index("tench, tinca tinca", names) == 0


def test_unknown_label() -> None:
    with pytest.raises(TargetError, match=r"no class is named 'taby'. Did you mean 'tabby'"):
        labels.index("taby", ["tench", "tabby"])
    with pytest.raises(TargetError, match=r"no class is named 'xyzzy'. Give its number instead."):
        labels.index("xyzzy", ["tench", "tabby"])
