"""Damaged models are refused in one line that says what and where, exit code 2, and leave nothing behind.

What a file may hold and no tool need read, such as names of layers, is read or passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxcam.graph.io import load
from onnxcam.metadata.literals import literal
from onnxcam.structure.names import module_names
from tests.command import Ran
from tests.damaged import (
    EXPANSION,
    added,
    attributed,
    calling,
    changed,
    classifier,
    constant,
    external,
    function,
    nested_bytes,
    opened,
    ranged,
    referring,
    renamed,
    replaced,
    tensor,
    value,
    without_inputs,
)

Run = Callable[..., Ran]

DEEP = "-" * 100_000 + "1"

BAD: dict[str, tuple[Callable[[], onnx.ModelProto | bytes], str]] = {
    "operator that is no text": (
        lambda: replaced(b"GlobalAveragePool", b"GlobalAveragePoo\xff"),
        "is no valid ONNX model: graph.node[3].op_type is no UTF-8 text",
    ),
    "tensor name that is no text": (lambda: replaced(b"\x01a", b"\x01\xff"), "is no UTF-8 text"),
    "attribute that is no text": (
        lambda: attributed("auto_pad", b"\xff"),
        "attribute 'auto_pad' of node 'first' (Conv) of 'm.onnx' is no UTF-8 text; export the model again",
    ),
    "no outputs": (
        lambda: changed(lambda g: g.ClearField("output")),
        "'m.onnx' has no outputs; export the model again",
    ),
    "no inputs": (
        without_inputs,
        "'m.onnx' has no inputs; export the model again",
    ),
    "name of onnxcam's map": (
        lambda: renamed("a", "onnxcam.map"),
        "the model has a tensor called 'onnxcam.map', a name that onnxcam reserves; rename it",
    ),
    "name of onnxcam's around": (lambda: renamed("a", "onnxcam.around.a"), "a name that onnxcam reserves"),
    "domain of onnxcam": (
        lambda: classifier([helper.make_node("Clamp", ["c"], ["m"], name="k", domain="onnxcam")]),
        "node 'k' of 'm.onnx' has the domain 'onnxcam', which no model may have",
    ),
    "too few bytes": (
        lambda: tensor("f", raw_data=b"0" * 40),
        "initializer 'f' of 'm.onnx' holds 40 bytes, and float [4, 3] takes 48; export the model again",
    ),
    "too many bytes": (lambda: tensor("f", raw_data=b"0" * 52), "initializer 'f' of 'm.onnx' holds 52 bytes"),
    "too few bytes of many": (
        lambda: tensor("w", dims=[4, 3, 30, 30], raw_data=b"0" * 40_000),
        "initializer 'w' of 'm.onnx' holds 40000 bytes, and float [4, 3, 30, 30] takes 43200",
    ),
    "too few values": (
        lambda: tensor("f", raw_data=None, float_data=[1.0] * 11),
        "initializer 'f' of 'm.onnx' holds 11 values, and float [4, 3] takes 12",
    ),
    "declared huge": (lambda: tensor("f", dims=[2**40, 2**20]), "takes 4611686018427387904; export the model again"),
    "negative length": (lambda: tensor("f", dims=[-1, 3]), "has a negative length in its shape [-1, 3]"),
    "constant too short": (
        lambda: classifier(
            [
                helper.make_node(
                    "Constant", [], ["k"], name="k", value=TensorProto(data_type=1, dims=[4, 1, 1], raw_data=b"1234")
                ),
                helper.make_node("Add", ["c", "k"], ["m"]),
            ]
        ),
        "attribute 'value' of node 'k' (Constant) of 'm.onnx' holds 4 bytes, and float [4, 1, 1] takes 16",
    ),
    "unknown data type": (
        lambda: tensor("f", data_type=99),
        "'f' of 'm.onnx' has no data type that can be",
    ),
    "external of no type": (lambda: external(0, location="w.bin"), "has no data type that can be stored (0)"),
    "external without a file": (lambda: external(), "names no file for its external data"),
    "external of a long name": (
        lambda: external(location="x" * 300),
        "'m.onnx' keeps tensor 'f' in a file that cannot be read: 'xxxx",
    ),
    "external of a name with a zero byte": (lambda: external(location="a\0b"), "in a file that cannot be read"),
    "external at a negative offset": (
        lambda: external(location="w.bin", offset="-8"),
        "initializer 'f' of 'm.onnx' has the offset '-8' in its file, which is no number of bytes",
    ),
    "external at a word": (lambda: external(location="w.bin", offset="ten"), "has the offset 'ten' in its file"),
    "external too short": (
        lambda: external(location="w.bin", length="8"),
        "initializer 'f' of 'm.onnx' holds 8 bytes, and float [4, 3] takes 48",
    ),
    "bodies in bodies": (
        lambda: nested_bytes(1000),
        "'m.onnx' is no ONNX model, truncated, or nested too deep to be read",
    ),
    "attribute of no function": (
        lambda: changed(lambda graph: graph.node[0].attribute.append(referring())),
        "attribute 'group' of node 'first' (Conv) of 'm.onnx' refers to 'g' of a function, and the node is in none",
    ),
    "function of too many inputs": (
        lambda: calling(function("one"), inputs=2),
        "node 'call' of 'm.onnx' calls function 'one' with 2 inputs, which has 1; export the model again",
    ),
    "function that calls itself": (
        lambda: calling(function("a", "b"), function("b", "a")),
        "of 'm.onnx' calls itself; export the model again",
    ),
    "function called too often": (
        lambda: calling(*EXPANSION),
        "'m.onnx' calls its function 'f3' 10000 times; onnxcam inlines 5000",
    ),
    "range of 2^36": (
        lambda: ranged(2**36),
        "node 'count' (Range) makes a tensor of 6.87e+10 elements, 550 GB; no runtime opens such a model",
    ),
    "range of step 0": (lambda: ranged(5, 0), "delta in Range operator can not be zero"),
    "integers by 0": (
        lambda: added(constant("p", [6]), constant("q", [0]), helper.make_node("Div", ["p", "q"], ["r"])),
        "the Div that makes 'r' divides integers by 0",
    ),
    "wrong perm": (
        lambda: added(constant("k", [[1, 2]]), helper.make_node("Transpose", ["k"], ["r"], perm=[0, 1, 2])),
        "error: ",
    ),
    "filled with 2^40": (
        lambda: added(
            constant("p", [2**20]),
            constant("q", [2**20]),
            helper.make_node("Mul", ["p", "q"], ["n"]),
            helper.make_node("ConstantOfShape", ["n"], ["r"], name="fill"),
        ),
        "node 'fill' (ConstantOfShape) makes a tensor of 1.1e+12 elements, 4398 GB",
    ),
    "image of 2^40": (
        lambda: changed(lambda g: g.input[0].CopyFrom(value("x", [1, 3, 2**20, 2**20]))),
        "tensor 'x' [1,3,1048576,1048576] takes 13194 GB, and there is room for",
    ),
    "stride of 0": (lambda: attributed("strides", [0, 0]), "has strides [0, 0]; each must be 1 or more"),
    "dilation of 0": (lambda: attributed("dilations", [1, 0]), "has dilations [1, 0]; each must be 1 or more"),
    "window of 0": (lambda: attributed("kernel_shape", [0, 0]), "has kernel_shape [0, 0]; each must be 1 or more"),
    "no groups": (lambda: attributed("group", 0), "has group [0]; each must be 1 or more"),
}


SIZES = [DEEP, "[]", "None", "[99999999, 99999999]", "[0, 0]", "{'height': 'a'}", "[[1], 2]", "-5"]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from onnxcam.media import image

    path = tmp_path / "picture.png"
    image.write(path, np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    return path


@pytest.mark.parametrize("kind", BAD)
def test_one_line_says_what_is_wrong(onnxcam: Run, tmp_path: Path, picture: Path, kind: str) -> None:
    build, says = BAD[kind]
    opened(build(), tmp_path)
    ran = onnxcam("explain", "m.onnx", picture.name, "-p", "unit", "--provider", "cpu", "-o", "out")
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("error: ")
    assert says in ran.err
    assert not (tmp_path / "out").exists()


def test_a_constant_in_a_file_beside_the_model_is_read(tmp_path: Path) -> None:
    stored = TensorProto(data_type=1, dims=[4, 1, 1], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", "k.bin"), ("offset", "4"), ("length", "16")):
        stored.external_data.add(key=key, value=text)
    model = classifier(
        [helper.make_node("Constant", [], ["k"], value=stored), helper.make_node("Add", ["c", "k"], ["m"])]
    )
    (tmp_path / "k.bin").write_bytes(np.arange(5, dtype=np.float32).tobytes())
    opened_model = load(opened(model, tmp_path))
    found = next(node for node in opened_model.graph if node.op_type == "Constant").attributes["value"].as_tensor()
    assert found.numpy().tolist() == [[[1]], [[2]], [[3]], [[4]]]


@pytest.mark.parametrize("scopes", ["5", "not a list", DEEP, "['a', ['b'], 'c']", "", "(", "\0", "[" * 5000])
def test_scopes_of_any_content_name_a_layer_or_none(scopes: str) -> None:
    model = classifier()
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    node = next(iter(load(model).graph))
    assert all(isinstance(name, str) for name in module_names(node))


def test_names_of_a_thousand_modules_are_no_modules() -> None:
    model = classifier()
    model.graph.node[0].name = "/a" * 100_000
    assert module_names(next(iter(load(model).graph))) == []


@pytest.mark.parametrize("size", SIZES)
def test_sizes_of_any_content_are_passed_over(onnxcam: Run, tmp_path: Path, picture: Path, size: str) -> None:
    model = classifier()
    for key, text in (("stride", "32"), ("task", "classify"), ("imgsz", size)):
        model.metadata_props.add(key=key, value=text)
    opened(model, tmp_path)
    ran = onnxcam("explain", "m.onnx", picture.name, "--provider", "cpu", "-o", "out")
    assert ran.code == 0
    assert "the preprocessing in Ultralytics' metadata is passed over" in ran.err


def test_literals_are_read_or_nothing() -> None:
    assert literal("['a', 1]") == ["a", 1]
    assert literal(DEEP) is None


def test_a_node_may_have_the_name_of_an_output_of_ours(onnxcam: Run, tmp_path: Path, picture: Path) -> None:
    model = changed(lambda graph: setattr(graph.node[3], "name", "onnxcam.map"))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert onnxcam("explain", "m.onnx", picture, "-p", "unit", "-o", "out").code == 0


def test_an_output_without_a_name_counts_as_none() -> None:
    model = added(constant("r", 1.0, np.float32))
    next(node for node in model.graph.node if node.op_type == "Constant").output.append("")
    assert all(len(node.outputs) == 1 for node in load(model).graph)
