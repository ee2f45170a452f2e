"""Files of Keras and TensorFlow: .keras, .h5, SavedModels and frozen graphs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.converters import from_tensorflow
from onnxcam.errors import ConversionError
from onnxcam.graph.io import load
from tests.converters import keras_networks as networks
from tests.converters.keras_networks import L, keras, proven, tf

from onnxcam_converters.tensorflow_source import tensorflow_source as source  # isort: skip

# Keras hands a TensorFlow variable to numpy 2 when it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:.*You are saving your model as an HDF5 file")
def test_keras_files(suffix: str, tmp_path: Path) -> None:
    networks.residual().save(tmp_path / f"model{suffix}")
    exported = proven(source(tmp_path / f"model{suffix}"), tmp_path / "model.onnx")
    assert {"bn1", "block1_out"} <= set(exported.layers.values())


def test_h5_of_keras_2(real: Path, tmp_path: Path) -> None:
    """Its depthwise convolutions have an argument, ``groups``, that Keras 3 refuses."""
    exported = proven(source(real / "sources" / "vww_96.h5"), tmp_path / "model.onnx")
    assert {"depthwise_conv2d_12", "activation_26", "conv2d_13"} <= set(exported.layers.values())


def test_h5_equals_the_tflite_made_of_it(real: Path, tmp_path: Path) -> None:
    source(real / "sources" / "pretrainedResnet.h5").export(tmp_path / "model.onnx")
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    found = networks.tensors(tmp_path / "model.onnx", {"input_1": pictures}, [])
    expected = networks.tensors(real / "models" / "resnet8_cifar10_f32.onnx", {"input_1": pictures}, [])
    networks.near(found["dense"], expected["Identity"], 1e-4, "probabilities")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    networks.residual().export(folder, verbose=False)
    return folder


def test_saved_model(saved: Path, tmp_path: Path) -> None:
    exported = proven(source(saved), tmp_path / "model.onnx")
    assert {"bn1", "relu1", "block1_out", "gap"} <= set(exported.layers.values())
    graph = load(tmp_path / "model.onnx").graph
    assert [value.name for value in graph.inputs] == ["image"]
    assert "block1_add/Add" in {node.name for node in graph}


class Several(tf.Module):
    """Two signatures of one network; a custom gradient that nobody can find after loading."""

    def __init__(self) -> None:
        self.kernel = tf.Variable(np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("float32"))

    @tf.function(input_signature=[tf.TensorSpec((None, 12, 12, 3), tf.float32, "image")])
    def maps(self, image: Any) -> Any:
        with tf.name_scope("net"), tf.name_scope("conv"):
            y = tf.nn.silu(tf.nn.conv2d(image, self.kernel, 1, "SAME"))
        return {"zebra": y, "apple": y * 2.0}

    @tf.function(input_signature=[tf.TensorSpec((None, 12, 12, 3), tf.float32, "image")])
    def scores(self, image: Any) -> Any:
        return {"scores": tf.reduce_mean(tf.nn.conv2d(image, self.kernel, 1, "SAME"), [1, 2])}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several") / "model"
    module = Several()
    tf.saved_model.save(module, folder, signatures={"maps": module.maps, "scores": module.scores})
    return folder


@pytest.mark.parametrize(("signature", "outputs"), [("maps", ["apple", "zebra"]), ("scores", ["scores"])])
def test_signature(several: Path, signature: str, outputs: list[str], tmp_path: Path) -> None:
    proven(source(several, signature=signature), tmp_path / "model.onnx")
    assert [value.name for value in load(tmp_path / "model.onnx").graph.outputs] == outputs


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = networks.depthwise()
    traced = tf.function(lambda picture: model(picture, training=False), autograph=False)
    graph = convert_variables_to_constants_v2(traced.get_concrete_function(tf.TensorSpec((None, 24, 24, 3)))).graph
    path = tmp_path_factory.mktemp("frozen") / "model.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


@pytest.mark.parametrize("suffix", ["", ":0"])
def test_frozen_graph(frozen: Path, suffix: str, tmp_path: Path) -> None:
    found = source(frozen, inputs=["picture" + suffix], outputs=["Identity" + suffix])
    exported = proven(found, tmp_path / "model.onnx")
    assert {"dw_relu", "project", "act"} <= set(exported.layers.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.keras", "none.keras: no such file"),
        ("empty", "empty' is no SavedModel: there is no saved_model.pb in it"),
        ("text.pb", "text.pb' is no frozen TensorFlow graph"),
        ("saved_model.pb", "saved_model.pb' is no frozen TensorFlow graph; give its folder"),
        ("text.txt", "text.txt' is no model file of TensorFlow; give a .keras, .h5, .pb or .tflite file"),
        ("text.keras", "text.keras' cannot be loaded: "),
        ("text.h5", "text.h5' cannot be loaded: "),
        ("text.tflite", "text.tflite' is no TFLite model: "),
    ],
)
def test_what_is_no_file(name: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    elif "none" not in name:
        path.write_text("nothing of that kind\n" * 20)
    refused(message, path)


def test_several_signatures(several: Path) -> None:
    refused("has several signatures, 'maps', 'scores'; choose one with --signature", several)
    refused(r"has no signature 'score', but 'maps', 'scores'\. Did you mean 'scores'\?", several, signature="score")


def test_frozen_graph_without_ends(frozen: Path) -> None:
    refused(r"add --inputs \(of picture\) and --outputs \(of Identity\)", frozen)
    refused("no operation 'pictures'. Did you mean 'picture'", frozen, inputs=["pictures"], outputs=["Identity"])
    refused("no operation 'Identify'. Did you mean 'Identity'", frozen, inputs=["picture"], outputs=["Identify"])


def test_frozen_graph_of_a_broken_link(frozen: Path, tmp_path: Path) -> None:
    graph = tf.compat.v1.GraphDef.FromString(frozen.read_bytes())
    node = next(node for node in graph.node if node.op == "Conv2D")
    node.input[0] = "nowhere"
    (tmp_path / "net.pb").write_bytes(graph.SerializeToString())
    says = r"the graph is not valid: .*nowhere.*; export it again"
    refused(says, tmp_path / "net.pb", inputs=["picture"], outputs=["Identity"])


def test_custom_class(tmp_path: Path) -> None:
    class Unknown(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    keras.Sequential([keras.Input((4,)), Unknown()]).save(tmp_path / "model.keras")
    refused("needs the Python class 'Unknown', which is not in it; .* pass the model itself", tmp_path / "model.keras")


def test_lambda_needs_trust(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, L.Lambda(lambda x: x * 2.0, name="double")(L.Conv2D(2, 3, name="conv")(image)))
    networks.shaken(model).save(tmp_path / "model.keras")
    refused(r"holds Python code \(a Lambda layer\), which is not run; use --unsafe-pickle", tmp_path / "model.keras")
    proven(source(tmp_path / "model.keras", unsafe_pickle=True), tmp_path / "model.onnx")


def test_weights_only(tmp_path: Path) -> None:
    networks.depthwise().save_weights(tmp_path / "model.weights.h5")
    refused("holds weights only; build the model in Python", tmp_path / "model.weights.h5")


def test_operator_without_onnx(tmp_path: Path) -> None:
    class Odd(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, "x")])
        def __call__(self, x: Any) -> Any:
            return {"y": tf.math.lgamma(x)}

    module = Odd()
    tf.saved_model.save(module, tmp_path / "odd", signatures=module.__call__)
    with pytest.raises(ConversionError, match="tf2onnx cannot convert Lgamma"):
        source(tmp_path / "odd").export(tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    refused(r"TensorFlow .*pip install \"onnxcam\[tensorflow\]\"", Path("model.keras"))


def refused(message: str, path: Path, **settings: Any) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        source(path, **settings)
    assert "\n" not in str(caught.value)


class Rows(tf.Module):  # type: ignore[misc]
    """A detector that keeps the rows of NonMaxSuppression: they are no batch."""

    @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32, name="image")])  # type: ignore[untyped-decorator]
    def __call__(self, image: Any) -> Any:
        rows = tf.reshape(tf.nn.relu(tf.nn.conv2d(image, tf.fill((8, 8, 3, 5), 0.02), 8, "VALID")), [-1, 5])
        scores = tf.sigmoid(rows[:, 4] - 10.0)
        kept = tf.image.non_max_suppression(rows[:, :4], scores, 10, 0.5, 0.5)
        return {"rows": tf.gather(tf.concat([rows[:, :4], scores[:, None]], 1), kept), "mean": rows[:, 0]}


def test_kept_rows_are_no_batch_and_are_compared_where_there_are_some(tmp_path: Path) -> None:
    net = Rows()
    tf.saved_model.save(net, str(tmp_path / "saved"), signatures=net.__call__.get_concrete_function())
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numpy's, of means of nothing
        made = from_tensorflow(tmp_path / "saved", tmp_path / "net.onnx")
    shapes = {y.name: y.shape for y in load(made.path).graph.outputs}
    assert str(shapes["rows"][0]) == "rows_rows"
    assert str(shapes["mean"][0]) == "mean_rows"  # 4 for each image
    assert any("output 'rows' is empty on random inputs; it is compared on others" in text for text in made.warnings)
    assert all(row.feed == "random, times 255" for row in made.verification)
