"""Graphs that a folder keeps from one start to the next: the same maps, and no building at the second start."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import STANDARD, register
from onnxcam.errors import ModelError, OutputError
from onnxcam.explainer import compiled
from onnxcam.graph import cache as caches
from onnxcam.model import prepared

SHAPES = Path(str(resources.files("onnxcam") / "assets" / "shapes.onnx"))
MODELS = Path(__file__).parents[2] / "models"
X = np.random.default_rng(0).random((1, 3, 96, 96), np.float32)
Start = Callable[..., Explainer]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the classifier of shapes."""
    return Path(shutil.copy(SHAPES, tmp_path / "shapes.onnx"))


@pytest.fixture
def start(model: Path, tmp_path: Path) -> Start:
    """Start an explainer of *model* with the cache ``kept``."""

    def started(path: Path = model, **options) -> Explainer:
        return Explainer(path, provider="cpu", cache=tmp_path / "kept", **options)

    return started


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is built: ``canonical`` and ``explanation``."""
    made: list[str] = []
    canonical, explanation_graph = prepared.canonical, compiled.explanation_graph

    def counted(name, function):
        def build(*args, **settings):
            made.append(name)
            return function(*args, **settings)

        return build

    monkeypatch.setattr(prepared, "canonical", counted("canonical", canonical))
    monkeypatch.setattr(compiled, "explanation_graph", counted("explanation", explanation_graph))
    return made


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "kept").glob("*.graph"))


@pytest.mark.parametrize("method", ["gradcam", "gradient", "guided-backprop", "layercam", "fullgrad", "eigencam"])
def test_the_second_start_builds_nothing_and_gives_the_same_map(start: Start, model: Path, built, method: str) -> None:
    plain = Explainer(model, method, provider="cpu")
    start(method=method)
    built.clear()
    again = start(method=method)
    assert built == []
    assert np.array_equal(again.attribute(X, 1), plain.attribute(X, 1))
    assert again.reading == plain.reading
    assert again.warnings == plain.warnings
    if plain.choice is not None:
        assert [str(one) for one in again.choice.others] == [str(one) for one in plain.choice.others]
        assert again.place((96, 96)) == plain.place((96, 96))


@pytest.mark.parametrize("name", ["classifier_vit", "classifier_fc", "detector", "segmenter", "captioner"])
def test_other_networks_explain_an_image_alike(start: Start, name: str) -> None:
    image = SHAPES.with_name("shapes_1.png")
    plain = Explainer(MODELS / f"{name}.onnx", provider="cpu")(image)
    for _ in range(2):
        again = start(MODELS / f"{name}.onnx")(image)
        assert np.array_equal(again.raw, plain.raw)
        assert (again.layer, again.words, again.warnings) == (plain.layer, plain.words, plain.warnings)


def test_entries_hold_no_weights(start: Start, tmp_path: Path) -> None:
    start()
    assert entries(tmp_path)
    assert all(entry.stat().st_size < SHAPES.stat().st_size / 2 for entry in entries(tmp_path))


def test_what_decides_the_graph_is_in_the_name(start: Start, built) -> None:
    start()
    for options in (
        {"method": "layercam"},
        {"signed": True},
        {"smooth": "eigen"},
        {"layer": start().choice.layer.tensor},
    ):
        built.clear()
        start(**options)
        assert built == ["explanation"], options


@pytest.mark.parametrize("keep_time", [False, True])
def test_changed_weights_have_entries_of_their_own(start: Start, model: Path, built, keep_time: bool) -> None:
    start()
    before, loaded = model.stat(), onnx.load(model)
    for weight in loaded.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and len(weight.raw_data) > 1024:
            weight.raw_data = (2 * np.frombuffer(weight.raw_data, np.float32)).tobytes()
    onnx.save(loaded, model)
    assert model.stat().st_size == before.st_size
    if keep_time:
        os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    built.clear()
    start()
    assert built == ["canonical", "explanation"]


def test_weights_beside_the_model_stay_there(start: Start, model: Path, built, tmp_path: Path) -> None:
    path = tmp_path / "beside" / "net.onnx"
    path.parent.mkdir()
    onnx.save(onnx.load(model), path, save_as_external_data=True, location="net.bin", size_threshold=0)
    plain = start(path).attribute(X, 1)
    built.clear()
    assert np.array_equal(start(path).attribute(X, 1), plain)
    assert built == []


def damage(entry: bytes) -> bytes:
    return entry[:-1] + bytes([entry[-1] ^ 1])


def foreign(entry: bytes) -> bytes:
    return SHAPES.read_bytes()


def elsewhere(entry: bytes) -> bytes:
    """Return the entry with a valid hash and weights from another file."""
    rest = entry.partition(b"\n")[2].replace(b"shapes.onnx", b"others.onnx")
    return b"onnxcam graph 1 " + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def nonsense(entry: bytes) -> bytes:
    return b"onnxcam graph 1 " + hashlib.sha256(b"?").hexdigest().encode() + b"\n?"


@pytest.mark.parametrize("spoil", [damage, foreign, elsewhere, nonsense])
def test_a_spoilt_entry_is_told_and_built_again(start: Start, tmp_path: Path, built, spoil) -> None:
    plain = start().attribute(X, 1)
    for entry in entries(tmp_path):
        entry.write_bytes(spoil(entry.read_bytes()))
    built.clear()
    again = start()
    assert built == ["canonical", "explanation"]
    told = [
        f"entry '{one}' of the cache is damaged or of other origin; it was built again" for one in entries(tmp_path)
    ]
    assert set(told) <= set(again.warnings)
    assert np.array_equal(again.attribute(X, 1), plain)
    built.clear()
    assert not set(told) & set(start().warnings)
    assert built == []


def test_rules_of_others_are_not_kept(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STANDARD, ("", "Relu"), STANDARD["", "Relu"])
    register("Relu", lambda op, node, dy, x: (dy,))
    start()
    start()
    assert entries(tmp_path) == []


def test_the_folder_is_bounded(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "ENTRIES", 3)
    for method in ("gradcam", "layercam", "gradient", "hirescam"):
        start(method=method)
    assert len(entries(tmp_path)) == 3


def test_a_model_in_memory_has_no_cache(tmp_path: Path) -> None:
    says = "a cache keeps the graphs of model files; give the path of the model, or no cache"
    with pytest.raises(ModelError, match=says):
        Explainer(SHAPES.read_bytes(), cache=tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"cannot write the cache '.*file': .*; choose another folder \(cache=, "):
        Explainer(SHAPES, cache=tmp_path / "file")


def test_an_entry_that_cannot_be_read(start: Start, tmp_path: Path) -> None:
    start()
    for entry in entries(tmp_path):
        entry.unlink()
        entry.mkdir()
    with pytest.raises(OutputError, match="cannot write the cache"):
        start()


def test_the_command(onnxcam, tmp_path: Path, built) -> None:
    image = resources.files("onnxcam") / "assets" / "shapes_1.png"
    for _ in range(2):
        built.clear()
        onnxcam("explain", SHAPES, image, "--cache", tmp_path / "kept", "-o", tmp_path / "out")
    assert built == []
