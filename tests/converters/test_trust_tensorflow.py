"""Files of Keras and TensorFlow that could run code or touch files: refused before they are read, nothing is run."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxcam.converters import from_file
from tests.command import Ran
from tests.converters import keras_networks as networks
from tests.converters.keras_networks import L, keras, tf
from tests.converters.untrusted import refused, untrusted

from onnxcam_converters.quiet import without_native_stderr  # isort: skip
from onnxcam_converters.code_scan_tensorflow import is_unsafe_operation  # isort: skip

h5py = pytest.importorskip("h5py")
TRACE = "trace.txt"
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*You are saving your model as an HDF5 file"),
]


@pytest.fixture(autouse=True)
def _no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    Path("secret.txt").write_text("not for you", encoding="utf-8")
    yield
    assert not (tmp_path / TRACE).exists()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of a .keras file."""
    path = tmp_path_factory.mktemp("keras") / "net.keras"
    layers = [keras.Input((8, 8, 3)), L.Conv2D(2, 3, name="conv", activation="relu"), L.Flatten(name="flat")]
    networks.shaken(keras.Sequential(layers, name="net")).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(members: dict[str, bytes], change: Callable[[Any], None] | None = None) -> str:
    config = json.loads(members["config.json"])
    if change is not None:
        change(config)
    with zipfile.ZipFile("net.keras", "w") as archive:
        for name, content in {**members, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, content)
    return "net.keras"


def layer(**words: Any) -> Callable[[Any], None]:
    """Put *words* into the configuration of the convolution."""
    return lambda config: config["config"]["layers"][1].update(words)


def setting(**words: Any) -> Callable[[Any], None]:
    return lambda config: config["config"]["layers"][1]["config"].update(words)


def function(module: str, name: str) -> Any:
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def test_a_network_that_is_one_is_read(network: dict[str, bytes]) -> None:
    from_file(written(network), "net.onnx")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (layer(class_name="Lambda", module="keras.layers"), "Python code (a Lambda layer)"),
        (setting(activation={"class_name": "__lambda__", "config": {"value": "4wEA"}}), "Python code (a Lambda layer)"),
        (layer(class_name="TorchModuleWrapper"), "a pickled PyTorch module"),
        (layer(class_name="TFSMLayer"), "the path of a SavedModel"),
        (setting(vocabulary="secret.txt"), "the path of a vocabulary, 'secret.txt'"),
    ],
)
def test_code_in_keras(change: Callable[[Any], None], says: str, network: dict[str, bytes]) -> None:
    untrusted(written(network, change), says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (layer(module="os", class_name="system", registered_name="x"), "needs the Python class 'system'"),
        (layer(module="keras.utils", class_name="get_file", registered_name=None), "the Python class 'get_file'"),
        (layer(module="keras.src.utils.file_utils", class_name="x", registered_name=None), "the Python class 'x'"),
        (setting(activation=function("builtins", "exec")), "needs the Python function 'exec'"),
        (setting(activation=function("keras.utils", "get_file")), "needs the Python function 'get_file'"),
        (setting(activation=function("os", "system")), "needs the Python function 'system'"),
    ],
)
def test_python_of_elsewhere(change: Callable[[Any], None], says: str, network: dict[str, bytes]) -> None:
    refused(written(network, change), says, "which is not in it", "pass the model itself")


def test_a_class_that_is_registered_is_used() -> None:
    @keras.saving.register_keras_serializable("onnxcam_tests")
    class Doubled(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2.0

    keras.Sequential([keras.Input((8, 8, 3)), Doubled(), L.Flatten()]).save("own.keras")
    from_file("own.keras", "net.onnx")


def test_lambda_in_h5() -> None:
    keras.Sequential([keras.Input((4,)), L.Lambda(lambda x: x * 2.0)]).save("net.h5")
    untrusted("net.h5", "Python code (a Lambda layer), which is not run")


def linked(how: str) -> bytes:
    """Return an HDF5 file that shows what is in another one."""
    with h5py.File("other.h5", "w") as other:
        other["secret"] = [1.0]
    buffer = io.BytesIO()
    with h5py.File(buffer if how != "external" else "external.h5", "w") as file:
        group = file.create_group("layers")
        if how == "link":
            group["x"] = h5py.ExternalLink("other.h5", "/secret")
        elif how == "virtual":
            layout = h5py.VirtualLayout((1,), "f8")
            layout[:] = h5py.VirtualSource("other.h5", "secret", (1,))
            group.create_virtual_dataset("x", layout)
        else:
            group.create_dataset("x", (1,), "f8", external=[("secret.txt", 0, 8)])
    return buffer.getvalue() or Path("external.h5").read_bytes()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("link", "a link to another file, 'other.h5' (/layers/x)"),
        ("virtual", "numbers of another file, 'other.h5' (/layers/x)"),
        ("external", "numbers of another file, 'secret.txt' (/layers/x)"),
    ],
)
def test_links_to_other_files(how: str, says: str, network: dict[str, bytes]) -> None:
    content = linked(how)
    untrusted(written({**network, "model.weights.h5": content}), says)
    Path("net.h5").write_bytes(content)
    untrusted("net.h5", says)


