"""Small Keras networks with random weights, and the proof that a source agrees with the file it wrote."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what TensorFlow deprecates in itself while it is imported
    tf = pytest.importorskip("tensorflow", reason="the extra onnxcam[tensorflow] is not installed")
    pytest.importorskip("tf2onnx", reason="the extra onnxcam[tensorflow] is not installed")
    keras = pytest.importorskip("keras")

from onnxcam_converters.source import Exported, Source

from onnxcam.autodiff import vjp
from onnxcam.engine import Session
from onnxcam.graph.io import load
from onnxcam.passes.shapes import infer_shapes

L = keras.layers


def shaken(model: Any) -> Any:
    """Give every weight random numbers, so that no layer is the identity; variances stay positive."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        spread = rng.uniform(0.5, 1.5, weight.shape) if "variance" in weight.path else rng.normal(0, 0.4, weight.shape)
        weight.assign(spread.astype("float32"))
    return model


def residual() -> Any:
    image = keras.Input((32, 32, 3), name="image")
    x = L.Rescaling(2.0, offset=-1.0, name="scale")(image)
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv1")(x)
    x = L.ReLU(name="relu1")(L.BatchNormalization(name="bn1")(x))
    y = L.ReLU(name="block1_relu")(L.Conv2D(8, 3, padding="same", name="block1_conv")(x))
    x = L.Add(name="block1_add")([x, L.BatchNormalization(name="block1_bn")(y)])
    x = L.Activation("relu", name="block1_out")(x)
    x = L.Dropout(0.5, name="drop")(L.GlobalAveragePooling2D(name="gap")(x))
    return shaken(keras.Model(image, L.Dense(5, activation="softmax", name="predictions")(x), name="resnet"))


def depthwise() -> Any:
    return shaken(
        keras.Sequential(
            [
                keras.Input((24, 24, 3), name="picture"),
                L.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem"),
                L.ZeroPadding2D(((0, 1), (0, 1)), name="pad"),
                L.DepthwiseConv2D(3, strides=2, padding="valid", use_bias=False, name="dw"),
                L.BatchNormalization(name="dw_bn"),
                L.ReLU(6.0, name="dw_relu"),
                L.Conv2D(12, 1, name="project"),
                L.Activation("silu", name="act"),
                L.GlobalAveragePooling2D(name="gap"),
                L.Dense(4, name="logits"),
            ],
            name="mobile",
        )
    )


def unet() -> Any:
    image = keras.Input((None, None, 1), name="image")
    down = L.Conv2D(6, 3, padding="same", activation="relu", name="down")(image)
    low = L.Conv2D(8, 3, padding="same", activation="relu", name="bottom")(L.MaxPooling2D(name="pool")(down))
    up = L.Conv2DTranspose(6, 2, strides=2, name="up")(low)
    joined = L.Concatenate(name="skip")([down, up])
    mask = L.Conv2D(2, 1, name="mask")(L.Conv2D(6, 3, padding="same", activation="elu", name="refine")(joined))
    return shaken(keras.Model(image, {"mask": mask, "features": low}, name="unet"))


def two_inputs() -> Any:
    image, facts = keras.Input((16, 16, 3), name="image"), keras.Input((4,), name="facts")
    encoder = keras.Sequential(
        [keras.Input((16, 16, 3)), L.Conv2D(6, 3, name="conv"), L.ReLU(name="relu")], name="encoder"
    )
    x = L.GlobalAveragePooling2D(name="pooled")(encoder(image))
    x = L.Concatenate(name="joined")([x, L.Dense(3, activation="tanh", name="embed")(facts)])
    return shaken(keras.Model([image, facts], [L.Dense(3, name="scores")(x), x], name="both"))


class Block(keras.layers.Layer):
    """A layer of layers, which Keras does not list."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv, self.norm = L.Conv2D(6, 3, padding="same", name="conv"), L.LayerNormalization(name="norm")

    def call(self, x: Any) -> Any:
        return tf.nn.relu(self.norm(self.conv(x)))


class Subclassed(keras.Model):
    """A model that is a Python program."""

    def __init__(self) -> None:
        super().__init__(name="written")
        self.first, self.second = Block(name="first"), Block(name="second")
        self.head = L.Dense(3, name="head")

    def call(self, image: Any, training: bool = False) -> Any:
        return self.head(tf.reduce_mean(self.second(self.first(image)), [1, 2]))


def subclassed() -> Any:
    model = Subclassed()
    model(np.zeros((1, 16, 16, 3), np.float32))
    return shaken(model)


def proven(source: Source, path: Path, tolerance: float = 1e-5) -> Exported:
    """Export *source* and compare it with the framework: outputs, layers, gradients at inputs and a dozen layers."""
    exported = source.export(path)
    feeds = source.example(np.random.default_rng(1))
    layers = list(exported.layers.values())
    expected = source.run(feeds, layers)
    found = tensors(path, feeds, list(exported.layers))
    for tensor, layer in exported.layers.items():
        near(found[tensor], expected[layer], tolerance, layer)
    outputs = [value.name for value in load(path).graph.outputs]
    for output in outputs:
        near(found[output], expected[output], tolerance, output)
    seeds = {name: np.random.default_rng(2).normal(size=expected[name].shape).astype("float32") for name in outputs}
    theirs = source.gradients(feeds, seeds, layers[:: len(layers) // 12 + 1])
    wanted = [name for name in [*feeds, *exported.layers] if exported.layers.get(name, name) in theirs]
    ours = gradients(path, feeds, seeds, wanted)
    for name in wanted:
        near(ours[name], theirs[exported.layers.get(name, name)], 1e-4, f"gradient of {name}")
    return exported


def tensors(path: Path, feeds: Any, names: list[str]) -> dict[str, np.ndarray]:
    """Return the outputs of the file, and its tensors called *names*."""
    model = load(path)
    infer_shapes(model)
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.extend(values[name] for name in names if not values[name].is_graph_output())
    return Session(model, "cpu").run(feeds)


def gradients(path: Path, feeds: Any, seeds: Any, wanted: list[str]) -> dict[str, np.ndarray]:
    """Return onnxcam's gradients of Σ ⟨seed, output⟩ at the tensors *wanted*."""
    if not wanted:
        return {}
    graph = vjp(path, outputs=list(seeds), inputs=wanted)
    fed = {**feeds, **{f"{name}.cotangent": seed for name, seed in seeds.items()}}
    found = Session(load(graph), "cpu").run(fed, [f"{name}.gradient" for name in wanted])
    return {name.removesuffix(".gradient"): array for name, array in found.items()}


def near(found: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    assert found.shape == expected.shape, what
    assert np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-6), what
