"""Keras models, converted and compared with Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.errors import ConversionError
from onnxcam.graph.io import load
from tests.converters import keras_networks as networks
from tests.converters.keras_networks import keras, proven, tf

from onnxcam_converters.tensorflow_source import tensorflow_source as source  # isort: skip

SHAPES = {"image": (None, 16, 16, 3)}


@pytest.mark.parametrize(
    ("build", "layers", "inputs", "outputs"),
    [
        (networks.residual, {"bn1", "relu1", "block1_relu", "block1_out", "gap"}, ["image"], ["predictions"]),
        (networks.depthwise, {"stem", "dw_bn", "dw_relu", "project", "act", "gap"}, ["picture"], ["logits"]),
        (networks.unet, {"down", "bottom", "pool", "up", "skip", "refine"}, ["image"], ["mask", "features"]),
        (networks.two_inputs, {"encoder/relu", "pooled", "embed"}, ["image", "facts"], ["scores", "joined"]),
    ],
)
def test_agrees(build: Any, layers: set[str], inputs: list[str], outputs: list[str], tmp_path: Path) -> None:
    exported = proven(source(build()), tmp_path / "model.onnx")
    graph = load(tmp_path / "model.onnx").graph
    assert layers <= set(exported.layers.values())
    assert [value.name for value in graph.inputs] == inputs
    assert [value.name for value in graph.outputs] == outputs
    assert exported.exporter.startswith("tf2onnx ")


def test_subclassed(tmp_path: Path) -> None:
    exported = proven(source(networks.subclassed(), inputs=SHAPES), tmp_path / "model.onnx")
    assert {"first/conv", "first/norm", "first", "second"} <= set(exported.layers.values())
    assert [value.name for value in load(tmp_path / "model.onnx").graph.outputs] == ["head"]


def test_axes_stay_open(tmp_path: Path) -> None:
    model = networks.unet()
    found = source(model)
    found.export(tmp_path / "model.onnx")
    graph = load(tmp_path / "model.onnx").graph
    assert [str(dim) for dim in graph.inputs[0].shape] == ["batch", "height", "width", "1"]
    feeds = {"image": np.random.default_rng(0).random((3, 20, 44, 1), np.float32)}
    got = networks.tensors(tmp_path / "model.onnx", feeds, [])
    networks.near(got["mask"], model(feeds["image"])["mask"].numpy(), 1e-5, "mask")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """A residual network, what was exported of it, and the file."""
    model, path = networks.residual(), tmp_path_factory.mktemp("keras") / "resnet.onnx"
    return model, source(model).export(path), path


def test_fused_layers_are_not_claimed(resnet: Any) -> None:
    """tf2onnx folds the normalisation into the convolution in front of it, whose own output is gone."""
    _, exported, _ = resnet
    assert "conv1" not in exported.layers.values()
    assert "bn1" in exported.layers.values()


def test_fused_layers_are_not_claimed_of_a_fresh_network(tmp_path: Path) -> None:
    """Before training a normalisation all but passes its input on: the tensor is its output, not the convolution's."""
    image = keras.Input((8, 8, 3), name="image")
    x = networks.L.Conv2D(4, 3, use_bias=False, name="conv")(image)
    x = networks.L.ReLU(name="relu")(networks.L.BatchNormalization(name="bn")(x))
    exported = source(keras.Model(image, networks.L.Flatten(name="flat")(x))).export(tmp_path / "model.onnx")
    assert list(exported.layers.values()) == ["bn", "relu"]


def test_nodes_are_called_as_layers(resnet: Any) -> None:
    names = {node.name for node in load(resnet[2]).graph}
    assert {"relu1/Relu", "block1_add/Add", "predictions/MatMul"} <= names  # not resnet_1/relu1_1/Relu, as TensorFlow


def test_leaves_no_trace() -> None:
    model = networks.two_inputs()
    before = {layer: (set(vars(layer)), layer.call) for layer in model._flatten_layers()}
    found = source(model)
    found.run(found.example(np.random.default_rng(0)), [])
    assert {layer: (set(vars(layer)), layer.call) for layer in model._flatten_layers()} == before


def test_shared_layer_is_told_apart(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), name="image")
    shared = networks.L.Conv2D(3, 3, padding="same", name="shared")
    model = networks.shaken(keras.Model(image, shared(shared(image)) * 2.0))
    exported = proven(source(model), tmp_path / "model.onnx")
    assert {"shared", "shared:1"} <= set(exported.layers.values())


@pytest.mark.parametrize("layer", ["relu1", "block1_out"])
def test_gradcam_equals_tensorflows(layer: str, resnet: Any) -> None:
    model, _, path = resnet
    explainer = Explainer(path, method="gradcam", layer=layer, preprocess="unit")
    pictures = np.random.default_rng(3).random((5, 32, 32, 3), np.float32)
    ours = explainer.attribute(pictures, target=list(range(5)))
    theirs = gradcam(model, layer, pictures, list(range(5)))
    assert ours.shape == theirs.shape
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] >= 0.9999
    assert np.ptp(theirs) > 0  # some class has evidence


def gradcam(model: Any, layer: str, pictures: np.ndarray, classes: list[int]) -> np.ndarray:
    """Grad-CAM as Keras users write it: of the logits, by tf.GradientTape."""
    logits = model.get_layer("predictions")
    twin = keras.Model(model.input, [model.get_layer(layer).output, model.get_layer("gap").output])
    with tf.GradientTape() as tape:
        activation, pooled = twin(pictures)
        scores = tf.gather(pooled @ logits.kernel + logits.bias, classes, axis=1, batch_dims=1)
    weights = tape.gradient(scores, activation).numpy().mean((1, 2), keepdims=True)
    return np.maximum((activation.numpy() * weights).sum(-1), 0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (object(), "a builtins.object is no Keras 3 model"),
        (networks.Subclassed(), "the model 'written' does not say what it takes; give the shapes of its inputs"),
    ],
)
def test_what_is_no_model(model: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        source(model)


def test_what_cannot_be_traced(tmp_path: Path) -> None:
    class Undecided(keras.Model):
        def call(self, x: Any) -> Any:
            return x if tf.reduce_sum(x) > 0 else -x

    with pytest.raises(ConversionError, match=r"the model cannot be traced: .*symbolic.*test_keras.py") as caught:
        source(Undecided(), inputs=SHAPES).export(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "layer",
    [
        networks.L.Conv2D(6, 3, groups=3, name="grouped"),  # Keras has it compiled whole
        networks.L.Activation("gelu", name="exact_gelu"),  # tf2onnx knows no Erfc
        networks.L.SeparableConv2D(4, 3, padding="same", name="separable"),
        networks.L.GroupNormalization(3, name="group_norm"),
        networks.L.UpSampling2D(interpolation="bilinear", name="bilinear"),
    ],
    ids=lambda layer: layer.name,
)
def test_layers_that_need_help(layer: Any, tmp_path: Path) -> None:
    image = keras.Input((12, 12, 3), name="image")
    proven(source(networks.shaken(keras.Model(image, layer(image)))), tmp_path / "model.onnx")
