"""Bad input ends with one line that says what, where and what to do, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from onnxcam.media import image
from tests.command import Ran
from tests.networks import classifier, hand_model, saved

Run = Callable[..., Ran]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A classifier of images that works."""
    return saved(tmp_path / "model.onnx", classifier())


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    image.write(path, np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    return path


def refused(run: Run, tmp_path: Path, *words: object, says: list[str]) -> None:
    """Assert that ``onnxcam words`` is refused with one line that holds each of *says*, and that nothing is left."""
    before = sorted(tmp_path.rglob("*"))
    ran = run(*words)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1, ran.err
    for words_ in says:
        assert words_ in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_good_run_for_comparison(onnxcam: Run, model: Path, picture: Path) -> None:
    ran = onnxcam("explain", model, picture, "--target", 0, "-p", "unit,resize=8x8", "-o", "out")
    assert ran.code == 0, ran.err
    assert {path.name for path in Path("out").iterdir()} == {
        "manifest.json",
        "picture-0-gradcam-raw.npy",
        "picture-0-gradcam-overlay.jpg",
    }


def test_no_such_model(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    refused(onnxcam, tmp_path, "explain", "none.onnx", picture, says=["none.onnx: no such file; check the name"])


def test_not_onnx(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    refused(onnxcam, tmp_path, "explain", picture, picture, says=["is no ONNX model", "download or export it again"])


def test_text_that_parses_as_an_empty_protobuf(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    refused(onnxcam, tmp_path, "explain", "empty.onnx", picture, says=["'empty.onnx' is no ONNX model"])


def test_truncated(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    (tmp_path / "half.onnx").write_bytes(model.read_bytes()[:-20])
    says = ["'half.onnx' is no ONNX model, truncated, or nested too deep"]
    refused(onnxcam, tmp_path, "explain", "half.onnx", picture, says=says)


def test_ort_format(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    (tmp_path / "m.ort").write_bytes(b"\0ORTM")
    refused(onnxcam, tmp_path, "explain", "m.ort", picture, says=["flatbuffer", "give the .onnx file"])


def with_external(path: Path, location: str, write: bytes | None) -> Path:
    proto = classifier()
    w = proto.graph.initializer[0]
    data = w.raw_data or onnx.numpy_helper.to_array(w).tobytes()
    for field in ("raw_data", "float_data"):
        w.ClearField(field)
    w.data_location = onnx.TensorProto.EXTERNAL
    w.external_data.add(key="location", value=location)
    if write is not None:
        (path.parent / location).write_bytes(data[: len(write)] if write else data)
    return saved(path, proto)


@pytest.mark.parametrize("heavy", [0, 1 << 20])
def test_external_data(
    onnxcam: Run, tmp_path: Path, picture: Path, heavy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxcam.graph.io.HEAVY", heavy)  # whether these small weights stay in their file or are read
    with_external(tmp_path / "e.onnx", "weights.bin", b"")
    assert onnxcam("explain", "e.onnx", picture, "-p", "unit,resize=8x8").code == 0
    assert onnxcam("instrument", "e.onnx", "-o", tmp_path / "elsewhere.onnx").code == 0


def test_external_data_missing(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    with_external(tmp_path / "e.onnx", "weights.bin", None)
    says = ["keeps its weights in 'weights.bin', which is missing", "put that file beside the model"]
    refused(onnxcam, tmp_path, "explain", "e.onnx", picture, says=says)


def test_external_data_truncated(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    with_external(tmp_path / "e.onnx", "weights.bin", b"four")
    refused(onnxcam, tmp_path, "explain", "e.onnx", picture, says=["'weights.bin'", "is truncated"])


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname"])
def test_external_data_outside_the_models_folder(onnxcam: Run, tmp_path: Path, picture: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(1000))
    with_external(folder / "e.onnx", location, None)
    refused(onnxcam, tmp_path, "explain", folder / "e.onnx", picture, says=[location, "outside the model's folder"])


def test_cyclic(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    proto = classifier()
    proto.graph.node[0].input[0] = "a"
    saved(tmp_path / "c.onnx", proto)
    refused(onnxcam, tmp_path, "explain", "c.onnx", picture, says=["is no valid ONNX model", "its nodes form a cycle"])


def test_invalid(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    proto = classifier()
    proto.graph.node[1].op_type = "NoSuchOperator"
    saved(tmp_path / "i.onnx", proto)
    refused(onnxcam, tmp_path, "explain", "i.onnx", picture, says=["is no valid ONNX model", "NoSuchOperator"])


def test_not_a_picture(onnxcam: Run, tmp_path: Path, model: Path) -> None:
    (tmp_path / "p.png").write_text("no image")
    refused(onnxcam, tmp_path, "explain", model, "p.png", says=["p.png"])


def test_one_bad_picture_among_good_ones(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    words = ("explain", model, picture, "none.png", "-p", "unit,resize=8x8")
    refused(onnxcam, tmp_path, *words, says=["none.png"])


def test_a_bomb(onnxcam: Run, tmp_path: Path, model: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeezer = zlib.compressobj(9)
    rows = b"".join(squeezer.compress(bytes(3751)) for _ in range(30_000)) + squeezer.flush()
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    refused(onnxcam, tmp_path, "explain", model, "bomb.png", says=["bomb.png", "pixels"])


def test_class_out_of_range(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    says = ["class 7 is out of range: the model has 2 classes, 0 to 1"]
    refused(onnxcam, tmp_path, "explain", model, picture, "-t", 7, "-p", "unit,resize=8x8", says=says)


def test_unknown_label(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    (tmp_path / "names.txt").write_text("tabby cat\nsports car\n")
    words = ("explain", model, picture, "-t", "taby cat", "--labels", "names.txt", "-p", "unit,resize=8x8")
    refused(onnxcam, tmp_path, *words, says=["taby cat", "'tabby cat'"])


def test_label_without_labels(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    words = ("explain", model, picture, "-t", "cat", "-p", "unit,resize=8x8")
    refused(onnxcam, tmp_path, *words, says=["labels are not known", "--labels FILE"])


def test_unknown_layer(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    says = ["the model has no layer 'logit'", "Did you mean 'logits'", "inspect MODEL --layers all"]
    refused(onnxcam, tmp_path, "explain", model, picture, "-l", "logit", says=says)


def test_unknown_method(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    refused(onnxcam, tmp_path, "explain", model, picture, "-m", "gradcan", says=["Did you mean 'gradcam'"])


def test_unknown_provider(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    refused(onnxcam, tmp_path, "explain", model, picture, "--provider", "npu", says=["no execution provider 'npu'"])


def test_cuda_where_there_is_none(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    says = ["'cuda'", "pip install onnxruntime-gpu in place of onnxruntime.\n"]
    refused(onnxcam, tmp_path, "explain", model, picture, "--provider", "cuda", says=says)


def test_wrong_number_of_channels(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    saved(tmp_path / "seven.onnx", classifier(7))
    refused(onnxcam, tmp_path, "explain", "seven.onnx", picture, says=["7"])


def test_no_spatial_layer(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    proto = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    flat (float[n, 1, 1, 2] x) => (float[n, 2] logits) { f = Flatten(x) logits = Relu(f) }
    """)
    saved(tmp_path / "flat.onnx", proto)
    refused(onnxcam, tmp_path, "explain", "flat.onnx", picture, says=["no activation with spatial extent", "gradient"])


def test_several_inputs(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    proto = classifier(3, ", float[n] question")
    proto.graph.node.append(onnx.helper.make_node("Identity", ["question"], ["echo"]))  # an unused input needs no value
    proto.graph.output.append(onnx.helper.make_tensor_value_info("echo", onnx.TensorProto.FLOAT, ["n"]))
    saved(tmp_path / "two.onnx", proto)
    refused(onnxcam, tmp_path, "explain", "two.onnx", picture, says=["2 inputs", "'question'"])


def test_nan_in_the_weights(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    proto = classifier()
    proto.graph.initializer[1].float_data[0] = float("nan")
    saved(tmp_path / "nan.onnx", proto)
    words = ("explain", "nan.onnx", picture, "-p", "unit,resize=8x8")
    refused(onnxcam, tmp_path, *words, says=["weights hold NaN or infinity: initializer 'v'"])


def test_no_class_scores(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    proto = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    same (float[n, 3, 8, 8] x) => (float[n, 3, 8, 8, 8] z) <int64[1] a = {2}, int64[5] r = {1, 1, 8, 1, 1}> {
        y = Relu(x)
        u = Unsqueeze(y, a)
        z = Tile(u, r)
    }
    """)
    saved(tmp_path / "s.onnx", proto)
    says = ["no output of the model is a vector of class scores"]
    refused(onnxcam, tmp_path, "explain", "s.onnx", picture, says=says)


def changed(nodes: str, inputs: str = "float[1, 3, 8, 8] x", outputs: str = "float[1, 2] y") -> onnx.ModelProto:
    """Return a model of *nodes*, with the weights of a classifier."""
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 1]>
    net ({inputs}) => ({outputs}) <float[2, 3, 1, 1] w = {{1, 2, 3, 4, 5, 6}}, int64 z = {{0}}> {{ {nodes} }}
    """)


HEAD = "c = Conv(x, w) r = Relu(c) p = GlobalAveragePool(r)"


@pytest.mark.parametrize(
    ("declared", "first", "what"),
    [
        ("seq(float[1, 3, 8, 8]) s", "x = SequenceAt(s, z)", "a sequence"),
        ("string[1, 3, 8, 8] s", "x = Cast<to = 1>(s)", "a tensor of strings"),
    ],
)
def test_input_that_is_no_tensor_of_numbers(
    onnxcam: Run, tmp_path: Path, picture: Path, declared: str, first: str, what: str
) -> None:
    saved(tmp_path / "s.onnx", changed(f"{first} {HEAD} y = Flatten(p)", declared))
    says = [f"the model's input 's' is {what}, no image", "cut off what comes before it"]
    refused(onnxcam, tmp_path, "explain", "s.onnx", picture, says=says)


@pytest.mark.parametrize(
    ("declared", "last", "what"),
    [
        ("seq(float[1, 1]) q", "[list] q = SplitToSequence<axis = 1>(y)", "a sequence (node 'list', SplitToSequence)"),
        ("string[1, 2] q", "[spell] q = Cast<to = 8>(y)", "a tensor of strings (node 'spell', Cast)"),
    ],
)
def test_output_that_is_no_tensor_of_numbers(
    onnxcam: Run, tmp_path: Path, picture: Path, declared: str, last: str, what: str
) -> None:
    nodes = f"{HEAD} y = Flatten(p) {last}"
    saved(tmp_path / "q.onnx", changed(nodes, outputs=declared))
    says = ["no output of the model is a vector of class scores", f"'q' {what}"]
    refused(onnxcam, tmp_path, "explain", "q.onnx", picture, says=says)
    saved(tmp_path / "q.onnx", changed(nodes, outputs=f"{declared}, float[1, 2] y"))
    assert onnxcam("explain", "q.onnx", picture, "-p", "unit,resize=8x8", "-o", "out").code == 0


def test_layer_that_is_no_tensor_of_numbers(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    nodes = (
        "c = Conv(x, w) [list] s = SequenceConstruct(c, c) d = SequenceAt(s, z) p = GlobalAveragePool(d) y = Flatten(p)"
    )
    saved(tmp_path / "l.onnx", changed(nodes))
    says = ["layer 's' is a sequence (node 'list', SequenceConstruct)", "`onnxcam inspect` lists"]
    refused(onnxcam, tmp_path, "explain", "l.onnx", picture, "-l", "s", says=says)
    ran = onnxcam("explain", "l.onnx", picture, "-p", "unit,resize=8x8", "-o", "out")
    assert ran.code == 0, ran.err


def test_output_that_is_a_sequence_of_maps(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    proto = changed(f"{HEAD} y = Flatten(p) [zip] q = ai.onnx.ml.ZipMap<classlabels_int64s = [0, 1]>(y)")
    number = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    maps = onnx.helper.make_sequence_type_proto(onnx.helper.make_map_type_proto(onnx.TensorProto.INT64, number))
    proto.graph.output[0].CopyFrom(onnx.helper.make_value_info("q", maps))
    saved(tmp_path / "m.onnx", proto)
    ran = onnxcam("explain", "m.onnx", picture, "-p", "unit,resize=8x8", "-o", "out")
    assert ran.code == 0, ran.err
    proto.graph.node[-1].op_type = "Zip"
    proto.graph.node[-1].domain = "my.ops"
    proto.opset_import.add(domain="my.ops", version=1)
    saved(tmp_path / "m.onnx", proto)
    says = ["output 'q' of 'm.onnx' is a sequence of maps (node 'zip', Zip)", "input 'y' the output in its place"]
    refused(onnxcam, tmp_path, "explain", "m.onnx", picture, says=says)


def test_an_operator_without_a_rule(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    proto = classifier()
    proto.opset_import.add(domain="my.ops", version=1)
    proto.graph.node[3].op_type, proto.graph.node[3].domain, proto.graph.node[3].name = "Crumple", "my.ops", "odd"
    proto.graph.value_info.add().CopyFrom(onnx.helper.make_tensor_value_info("f", 1, ["n", 2]))
    saved(tmp_path / "o.onnx", proto)
    says = ["operator my.ops::Crumple (opset 1)", "node 'odd'", "from 'p' to 'f'", "docs/add-a-rule.md"]
    refused(onnxcam, tmp_path, "explain", "o.onnx", picture, "-l", "a", says=says)


BROKEN = {
    "a random operator": ("[odd] r = RandomNormalLike(c)", ["node 'odd' (RandomNormalLike) passes no gradient"]),
    "a batch normalization in training mode": (
        "[odd] r, m, v = BatchNormalization<training_mode = 1>(c, one, zero, zero, one)",
        ["node 'odd' (BatchNormalization) is in training mode"],
    ),
    "a dropout in training mode": ("[odd] r = Dropout(c, half, yes)", ["node 'odd' (Dropout) is in training mode"]),
    "rounding": ("[odd] r = Round(c)", ["node 'odd' (Round) passes no gradient", "choose a tensor behind it"]),
    "a cast to integers": (
        "[odd] i = Cast<to = 6>(c) r = Cast<to = 1>(i)",
        ["node 'odd' (Cast) passes no gradient", "choose a tensor behind it"],
    ),
    "a quantised tensor without a scale": (
        "q = Cast<to = 2>(c) [odd] r = DequantizeLinear(q)",
        ["(odd)", "input size 1"],
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_the_gradient_is_named(onnxcam: Run, tmp_path: Path, picture: Path, what: str) -> None:
    nodes, says = BROKEN[what]
    proto = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[n, 3, 8, 8] x) => (float[n, 3] logits)
    <float[3] one = {{1, 1, 1}}, float[3] zero = {{0, 0, 0}}, float half = {{0.5}}, bool yes = {{1}}>
    {{ c = Relu(x) {nodes} p = GlobalAveragePool(r) logits = Flatten(p) }}
    """)
    saved(tmp_path / "b.onnx", proto)
    refused(onnxcam, tmp_path, "explain", "b.onnx", picture, "-l", "c", "-p", "unit,resize=8x8", says=says)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_that_cannot_be_written(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    words = ("explain", model, picture, "-o", "locked", "-p", "unit,resize=8x8")
    refused(onnxcam, tmp_path, *words, says=["cannot write into output folder 'locked'", "-o"])


def test_output_folder_that_is_a_file(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    words = ("explain", model, picture, "-o", picture, "-p", "unit,resize=8x8")
    refused(onnxcam, tmp_path, *words, says=["cannot write into output folder", "-o"])


def test_usage(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    refused(onnxcam, tmp_path, "explain", model, says=["onnxcam --help"])
    refused(onnxcam, tmp_path, "explain", model, picture, "--top", 2, "-t", 1, says=["exclude each other"])


def test_hand_model_explains_itself_without_a_word(onnxcam: Run, tmp_path: Path) -> None:
    saved(tmp_path / "hand.onnx", hand_model())
    assert onnxcam("inspect", "hand.onnx").code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-p", "resize=99999"), "preprocess resize is 99999; a side is 1 to 16384 pixels"),
        (("-p", "mean=1e999"), "preprocess mean is inf; numbers are at most 1e+09"),
        (("-m", "rise", "--set", "samples=" + "9" * 20), "the setting samples of rise is a whole number from 1 to"),
        (("-m", "rise", "--set", "cells=100000"), "the setting cells of rise is a whole number from 1 to 256"),
        (("-m", "occlusion", "--set", "baseline=1e999"), "the setting baseline of occlusion is a number from -1e+09"),
        (("--target", "a" * 100000), "the target has 100000 characters; give at most 4096"),
        (("--labels", "pipe"), "pipe: is a pipe, not a file of labels; give a file"),
        (("--labels", "x" * 300), "cannot be read (File name too long); check the name"),
    ],
)
def test_values_out_of_bounds(
    onnxcam: Run, tmp_path: Path, model: Path, picture: Path, words: tuple[str, ...], says: str
) -> None:
    os.mkfifo("pipe")
    refused(onnxcam, tmp_path, "explain", model, picture, "-o", "out", *words, says=[says])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pipe", "pipe: is a pipe, not an image or list; give a file"),
        ("/dev/zero", "/dev/zero: is a device, not an image or list; give a file"),
        ("x" * 5000, "no such file or folder; check the name"),
        ("@self.txt", "self.txt: the list names itself, or a list that names it; take that line out"),
        ("@nul.txt", "nul.txt: is no list of images, which is text with a file name a line"),
        ("@long.txt", "cannot be read (File name too long); check the name"),
    ],
)
def test_names_of_no_pictures(onnxcam: Run, tmp_path: Path, model: Path, name: str, says: str) -> None:
    os.mkfifo("pipe")
    Path("self.txt").write_text("@self.txt\n", encoding="utf-8")
    Path("nul.txt").write_text("a\0b.png\n", encoding="utf-8")
    Path("long.txt").write_text("x" * 5000, encoding="utf-8")
    refused(onnxcam, tmp_path, "explain", model, name, "-p", "unit,resize=8x8", "-o", "out", says=[says])


def test_a_damaged_picture(onnxcam: Run, tmp_path: Path, model: Path, picture: Path) -> None:
    data = bytearray(picture.read_bytes())
    data[len(data) // 2] ^= 255
    picture.write_bytes(data)
    words = ("explain", model, picture, "-p", "unit,resize=8x8", "-o", "out")
    refused(onnxcam, tmp_path, *words, says=["is not an image that OpenCV reads, or is damaged"])


@pytest.mark.parametrize(("count", "said"), [(-1, "not -1"), (0, "not 0"), (10**9, "not 1000000000")])
def test_jobs_of_a_validation(onnxcam: Run, tmp_path: Path, model: Path, picture: Path, count: int, said: str) -> None:
    says = [f"the number of jobs is a whole number from 1 to 256, {said}"]
    refused(onnxcam, tmp_path, "validate", model, model, picture, "-o", "out", "-j", count, says=says)
    with pytest.raises(MetricError, match="the batch size is a whole number from 1 to 4096, not 0"):
        validate(model, model, picture, batch_size=0)


def test_a_model_of_another_framework_names_the_export(onnxcam: Run, tmp_path: Path) -> None:
    for name in ("net.tflite", "net.keras"):
        (tmp_path / name).write_bytes(b"TFL3")
        refused(
            onnxcam,
            tmp_path,
            "inspect",
            name,
            says=[f"convert it first: onnxcam export {name} -o net.onnx"],
        )
