"""Validation of networks of signals, float against int8, and their place in time by a known world."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from onnxcam.compare.observer import Observer
from onnxcam.compare.report.panel import panel
from onnxcam.compare.tflite import TFLiteObserver
from onnxcam.compare.validate import validate
from onnxcam.errors import ImageError, PreprocessError
from onnxcam.explainer.explainer import Explainer
from onnxcam.media import image
from onnxcam.metrics import evaluate
from tests.compare.tasks.twins import MODELS
from tests.explainer.test_signals import network, step

pytest.importorskip("torch", reason="PyTorch is not installed")
from models.family import HELD_OUT
from models.tasks import task


class Rows(CalibrationDataReader):
    def __init__(self, rows: np.ndarray) -> None:
        self._rows = iter(rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self._rows, None)
        return None if row is None else {"image": row[None]}


def static_int8(source: Path, target: Path, rows: np.ndarray) -> None:
    logging.disable(logging.WARNING)
    quantize_static(source, target, Rows(rows), quant_format=QuantFormat.QDQ, per_channel=True)
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", ["signals", "keywords"])
def test_float_and_int8_agree(name: str, tmp_path: Path) -> None:
    rows = task(name).rows(HELD_OUT, 28)["image"]
    static_int8(task(name).path, tmp_path / "int8.onnx", rows[4:])
    (tmp_path / "records").mkdir()
    for number, row in enumerate(rows[:4]):
        np.save(tmp_path / "records" / f"{number}.npy", row.squeeze())
    found = validate(task(name).path, tmp_path / "int8.onnx", tmp_path / "records", method="gradcam")
    assert found.passed
    assert found.summaries["pearson"].mean > 0.98
    drawn = panel(found.journal[0])
    assert (drawn.missing, drawn.width) == ("", 320 if name == "signals" else 10)
    assert drawn.objects[0].difference is not None
    explained = Explainer(tmp_path / "int8.onnx")(rows[0].squeeze())
    assert explained.along_time is not None


def test_the_place_of_the_event() -> None:
    explainer = Explainer(task("signals").path)
    hits = []
    for sample in task("signals").samples(HELD_OUT, 24):
        near = np.convolve(sample.truth, np.ones(17), "same") > 0
        hits.append(near[explainer(sample.feeds["image"], target=sample.target).map.argmax()])
    assert np.mean(hits) > 0.85


def test_different_scalings_are_said(tmp_path: Path) -> None:
    onnx.save(network("nct"), tmp_path / "a.onnx")
    np.save(tmp_path / "x.npy", step(25))
    found = validate(tmp_path / "a.onnx", tmp_path / "a.onnx", tmp_path / "x.npy", preprocess="zscore")
    assert found.passed


def test_a_recording_of_a_pack_has_one_row_for_a_signal(tmp_path: Path) -> None:
    onnx.save(network("nct"), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", step(25))
    observer = Observer(tmp_path / "net.onnx", preprocess="raw", method="gradcam")
    (outcome,) = observer.outcomes([observer.prepare(tmp_path / "x.npy")])
    assert outcome.size == (1, 40)
    assert outcome.maps[0].map is not None
    assert outcome.maps[0].map.shape == (1, 40)


@pytest.mark.slow
def test_an_int8_tflite_network_of_signals(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    layers = tf.keras.layers
    net = tf.keras.Sequential([tf.keras.Input((40, 2)), layers.Conv1D(4, 3, padding="same", activation="relu")])
    net.add(layers.GlobalAveragePooling1D())
    net.add(layers.Dense(2))
    made = tf.lite.TFLiteConverter.from_keras_model(net)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = lambda: ([step(at).T[None]] for at in range(5, 30))
    made.inference_input_type = made.inference_output_type = tf.int8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorFlow
        (tmp_path / "net.tflite").write_bytes(made.convert())
    np.save(tmp_path / "x.npy", step(25))
    observer = TFLiteObserver(tmp_path / "net.tflite", "gradcam", None, "raw", None, {})
    prepared = observer.prepare(tmp_path / "x.npy")
    assert (prepared.tensor.shape, prepared.tensor.dtype) == ((1, 40, 2), np.int8)
    (outcome,) = observer.outcomes([prepared])
    assert outcome.maps[0].map is not None
    assert outcome.maps[0].map.shape == (1, 40)
    assert observer.info.preprocess == "raw"


def test_records_of_another_rate_and_images(tmp_path: Path) -> None:
    wavfile = pytest.importorskip("scipy.io.wavfile", reason="the extra onnxcam[signals] is not installed")
    wave = np.random.default_rng(0).standard_normal(900).astype(np.float32)
    wavfile.write(tmp_path / "a.wav", 100, wave)
    net = MODELS / "signals.onnx"
    told = {"require": "top1>=1"}
    with pytest.raises(
        ImageError, match=r"could be read; the first: .*a.wav: is sampled at 100 Hz, and the model takes"
    ):
        validate(net, net, tmp_path / "a.wav", **told)  # type: ignore[arg-type]
    found = validate(net, net, tmp_path / "a.wav", resample=True, start="0.5s", **told)  # type: ignore[arg-type]
    assert found.journal[0].size == (1, 1024)
    assert found.passed
    image.write(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    clip = MODELS / "clip_image.onnx"
    with pytest.raises(PreprocessError, match="are for signals, and this is none; leave them out"):
        validate(clip, clip, tmp_path / "a.png", resample=True, require="cosine>=1")
    measured = evaluate(net, [str(tmp_path / "a.wav")], metrics=["complexity"], resample=True, start="0.5s")
    assert measured.rows[0].values["sparseness"] > 0
