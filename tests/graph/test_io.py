"""Opening and saving models: weights stay in their file, whatever the file looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.engine import Session
from onnxcam.errors import ModelError
from onnxcam.graph.io import load, save, to_proto
from onnxcam.graph.weights import weights_folder
from onnxcam.testing import run
from onnxcam.wire import WireError, light
from tests.networks import HAND_X, hand_model


def heavy_model(rows: int = 600) -> onnx.ModelProto:
    """``logits = ReLU(x) W`` with a W that is stored as raw bytes, and a b that is not."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, {rows}] x) => (float[n, 3] logits) <float[3] b = {{1, 2, 3}}>
    {{ a = Relu(x) m = MatMul(a, w) logits = Add(m, b) }}
    """)
    w = np.random.default_rng(0).standard_normal((rows, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    return model


def test_heavy_weights_stay_in_the_file(tmp_path: Path) -> None:
    path, proto = tmp_path / "m.onnx", heavy_model()
    onnx.save(proto, path)
    model = load(path)
    w, b = (model.graph.initializers[name].const_value for name in ("w", "b"))
    assert isinstance(w, ir.ExternalTensor)
    assert not isinstance(b, ir.ExternalTensor)
    np.testing.assert_array_equal(w.numpy(), onnx.numpy_helper.to_array(proto.graph.initializer[1]))
    (tmp_path / "second name.onnx").hardlink_to(path)  # as uv installs the files of a wheel
    np.testing.assert_array_equal(load(path).graph.initializers["w"].const_value.numpy(), w.numpy())
    assert weights_folder(model) == str(tmp_path.resolve())
    assert to_proto(model).graph.initializer[1].raw_data == proto.graph.initializer[1].raw_data


def test_a_link_leads_to_the_model_and_to_its_weights(tmp_path: Path) -> None:
    """Hugging Face keeps files by their hashes, and links with their names elsewhere."""
    blobs, names = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir(), names.mkdir()
    onnx.save(heavy_model(), blobs / "m.onnx", save_as_external_data=True, location="m.data")
    for name in ("m.onnx", "m.data"):
        (blobs / name).rename(blobs / name[::-1])
        (names / name).symlink_to(blobs / name[::-1])
    x = np.ones((1, 600), np.float32)
    actual = Session(load(names / "m.onnx"), "cpu").run({"x": x})["logits"]
    np.testing.assert_allclose(actual, run(heavy_model(), {"x": x})["logits"])


def test_results_do_not_depend_on_where_the_weights_are(tmp_path: Path) -> None:
    path, proto = tmp_path / "m.onnx", heavy_model()
    onnx.save(proto, path)
    x = np.random.default_rng(1).standard_normal((2, 600)).astype(np.float32)
    feeds = {"x": x, "logits.cotangent": np.ones((2, 3), np.float32)}
    inside, outside = run(vjp(proto), feeds), run(vjp(path), feeds)
    for name, value in inside.items():
        np.testing.assert_array_equal(value, outside[name])


def test_what_is_saved_stands_alone(tmp_path: Path) -> None:
    onnx.save(heavy_model(), tmp_path / "m.onnx")
    (tmp_path / "elsewhere").mkdir()
    save(load(tmp_path / "m.onnx"), tmp_path / "elsewhere" / "copy.onnx")
    (tmp_path / "m.onnx").unlink()
    x = np.ones((1, 600), np.float32)
    copy = onnx.load(tmp_path / "elsewhere" / "copy.onnx")
    np.testing.assert_array_equal(run(copy, {"x": x})["logits"], run(heavy_model(), {"x": x})["logits"])
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == ["copy.onnx"]


def test_the_light_form_loses_nothing_but_the_weights() -> None:
    proto = heavy_model()
    proto.doc_string, proto.producer_name = "a text", "a maker"
    proto.metadata_props.add(key="k", value="v" * 5000)
    data = proto.SerializeToString()
    lightened = onnx.ModelProto.FromString(light(data, "m.onnx", 1024))
    (w,) = [tensor for tensor in lightened.graph.initializer if tensor.name == "w"]
    where = {entry.key: entry.value for entry in w.external_data}
    offset, length = int(where["offset"]), int(where["length"])
    assert where["location"] == "m.onnx"
    assert data[offset : offset + length] == proto.graph.initializer[1].raw_data
    w.ClearField("external_data")
    w.ClearField("data_location")
    w.raw_data = data[offset : offset + length]
    assert lightened == proto


@pytest.mark.parametrize("heavy", [0, 1, 1 << 30])
def test_the_light_form_of_any_threshold_is_a_model(heavy: int) -> None:
    lightened = onnx.ModelProto.FromString(light(hand_model().SerializeToString(), "m.onnx", heavy))
    assert [node.op_type for node in lightened.graph.node] == [node.op_type for node in hand_model().graph.node]


def test_truncation_anywhere_is_noticed() -> None:
    data = heavy_model(100).SerializeToString()
    for end in [*range(1, 60), *range(60, len(data), 37)]:
        try:
            proto = onnx.ModelProto.FromString(light(data[:end], "m.onnx", 64))
        except WireError:
            continue
        assert not proto.HasField("graph") or not proto.opset_import  # cut between two fields: load says so


@pytest.mark.parametrize("junk", [b"\x00", b"\x07\x07", b"\xff" * 40, b"\x0b", b"hello world, this is no model"])
def test_junk_is_no_model(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "junk.onnx"
    path.write_bytes(junk)
    with pytest.raises(ModelError, match="is no ONNX model"):
        load(path)
    with pytest.raises(ModelError, match="is no ONNX model"):
        load(junk)


def test_a_folder_and_a_proto_with_external_data(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder, not a model; name a file in it"):
        load(tmp_path)
    onnx.save(heavy_model(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=100)
    with pytest.raises(ModelError, match="give the path of the model instead"):
        load(onnx.load(tmp_path / "m.onnx", load_external_data=False))
    assert load(tmp_path / "m.onnx").graph.initializers["w"].const_value is not None


def test_nothing_of_the_source_is_changed() -> None:
    proto = hand_model()
    model = ir.serde.deserialize_model(proto)
    nodes = [(node.op_type, node.name, [x.name for x in node.inputs]) for node in model.graph]
    Explainer(model).attribute(HAND_X)
    vjp(model)
    assert nodes == [(node.op_type, node.name, [x.name for x in node.inputs]) for node in model.graph]
    assert len(model.graph.inputs) == 1
    assert proto == hand_model()


def test_outputs_without_a_declared_shape() -> None:
    proto = hand_model()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    assert Explainer(proto).attribute(HAND_X).shape == (1, 2, 2)
