"""Models whose weights lie in a file beside them: they stay there, also where they are larger than a message may be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.errors import ModelError, OutputError
from onnxcam.graph.io import load, save, to_proto
from onnxcam.instrument import instrument
from onnxcam.testing import run
from tests.autodiff.cases import normal

NETWORK = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[n, 3, 8, 8] x) => (float[n, CLASSES] logits)
{ c = Conv<pads = [1, 1, 1, 1]>(x, k) a = Relu(c) f = Flatten(a) logits = Gemm(f, w) }
"""
KERNEL = normal(16, 3, 3, 3)


def network(classes: int = 5) -> onnx.ModelProto:
    model = onnx.parser.parse_model(NETWORK.replace("CLASSES", str(classes)))
    for name, weight in (("k", KERNEL), ("w", normal(1024, 5))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    return model


def external(folder: Path, name: str = "m.onnx", data: str = "weights.bin") -> Path:
    folder.mkdir(exist_ok=True)
    onnx.save(network(), folder / name, save_as_external_data=True, location=data, size_threshold=1024)
    return folder / name


def places(path: Path) -> dict[str, dict[str, str]]:
    proto = onnx.load(path, load_external_data=False)
    return {w.name: {e.key: e.value for e in w.external_data} for w in proto.graph.initializer if w.external_data}


def gradient(path: Path) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {"x": normal(1, 3, 8, 8), "onnxcam.class": np.asarray([2])}
    (found,) = session.run(["c.gradient"], feeds)
    return np.asarray(found)


def test_the_instrumented_twin_refers_to_the_same_file(tmp_path: Path) -> None:
    path = external(tmp_path)
    before = (tmp_path / "weights.bin").read_bytes()
    instrument(path, tmp_path / "twin.onnx", ["c"])
    assert places(tmp_path / "twin.onnx") == {
        name: {key: value for key, value in place.items() if key in ("location", "offset", "length")}
        for name, place in places(path).items()
    }
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "twin.onnx", "weights.bin"]
    assert (tmp_path / "weights.bin").read_bytes() == before
    onnx.save(network(), tmp_path / "whole.onnx")
    instrument(tmp_path / "whole.onnx", tmp_path / "whole twin.onnx", ["c"])
    assert places(tmp_path / "whole twin.onnx") == {}
    np.testing.assert_array_equal(gradient(tmp_path / "twin.onnx"), gradient(tmp_path / "whole twin.onnx"))


def test_a_folder_above_refers_to_the_same_file_too(tmp_path: Path) -> None:
    path = external(tmp_path / "below")
    instrument(path, tmp_path / "twin.onnx", ["c"])
    assert {place["location"] for place in places(tmp_path / "twin.onnx").values()} == {"below/weights.bin"}
    instrument(path, tmp_path / "below" / "twin.onnx", ["c"])
    np.testing.assert_array_equal(gradient(tmp_path / "twin.onnx"), gradient(tmp_path / "below" / "twin.onnx"))


def test_elsewhere_the_weights_are_copied_to_a_file_beside_the_twin(tmp_path: Path) -> None:
    path = external(tmp_path / "here")
    (tmp_path / "there").mkdir()
    instrument(path, tmp_path / "there" / "twin.onnx", ["c"])
    instrument(path, tmp_path / "here" / "twin.onnx", ["c"])
    expected = gradient(tmp_path / "here" / "twin.onnx")
    shutil.rmtree(tmp_path / "here")
    assert sorted(file.name for file in (tmp_path / "there").iterdir()) == ["twin.onnx", "twin.onnx.data"]
    assert all(int(place["offset"]) % 4096 == 0 for place in places(tmp_path / "there" / "twin.onnx").values())
    np.testing.assert_array_equal(gradient(tmp_path / "there" / "twin.onnx"), expected)


def test_a_file_is_never_replaced_by_its_twin(tmp_path: Path) -> None:
    path = external(tmp_path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"is read by this command, so it cannot be its output; choose another name"):
        instrument(path, path, ["c"], overwrite=True)
    assert path.read_bytes() == before
    instrument(path, tmp_path / "twin.onnx", ["c"])
    assert gradient(tmp_path / "twin.onnx").shape == (1, 16, 8, 8)


def test_a_failed_save_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(external(tmp_path / "here"))
    (tmp_path / "there").mkdir()

    def fail(_: Any, out: IO[bytes], __: Any) -> None:
        out.write(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onnxcam.graph.io.write", fail)
    with pytest.raises(OutputError, match="No space left"):
        save(model, tmp_path / "there" / "twin.onnx")
    assert list((tmp_path / "there").iterdir()) == []
    monkeypatch.undo()
    assert to_proto(model).graph.initializer[1].raw_data  # the model is as it was


def test_too_much_for_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of 10 kB in place of 2 GB: what is in memory goes to a file, or is refused by name."""
    path = external(tmp_path)
    for module in ("io", "weights"):
        monkeypatch.setattr(f"onnxcam.graph.{module}.LIMIT", 10_000)
    twin = vjp(path)
    assert {entry.value for w in twin.graph.initializer for entry in w.external_data if entry.key == "location"} == {
        "weights.bin"
    }
    onnx.save(twin, tmp_path / "vjp.onnx")
    results = run(load(tmp_path / "vjp.onnx"), feeds := {"x": normal(1, 3, 8, 8), "logits.cotangent": normal(1, 5)})
    save(load(network()), tmp_path / "spilt.onnx")
    assert set(places(tmp_path / "spilt.onnx")) == {"k", "w"}
    assert run(vjp_of(tmp_path / "spilt.onnx", tmp_path), feeds)["logits"].tolist() == results["logits"].tolist()
    for refused in (vjp, Explainer):
        with pytest.raises(ModelError, match=r"GB of weights, and a ModelProto takes no more than 2; save it with"):
            refused(network())  # type: ignore[operator]


def vjp_of(path: Path, folder: Path) -> Any:
    onnx.save(vjp(path), folder / "again.onnx")
    return load(folder / "again.onnx")


CLASSES = 540_000
LARGE = """
import sys
from onnxcam.instrument import instrument
instrument(sys.argv[1], sys.argv[2], ["c"], input_gradient=True)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""What `resource` calls the peak begins at that of the process that started this one."""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A model of 2.2 GB, whose file is but holes behind the first rows of w."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peaks of memory are read from /proc")
    if shutil.disk_usage(tmp_path).free < 3 << 30:
        pytest.skip("the disk has less than 3 GB of room")
    model = network(CLASSES)
    (w,) = [weight for weight in model.graph.initializer if weight.name == "w"]
    w.ClearField("raw_data")
    w.dims[:] = [1024, CLASSES]
    w.data_location = onnx.TensorProto.EXTERNAL
    w.external_data.add(key="location", value="w.bin")
    onnx.save(model, tmp_path / "m.onnx")
    with (tmp_path / "w.bin").open("wb") as file:
        file.write(normal(CLASSES).tobytes())
        file.truncate(4 * 1024 * CLASSES)
    return tmp_path / "m.onnx"


@pytest.mark.slow
def test_more_than_two_gigabytes_are_not_read(large: Path) -> None:
    twin = large.with_name("twin.onnx")
    command = [sys.executable, "-c", LARGE, str(large), str(twin)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peak < 600_000  # kB; the weights alone are 2.2 million
    assert large.with_name("w.bin").stat().st_size > 1 << 31
    assert twin.stat().st_size < 1 << 20
    assert places(twin)["w"]["location"] == "w.bin"
