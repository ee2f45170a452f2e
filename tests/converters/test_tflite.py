"""TFLite files, float and int8, converted and compared with TensorFlow Lite's interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.converters import from_tensorflow
from onnxcam.errors import ConversionError
from onnxcam.graph.io import load
from onnxcam.metadata.card import Card
from tests.converters import keras_networks as networks
from tests.converters.keras_networks import keras, proven, tf

from onnxcam_converters.tensorflow_source import tensorflow_source as source  # isort: skip

pytestmark = [
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected"),
    pytest.mark.filterwarnings(r"ignore:\s*Warning. tf.lite.Interpreter is deprecated"),
]


@pytest.fixture(scope="module")
def network() -> Any:
    return networks.depthwise()


def written(model: Any, path: Path, quantised: bool) -> Path:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantised:
        rng = np.random.default_rng(0)
        shape = (1, *model.inputs[0].shape[1:])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([rng.random(shape, np.float32)] for _ in range(16))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path


def test_float(network: Any, tmp_path: Path) -> None:
    found = source(written(network, tmp_path / "model.tflite", quantised=False))
    exported = proven(found, tmp_path / "model.onnx")
    assert {"stem", "dw_relu", "project", "act", "gap"} <= set(exported.layers.values())
    graph = load(tmp_path / "model.onnx").graph
    assert [str(dim) for dim in graph.inputs[0].shape] == ["batch", "24", "24", "3"]
    assert graph.inputs[0].name == "picture"
    pictures = np.random.default_rng(0).random((2, 24, 24, 3), np.float32)
    found_scores = networks.tensors(tmp_path / "model.onnx", {"picture": pictures}, [])
    networks.near(next(iter(found_scores.values())), network(pictures).numpy(), 1e-5, "scores")


def test_int8_stays_int8(network: Any, tmp_path: Path) -> None:
    found = source(written(network, tmp_path / "model.tflite", quantised=True))
    exported = found.export(tmp_path / "model.onnx")
    graph = load(tmp_path / "model.onnx").graph
    assert {value.dtype.name for value in (*graph.inputs, *graph.outputs)} == {"INT8"}
    assert sum(node.op_type == "DequantizeLinear" for node in graph) > 5
    feeds = found.example(np.random.default_rng(1))
    layers = list(exported.layers.values())
    expected = found.run(feeds, layers)
    ours = networks.tensors(tmp_path / "model.onnx", feeds, list(exported.layers))
    assert {"stem", "dw_relu", "gap"} <= set(layers)
    for tensor, layer in exported.layers.items():
        networks.near(ours[tensor], expected[layer], 0.05, layer)
    output = graph.outputs[0].name
    assert np.abs(ours[output].astype(int) - expected[output]).max() <= 2  # steps of 256


def test_bias_of_one_channel_depthwise(tmp_path: Path) -> None:
    """The bias of a depthwise convolution of one channel is quantised along its own axis, not its weights'."""
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1), name="picture"),
            networks.L.DepthwiseConv2D(3, depth_multiplier=4, activation="relu", name="dw"),
            networks.L.GlobalAveragePooling2D(name="gap"),
        ]
    )
    found = source(written(networks.shaken(model), tmp_path / "model.tflite", quantised=True))
    found.export(tmp_path / "model.onnx")
    for node in load(tmp_path / "model.onnx").graph:
        if node.op_type == "DequantizeLinear" and node.inputs[0].shape is not None and len(node.inputs[0].shape) == 1:
            assert node.attributes.get_int("axis", 0) == 0
    feeds = found.example(np.random.default_rng(1))
    ours, expected = networks.tensors(tmp_path / "model.onnx", feeds, []), found.run(feeds, [])
    for name, array in ours.items():
        assert np.abs(array.astype(int) - expected[name]).max() <= 2


@pytest.mark.parametrize("name", ["pretrainedResnet", "vww_96_float"])
def test_real_float(name: str, real: Path, tmp_path: Path) -> None:
    proven(source(real / "sources" / f"{name}.tflite"), tmp_path / "model.onnx", 1e-4)


@pytest.mark.parametrize(
    ("name", "made_before", "photo"),
    [
        ("pretrainedResnet_quant", "resnet8_cifar10_qdq", "tabby_cat.jpg"),
        ("vww_96_int8", "vww_mobilenet_96_qdq", "squat.jpg"),
    ],
)
def test_real_int8_is_explained(name: str, made_before: str, photo: str, real: Path, tmp_path: Path) -> None:
    source(real / "sources" / f"{name}.tflite").export(tmp_path / "model.onnx")
    settings = {"method": "gradcam", "preprocess": "raw"}
    ours = Explainer(tmp_path / "model.onnx", **settings)(real / "images" / photo)
    expected = Explainer(real / "models" / f"{made_before}.onnx", **settings)(real / "images" / photo)
    assert ours.target == expected.target
    assert np.corrcoef(ours.map.ravel(), expected.map.ravel())[0, 1] > 0.99


def test_custom_operator_is_named(tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3))])
    def odd(x: Any) -> Any:
        return tf.reduce_mean(tf.math.digamma(x + 1.0), [1, 2])

    converter = tf.lite.TFLiteConverter.from_concrete_functions([odd.get_concrete_function()])
    converter.allow_custom_ops = True
    (tmp_path / "model.tflite").write_bytes(converter.convert())
    with pytest.raises(ConversionError, match=r"tf2onnx cannot convert Digamma .*custom operators"):
        source(tmp_path / "model.tflite").export(tmp_path / "model.onnx")


def test_dynamic_range_is_converted_by_its_name(tmp_path: Path) -> None:
    """Weights of 1024 elements or more are int8, inputs and outputs float: TFLite rounds inside its kernels."""
    keras.utils.set_random_seed(0)
    x = picture = keras.Input((32, 32, 3), name="picture")
    for k in range(3):
        x = networks.L.Conv2D(32, 3, activation="relu", padding="same", name=f"conv{k}")(x)
    scores = networks.L.Dense(5, name="logits")(networks.L.GlobalAveragePooling2D(name="gap")(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(picture, scores))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path = tmp_path / "net.tflite"
    path.write_bytes(converter.convert())
    made = from_tensorflow(path, tmp_path / "net.onnx")
    assert any("dynamic range quantisation (CONV_2D)" in text for text in made.warnings)
    (row,) = made.verification
    assert row.precision == "dynamic range"
    assert row.cosine > 0.999
    assert {"conv0", "conv1", "conv2", "gap"} <= set(Card.of(load(made.path).metadata_props).layers.values())
    assert Explainer(made.path, preprocess="unit").class_count == 5
