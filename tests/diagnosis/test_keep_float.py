"""The lists of nodes to keep in float: what the quantisers themselves make of them, and their grammar."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxcam
from onnxcam.compare.validate import validate
from onnxcam.diagnosis.keep_float import FORMATS, KeepFloat, formats
from onnxcam.diagnosis.pairing import pair
from onnxcam.errors import OutputError
from onnxcam.graph.io import load
from onnxcam.media import image
from onnxcam.model.description import ModelDescription
from tests.compare.tasks import twins
from tests.quantisers import Calibration
from tests.runtime import new_runtime

SHAPES = Path(onnxcam.__file__).parent / "assets" / "shapes.onnx"
AROUND = {"node_relu_1", "node_Conv_98", "node_Conv_100"}
"""Nodes around the tensor relu_1."""


@dataclass(frozen=True)
class Hard:
    """A float model that cannot be quantised with one scale for a tensor, and images."""

    model: Path
    images: Path

    @property
    def feeds(self) -> list[dict[str, np.ndarray]]:
        """Return the inputs for each image."""
        network = ModelDescription(self.model, "auto", None, None)
        network.open()
        files = sorted(self.images.iterdir())
        looks = [network.look(network.preprocessing(image.read(file)), None, {}) for file in files]
        return [{name: np.asarray(array) for name, array in look.feeds.items()} for look in looks]


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Hard:
    """Return the network of shapes, two channels of relu_1 times 3000, and their weights behind it by 3000."""
    folder = tmp_path_factory.mktemp("hard")
    model = onnx.load(SHAPES)
    tensors = {one.name: one for one in model.graph.initializer}
    parts = {"layer1.0.weight": 3000, "layer1.0.weight_bias": 3000, "layer2.0.weight": 1 / 3000}
    for name, factor in parts.items():
        array = numpy_helper.to_array(tensors[name]).copy()
        array[(slice(None), [0, 5]) if factor < 1 else [0, 5]] *= np.float32(factor)
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, folder / "float.onnx")
    return Hard(folder / "float.onnx", twins.drawn(folder / "images", count=4))


def kept(model: Path, int8: Path, feeds: Mapping[str, np.ndarray], name: str, real: bool = True) -> KeepFloat:
    """Return the list for the activation *name*, without the float model unless *real*."""
    pairing = pair(int8, model if real else None, feeds)
    (tensor,) = [
        one.tensor
        for one in pairing.mixture.quantisers
        if one.kind == "activation" and name in (pairing.names.get(one.tensor), one.real)
    ]
    return KeepFloat.of([tensor], load(int8), pairing.mixture, pairing, model if real else None)


def quantisers(model: Path) -> dict[str, list[str]]:
    """Return the inputs of each node of *model* that are dequantised, by its name."""
    graph = onnx.load(model).graph
    rounded = {y for node in graph.node if node.op_type == "DequantizeLinear" for y in node.output}
    return {node.name: [x for x in node.input if x in rounded] for node in graph.node}


def prove(hard: Hard, folder: Path, quantise: Callable[[Path, KeepFloat | None], None]) -> None:
    """Check that *hard* fails as *quantise* writes it, and passes with the list, which keeps the nodes in float."""
    plain, listed = folder / "plain.onnx", folder / "listed.onnx"
    quantise(plain, None)
    assert not validate(hard.model, plain, hard.images).meets
    keep = kept(hard.model, plain, hard.feeds[0], "relu_1")
    assert set(keep.nodes) == AROUND
    quantise(listed, keep)
    found = quantisers(listed)
    assert found["node_Conv_100"] == []
    assert set(found["node_Conv_98"]) <= {x for x in found["node_Conv_98"] if "relu" in x}  # not its weights
    assert len(found["node_Conv_102"]) >= 2
    assert validate(hard.model, listed, hard.images).meets


def _card(source: Path, made: onnx.ModelProto, path: Path) -> None:
    """Write *made* with the metadata of *source*."""
    del made.metadata_props[:]
    made.metadata_props.extend(onnx.load(source).metadata_props)
    onnx.save(made, path)


@new_runtime
def test_onnx_runtime_keeps_the_nodes_in_float(hard: Hard, tmp_path: Path) -> None:
    def quantise(path: Path, keep: KeepFloat | None) -> None:
        listed = [] if keep is None else json.loads(keep.written("ort")[1])["nodes_to_exclude"]
        twins.quantised(hard.model, hard.images, path, nodes_to_exclude=listed)

    prove(hard, tmp_path, quantise)


@new_runtime
def test_onnx_runtime_for_qnn_keeps_the_nodes_in_float(hard: Hard, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime cannot quantise here")
    qnn = pytest.importorskip("onnxruntime.quantization.execution_providers.qnn")

    def quantise(path: Path, keep: KeepFloat | None) -> None:
        listed = None if keep is None else json.loads(keep.written("ort")[1])["nodes_to_exclude"]
        settings = qnn.get_qnn_qdq_config(str(hard.model), Calibration(hard.feeds), nodes_to_exclude=listed)
        quantization.quantize(str(hard.model), str(path), settings)
        _card(hard.model, onnx.load(path), path)

    prove(hard, tmp_path, quantise)


@new_runtime
@pytest.mark.filterwarnings("ignore")  # of the tool
def test_nncf_keeps_the_nodes_in_float(hard: Hard, tmp_path: Path) -> None:
    nncf = pytest.importorskip("nncf", reason="NNCF is not installed")

    def quantise(path: Path, keep: KeepFloat | None) -> None:
        scope: dict[str, Any] = {}
        if keep is not None:
            exec(keep.written("nncf")[1], scope)
        options = {} if keep is None else {"ignored_scope": scope["ignored_scope"]}
        _card(hard.model, nncf.quantize(onnx.load(hard.model), nncf.Dataset(hard.feeds), **options), path)

    prove(hard, tmp_path, quantise)


@new_runtime
@pytest.mark.filterwarnings("ignore")  # of the tool
def test_aimet_keeps_the_nodes_in_float(hard: Hard, tmp_path: Path) -> None:
    aimet = pytest.importorskip("aimet_onnx.quantsim", reason="AIMET-ONNX is not installed")

    def quantise(path: Path, keep: KeepFloat | None) -> None:
        simulation = aimet.QuantizationSimModel(onnx.load(hard.model))
        if keep is not None:
            encodings = json.loads(keep.written("aimet")[1])
            aimet.load_encodings_to_sim(simulation, encodings, strict=False, disable_missing_quantizers=False)
        simulation.compute_encodings(hard.feeds)
        _card(hard.model, simulation.to_onnx_qdq(), path)

    prove(hard, tmp_path, quantise)


@pytest.mark.filterwarnings("ignore")  # of the converters
def test_tflite_keeps_the_nodes_in_float(tmp_path: Path) -> None:
    """TFLite names operators by their tensors, which tf2onnx keeps in its form of the int8 file."""
    keras, tf = pytest.importorskip("keras"), pytest.importorskip("tensorflow")
    tf2onnx = pytest.importorskip("tf2onnx")
    keras.utils.set_random_seed(0)
    given, relu = keras.Input((8, 8, 3), batch_size=1), {"padding": "same", "activation": "relu"}
    layers = [keras.layers.Conv2D(8, 3, **relu) for _ in range(3)]
    x = layers[2](layers[1](layers[0](given)))
    network = keras.Model(given, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    for layer, where, factor in ((layers[0], (..., 0), 3000), (layers[1], (slice(None), slice(None), 0), 1 / 3000)):
        weights, bias = layer.get_weights()
        weights[where] *= factor
        layer.set_weights([weights, bias])
    images = [each.astype(np.float32) for each in np.random.default_rng(2).random((8, 1, 8, 8, 3))]

    def converter() -> Any:
        made = tf.lite.TFLiteConverter.from_keras_model(network)
        made.optimizations = [tf.lite.Optimize.DEFAULT]
        made.representative_dataset = lambda: ([x] for x in images)
        made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return made

    (tmp_path / "int8.tflite").write_bytes(converter().convert())
    (tmp_path / "float.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    for name in ("int8", "float"):
        path = str(tmp_path / name)
        tf2onnx.convert.from_tflite(f"{path}.tflite", opset=17, output_path=f"{path}.onnx")
    real, int8 = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    feeds = {load(int8).graph.inputs[0].name or "": images[0]}
    first = next(node.output[0] for node in onnx.load(real).graph.node if node.op_type == "Relu")
    for given_float in (True, False):
        first = first if given_float else next(one.real for one in pair(int8).mixture.quantisers[1:])
        keep = kept(real, int8, feeds, first, given_float)
        options = tf.lite.experimental.QuantizationDebugOptions(**_parsed(keep, "tflite", "denylisted_nodes"))
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter(), debug_dataset=lambda: ([x] for x in images[:1]), debug_options=options
        )
        made = debugger.get_nondebug_quantized_model()
        assert _error(tf, made, network, images) < 0.1 * _error(
            tf, (tmp_path / "int8.tflite").read_bytes(), network, images
        )


def _parsed(keep: KeepFloat, format: str, key: str) -> dict[str, Any]:
    return {key: json.loads(keep.written(format)[1])[key]}


def _error(tf: Any, model: bytes, network: Any, images: list[np.ndarray]) -> float:
    """Return the largest difference of the outputs of a TFLite *model* from those of the Keras *network*."""
    interpreter = tf.lite.Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    errors = []
    for x in images:
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        errors.append(np.abs(interpreter.get_tensor(made["index"]) - np.asarray(network(x))).max())
    return float(max(errors))


SMALL = KeepFloat(["conv", "a:0", "y"], ["c", "d", "y"], ["c"], ["w"], ["c_q"], {"y": "Relu_nncf_7"})


def layer_precisions(option: str) -> dict[str, str]:
    """Return the precision of each layer as trtexec reads it (samples/common/sampleOptions.cpp)."""
    pairs = [part.rpartition(":") for part in option.split(",")]
    return {name.replace("'", ""): precision for name, _, precision in pairs}


def test_trtexec_reads_the_layers() -> None:
    found = replace(SMALL, nodes=["conv", "a:0", "a b;c", "x,y", "it's", "y"])
    options = dict(word.partition("=")[::2] for word in shlex.split(found.written("tensorrt")[1]))
    assert set(options) == {"--int8", "--precisionConstraints", "--layerPrecisions", "--layerOutputTypes"}
    assert options["--precisionConstraints"] == "obey"
    expected = dict.fromkeys(["conv", "a:0", "a b;c", "node_of_y"], "fp32")  # no way to write a comma or a quote
    assert layer_precisions(options["--layerPrecisions"]) == expected
    assert layer_precisions(options["--layerOutputTypes"]) == expected


def test_encodings_have_the_form_of_version_0_6_1() -> None:
    for format in ("qnn", "aimet"):
        said = json.loads(SMALL.written(format)[1])
        assert said["version"] == "0.6.1"
        assert list(said["activation_encodings"]) == ["c", "d", "y"]
        assert said["param_encodings"] == {"w": [{"bitwidth": 16, "dtype": "float"}]}


def test_tflite_gets_the_names_of_both_files() -> None:
    assert _parsed(SMALL, "tflite", "denylisted_nodes")["denylisted_nodes"] == ["c_q", "c", "d", "y"]


def test_nodes_without_names() -> None:
    scope: dict[str, Any] = {}
    text = SMALL.written("nncf")[1].replace("import nncf", "")
    exec(text, {"nncf": SimpleNamespace(IgnoredScope=lambda names: names)}, scope)
    assert scope["ignored_scope"] == ["conv", "a:0", "Relu_nncf_7"]
    (warning,) = SMALL.warnings
    assert warning.startswith("1 node of the list has no name, so ONNX Runtime cannot exclude")
    assert "2 nodes of the list have no name" in replace(SMALL, unnamed={"y": "a", "z": "b"}).warnings[0]
    assert replace(SMALL, unnamed={}).warnings == []
    assert SMALL.as_dict()["unnamed"] == {"y": "Relu_nncf_7"}


@new_runtime
def test_a_list_of_a_model_whose_nodes_have_no_names(hard: Hard, tmp_path: Path) -> None:
    model = onnx.load(hard.model)
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, tmp_path / "float.onnx")
    int8 = twins.quantised(hard.model, hard.images, tmp_path / "int8.onnx")
    keep = kept(tmp_path / "float.onnx", int8, hard.feeds[0], "relu_1")
    assert keep.nodes == ["relu_1", "getitem_3", "getitem_6"]
    places = {node.output[0]: f"{node.op_type}_nncf_{at}" for at, node in enumerate(model.graph.node)}
    assert keep.unnamed == {name: places[name] for name in keep.nodes}


@new_runtime
def test_a_list_without_the_float_model_has_the_names_of_real_tensors(hard: Hard, tmp_path: Path) -> None:
    int8 = twins.quantised(hard.model, hard.images, tmp_path / "int8.onnx")
    keep = kept(hard.model, int8, hard.feeds[0], "relu_1", real=False)
    assert set(keep.nodes) == AROUND - {"node_relu_1"}
    assert keep.activations == ["relu_1"]
    assert not keep.unnamed


def test_formats_are_checked() -> None:
    assert formats("ort, nncf") == ["ort", "nncf"]
    with pytest.raises(OutputError, match=r"not 'orrt'\. Did you mean 'ort'"):
        formats("orrt")
    with pytest.raises(OutputError, match="--write is empty; it takes ort, nncf"):
        formats(" ,")
    assert len({name for name, _ in FORMATS.values()}) == len(FORMATS)
