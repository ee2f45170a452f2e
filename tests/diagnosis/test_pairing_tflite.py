"""A Keras network, and the int8 file that TensorFlow Lite makes of it, both converted to ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam.diagnosis.pairing import pair
from onnxcam.graph.fold import constant
from onnxcam.graph.io import load

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
tf2onnx = pytest.importorskip("tf2onnx")


def keras_network() -> Any:
    """A classifier with batch normalisations behind a convolution and a depthwise one."""
    keras.utils.set_random_seed(0)
    layers, rng = keras.layers, np.random.default_rng(1)
    image = keras.Input((8, 8, 3), batch_size=1)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", use_bias=False)(image)))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
    x = layers.Add()([x, layers.Conv2D(6, 1)(x)])
    network = keras.Model(image, layers.Softmax()(layers.Dense(4)(layers.GlobalAveragePooling2D()(x))))
    for weight in network.weights:
        if "variance" in weight.path:
            weight.assign(rng.uniform(0.5, 2, weight.shape))
        elif any(name in weight.path for name in ("mean", "beta", "bias")):
            weight.assign(rng.normal(0, 0.2, weight.shape))
    return network


def images(count: int) -> list[np.ndarray]:
    return [each.astype(np.float32) for each in np.random.default_rng(2).normal(size=(count, 1, 8, 8, 3))]


def reads_data(node: Any) -> bool:
    return node.op_type == "DequantizeLinear" and constant(node.inputs[0]) is None


def test_the_keras_network_and_the_int8_file(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = keras_network()
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x] for x in images(8))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        (tmp_path / "int8.tflite").write_bytes(converter.convert())
        tf2onnx.convert.from_tflite(str(tmp_path / "int8.tflite"), opset=17, output_path=str(tmp_path / "int8.onnx"))
        signature = [tf.TensorSpec((1, 8, 8, 3), tf.float32, name="input")]
        function = tf.function(lambda x: network(x))
        real, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=17)
    candidate = load(onnx.load(tmp_path / "int8.onnx"))
    name = candidate.graph.inputs[0].name or ""
    reader = next(filter(reads_data, candidate.graph))
    scale, zero = (float(np.asarray(constant(x)).item()) for x in reader.inputs[1:3])
    x = np.clip(np.rint(images(1)[0] / scale) + zero, -128, 127).astype(np.int8)
    found = pair(tmp_path / "int8.onnx", real, {name: x})
    assert found.difference < 1e-3
    assert list(found.unmatched) == []
    assert not found.mixture.fixed
