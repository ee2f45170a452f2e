"""TFLite: scores by its interpreter, in real units; maps by the converted graph, and a warning that says so."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.compare import tflite
from onnxcam.compare.compare_recordings import compare_recordings
from onnxcam.compare.record import record
from onnxcam.compare.recordings import Recording
from onnxcam.compare.tflite import Interpreter
from onnxcam.errors import ConversionError, ModelError, PreprocessError
from onnxcam.media import image
from tests.command import Ran
from tests.compare.recordings import photos

MAPS = "the maps come from the file converted to ONNX, as the interpreter has no gradients"


def converted(quantised: bool) -> bytes:
    """A small classifier of 3 classes, 32 × 32; *quantised*: int8 in and out."""
    keras, tf = pytest.importorskip("keras"), pytest.importorskip("tensorflow")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3), name="image"),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="conv1"),
            layers.Conv2D(8, 3, activation="relu", name="conv2"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(3, activation="softmax", name="scores"),
        ]
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantised:
        rng = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([rng.random((1, 32, 32, 3), np.float32)] for _ in range(8))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    data: bytes = converter.convert()
    return data


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tflite")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, quantised in (("float", False), ("int8", True)):
            (folder / f"{name}.tflite").write_bytes(converted(quantised))
    return {name: folder / f"{name}.tflite" for name in ("float", "int8")}


def reference(path: Path, real: np.ndarray) -> np.ndarray:
    """The probabilities by TensorFlow's own interpreter of real pixels [1, 32, 32, 3], units written out by hand."""
    tf = pytest.importorskip("tensorflow")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = tf.lite.Interpreter(str(path))
    seen.allocate_tensors()
    given, found = seen.get_input_details()[0], seen.get_output_details()[0]
    if given["dtype"] == np.int8:
        scale, zero = given["quantization"]
        real = np.clip(np.rint(real / scale) + zero, -128, 127).astype(np.int8)
    seen.set_tensor(given["index"], real)
    seen.invoke()
    scores = seen.get_tensor(found["index"])[0]
    if found["dtype"] == np.int8:
        scale, zero = found["quantization"]
        return (scores.astype(np.float64) - zero) * scale
    return np.asarray(scores, np.float64)


@pytest.mark.parametrize("name", ["float", "int8"])
def test_scores_are_the_interpreters(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 3, size=32)
    made = record(models[name], pictures, tmp_path / "run", preprocess="unit")
    assert any(MAPS in warning for warning in made.warnings)
    recording = Recording(tmp_path / "run")
    assert recording.info.kind == f"tflite {'float32' if name == 'float' else 'int8'}"
    assert recording.info.method == "gradcam"
    for path, outcome in zip(pictures, recording, strict=True):
        expected = reference(models[name], image.read(path)[None] / np.float32(255))
        np.testing.assert_allclose(outcome.prediction.scores, expected, atol=1e-5)
        assert outcome.prediction.head == "softmax"
        assert outcome.target == int(np.argmax(expected))
        assert outcome.map is not None
        assert outcome.map.ndim == 2


def test_float_and_int8_of_one_network_are_compared(models: dict[str, Path], tmp_path: Path) -> None:
    pictures = photos(tmp_path / "p", 4, size=32)
    record(models["float"], pictures, tmp_path / "a", preprocess="unit")
    record(models["int8"], pictures, tmp_path / "b", preprocess="unit", explain_from=tmp_path / "a")
    found = compare_recordings(tmp_path / "a", tmp_path / "b")
    assert found.summaries["cosine"].mean > 0.99
    assert found.summaries["mapped"].count > 0
    assert "pearson" in found.summaries
    assert sum(MAPS in warning for warning in found.warnings) == 2


def test_without_a_conversion_there_are_scores_only(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise ConversionError("the custom operator 'Twirl' has no ONNX")

    pictures = photos(tmp_path / "p", 2, size=32)
    record(models["int8"], pictures, tmp_path / "a", preprocess="unit")
    monkeypatch.setattr(tflite, "_converted", refuse)
    made = record(models["int8"], pictures, tmp_path / "b", preprocess="unit")
    assert "scores only, no maps: the custom operator 'Twirl' has no ONNX" in made.warnings
    recording = Recording(tmp_path / "b")
    assert (recording.info.method, recording.has_maps) == ("none", False)
    assert recording[0].maps[0].why == "the file cannot be converted: the custom operator 'Twirl' has no ONNX"
    np.testing.assert_array_equal(recording[0].prediction.scores, Recording(tmp_path / "a")[0].prediction.scores)
    found = compare_recordings(tmp_path / "a", tmp_path / "b")
    assert found.summaries["top1"].mean == 1
    assert any("there are no maps in '" in warning for warning in found.warnings)


def test_what_is_refused(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.tflite: no such file"):
        Interpreter(tmp_path / "nowhere.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"no model" * 10)
    with pytest.raises(ModelError, match=r"bad\.tflite' is no TFLite model that runs: "):
        Interpreter(tmp_path / "bad.tflite")
    with pytest.raises(PreprocessError, match="takes 32x32"):
        record(models["int8"], photos(tmp_path / "p", 1), tmp_path / "run", preprocess="unit,crop=96x96")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"TFLite files need their interpreter; pip install 'onnxcam\[tflite\]'"):
        Interpreter(models["int8"])


def test_tensorflows_interpreter_is_the_second_choice(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    hidden: Callable[..., Any] = lambda name, *rest: None if name == "ai_edge_litert" else find(name, *rest)  # noqa: E731
    x = np.random.default_rng(0).integers(-128, 128, (1, 32, 32, 3)).astype(np.int8)
    first = Interpreter(models["int8"]).scores(x)
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        second = Interpreter(models["int8"])
    assert second.name == "TensorFlow Lite"
    np.testing.assert_allclose(second.scores(x), first, atol=2 / 256)


def test_the_real_twins_agree(real: Path, onnxcam: Callable[..., Ran], tmp_path: Path) -> None:
    """The visual wake words network, int8, as the device has it and as ONNX."""
    pytest.importorskip("ai_edge_litert", reason="the extra onnxcam[tflite] is not installed")
    pictures = sorted((real / "images").glob("*.jpg"))[:6]
    lite, twin = real / "sources" / "vww_96_int8.tflite", real / "models" / "vww_mobilenet_96_qdq.onnx"
    assert onnxcam("record", twin, *pictures, "-o", "twin", "-p", "unit").code == 0
    ran = onnxcam("record", lite, *pictures, "-o", "lite", "-p", "unit", "--explain-from", "twin")
    assert ran.code == 0, ran.err
    assert MAPS in ran.err
    found = compare_recordings("twin", "lite", common=True)
    assert found.summaries["cosine"].mean > 0.99
    assert found.summaries["pearson"].mean > 0.95
