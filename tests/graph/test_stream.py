"""Writing of models: byte by byte what protobuf writes, without the weights in the message."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam.graph import stream
from onnxcam.graph.io import load, save, to_bytes
from onnxcam.graph.weights import HEAVY, EmbeddedTensor
from onnxcam.testing import run

NETWORK = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 600] x, bool c) => (float[n, 3] y)
<float[3] b = {1, 2, 3}>
{
    m = MatMul(x, w) a = Add(m, b)
    y = If(c) <
        then_branch = t () => (float[n, 3] yes) <float[1, 600] u = {1.0}> { s = MatMul(x, w) yes = Add(s, a) },
        else_branch = f () => (float[n, 3] no) { no = Identity(a) }
    >
}
"""
ARRAYS = {
    "w": np.random.default_rng(0).standard_normal((600, 3)).astype(np.float32),
    "half": np.ones((600, 3), np.float16),
    "brain": np.ones((600, 3), ml_dtypes.bfloat16),
    "nibbles": (np.arange(3001) % 15 - 7).astype(ml_dtypes.int4),
    "flags": np.ones((30, 70), np.bool_),
    "text": np.asarray(["a word"] * 900, object),
}


def proto() -> onnx.ModelProto:
    """A model with weights of many types, one with a text, one in a branch."""
    model = onnx.parser.parse_model(NETWORK)
    weights = {name: onnx.numpy_helper.from_array(array, name) for name, array in ARRAYS.items()}
    weights["w"].doc_string = "the product's"
    model.graph.initializer.extend(weights.values())
    branch = model.graph.node[2].attribute[0].g
    branch.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((1, 600), np.float32), "u"))
    onnx.checker.check_model(model)
    return model


def in_memory(_: Path) -> ir.Model:
    return load(proto())


def in_the_file(folder: Path) -> ir.Model:
    onnx.save(proto(), folder / "m.onnx")
    return load(folder / "m.onnx")


def beside(folder: Path) -> ir.Model:
    onnx.save(proto(), folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=3000)
    return load(folder / "m.onnx")


@pytest.mark.parametrize("place", [in_memory, in_the_file, beside])
def test_the_file_is_that_of_protobuf(place: Any, tmp_path: Path) -> None:
    model = place(tmp_path)
    save(model, tmp_path / "out.onnx", inline=1 << 20)
    for value in (value for graph in model.graphs() for value in graph.initializers.values()):
        if isinstance(value.const_value, ir.ExternalTensor):
            read = value.const_value
            value.const_value = ir.Tensor(read.numpy(), read.dtype, shape=read.shape)
    assert (tmp_path / "out.onnx").read_bytes() == ir.to_proto(model).SerializeToString()
    written = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(written)
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 600)).astype(np.float32), "c": np.asarray(True)}
    np.testing.assert_array_equal(run(written, feeds)["y"], run(proto(), feeds)["y"])


def test_a_model_in_memory_becomes_the_bytes_of_protobuf() -> None:
    model = load(proto())
    assert to_bytes(model) == ir.to_proto(model).SerializeToString()
    given = proto()
    given.graph.initializer[1].metadata_props.add(key="k", value="v")
    (w,) = [w for w in onnx.ModelProto.FromString(to_bytes(load(given))).graph.initializer if w.metadata_props]
    assert [(entry.key, entry.value) for entry in w.metadata_props] == [("k", "v")]


def test_no_message_holds_a_large_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large is copied from file to file: never in a message, nor in an array."""
    model, messages = in_the_file(tmp_path), []
    large = stream.large(model, mapped=True)
    assert set(large) == {value for name, value in model.graph.initializers.items() if name not in ("b", "text")}
    assert all(isinstance(tensor, EmbeddedTensor) and tensor.nbytes > HEAVY for tensor in large.values())

    def seen(data: bytes, sizes: Any) -> Any:
        messages.append(data)
        return filled(data, sizes)

    def fail(*_: Any) -> Any:
        raise AssertionError("a weight was read")

    filled = stream.filled
    monkeypatch.setattr(stream, "filled", seen)
    monkeypatch.setattr(EmbeddedTensor, "numpy", fail)
    monkeypatch.setattr(EmbeddedTensor, "tobytes", fail)
    save(model, tmp_path / "out.onnx")
    (message,) = messages
    kept = onnx.ModelProto.FromString(message).graph.initializer
    assert sum(len(w.raw_data) for w in kept if w.name != "b") == 0
    assert (tmp_path / "out.onnx").stat().st_size > sum(tensor.nbytes for tensor in large.values())


def test_the_model_is_as_it_was(tmp_path: Path) -> None:
    model = in_the_file(tmp_path)
    before = {name: value.const_value for name, value in model.graph.initializers.items()}
    stream.write(model, io.BytesIO(), stream.large(model, mapped=True))
    assert {name: value.const_value for name, value in model.graph.initializers.items()} == before


ROWS = 1 << 18  # times 256 numbers of 4 bytes: 256 MiB
PEAK = """
import sys
from onnxcam.graph.io import load, save
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
model = load(sys.argv[1])
before = peak()
save(model, sys.argv[2], inline=1 << 30)
print(peak() - before)
"""


def test_weights_take_no_memory_while_they_are_written(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("peaks of memory are read from /proc")
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 18]> g (float[n, {ROWS}] x) => (float[n, 256] y) {{ y = MatMul(x, w) }}
    """)
    w = model.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT, dims=[ROWS, 256])
    w.data_location = onnx.TensorProto.EXTERNAL
    w.external_data.add(key="location", value="w.bin")
    onnx.save(model, tmp_path / "m.onnx")
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(ROWS * 1024)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "m.onnx"), str(tmp_path / "out.onnx")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (tmp_path / "out.onnx").stat().st_size > ROWS * 1024
    assert grown < 64_000  # kB; the weights are 262,144