def test_numbers_that_fill_the_memory() -> None:
    with h5py.File("net.h5", "w") as file:
        file.create_dataset("x", (1 << 40,), "f8", chunks=(1024,))
    refused("net.h5", "'net.h5' claims to unpack to 8,192.0 GiB, more than any model")


def writes(x: Any) -> Any:
    tf.io.write_file(TRACE, "x")
    return {"y": x * 2.0}


def asks_python(x: Any) -> Any:
    return {"y": tf.ensure_shape(tf.py_function(lambda x: x, [x], tf.float32), (1, 4))}


def reads_within(x: Any) -> Any:
    read = tf.function(lambda: tf.cast(tf.strings.length(tf.io.read_file("secret.txt")), tf.float32))
    return {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: x * read())}


def traced(body: Callable[[Any], Any]) -> Any:
    return tf.function(body, input_signature=[tf.TensorSpec((1, 4), tf.float32, "x")], autograph=False)


def saved(body: Callable[[Any], Any]) -> str:
    module = tf.Module()
    module.f = traced(body)
    tf.saved_model.save(module, "saved", signatures=module.f)
    return "saved"


@pytest.mark.parametrize(
    ("body", "operation"), [(writes, "WriteFile"), (asks_python, "EagerPyFunc"), (reads_within, "ReadFile")]
)
def test_operations(body: Any, operation: str) -> None:
    untrusted(saved(body), f"the operation {operation} (node '", "which could run code or touch files")
    graph = traced(body).get_concrete_function().graph
    Path("net.pb").write_bytes(graph.as_graph_def().SerializeToString())
    untrusted("net.pb", f"the operation {operation} (node '", inputs=["x"], outputs=["Identity"])


def test_operations_of_tensorflow_1() -> None:
    v1 = tf.compat.v1
    for writes in (False, True):
        with v1.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, (1, 4), "x")
            weight = v1.get_variable("w", (4,), tf.float32)
            session.run(v1.global_variables_initializer())
            with v1.control_dependencies([tf.io.write_file(TRACE, "x")] if writes else []):
                y = tf.identity(x * weight, "y")
            v1.saved_model.simple_save(session, f"saved{writes}", {"x": x}, {"y": y})
    from_file("savedFalse", "read.onnx")
    untrusted("savedTrue", "the operation WriteFile (node 'WriteFile')")


def test_assets_of_elsewhere() -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved(lambda x: {"y": x})
    found = SavedModel.FromString(Path("saved/saved_model.pb").read_bytes())
    found.meta_graphs[0].asset_file_def.add(filename="../../secret.txt")
    Path("saved/saved_model.pb").write_bytes(found.SerializeToString())
    untrusted("saved", "the path of another file, '../../secret.txt'")


def test_operations_in_tflite() -> None:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced(writes).get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    Path("net.tflite").write_bytes(converter.convert())
    untrusted("net.tflite", "the operation FlexWriteFile")


@pytest.mark.parametrize(
    ("names", "reaching"),
    [
        ("ReadFile WriteFile PyFunc EagerPyFunc SaveV2 RestoreV2 MatchingFiles DebugIdentityV2 DumpTensor", True),
        ("TFRecordDatasetV2 TextLineReader SqlDataset CacheDataset RemoteCall WriteImageSummary Abort", True),
        ("Conv2D MatMul FusedBatchNormV3 StatefulPartitionedCall Snapshot Placeholder Print ImageSummary", False),
        ("ResizeBilinear CropAndResize NonMaxSuppressionV5 HashTableV2 DecodeJpeg Identity Reshape", False),
    ],
)
def test_names(names: str, reaching: bool) -> None:
    assert {name: is_unsafe_operation(name) for name in names.split()} == dict.fromkeys(names.split(), reaching)


def test_the_command_line_refuses(onnxcam: Callable[..., Ran], network: dict[str, bytes]) -> None:
    written(network, layer(class_name="Lambda"))
    ran = onnxcam("export", "net.keras", "-o", "net.onnx")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "error: 'net.keras' holds Python code (a Lambda layer), which is not run; "
        "use --unsafe-pickle if you trust its author"
    ]


def test_one_line_and_none_of_tensorflows(network: dict[str, bytes]) -> None:
    """In a process of its own: TensorFlow's compiled code writes its log as it is imported."""
    content = Path(written(network)).read_bytes()
    at = content.index(network["model.weights.h5"]) + 1000
    Path("net.keras").write_bytes(content[:at] + b"????????" + content[at + 8 :])
    code = "from onnxcam.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "export", "net.keras", "-o", "net.onnx"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "error: 'net.keras' cannot be loaded: Bad CRC-32 for file 'model.weights.h5'\n"


def test_python_may_speak_while_the_rest_is_muted(capfd: pytest.CaptureFixture[str]) -> None:
    with without_native_stderr(), without_native_stderr():
        os.write(2, b"a log")
        print("a word", file=sys.stderr)
    os.write(2, b"after")
    assert capfd.readouterr().err in ("a word\nafter", "aftera word\n")
