"""Cases that once were findings: each lays out its files and names the command that must answer cleanly."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.fuzz import networks
from tests.fuzz.place import Place, encoded, png

Maker = Callable[[Place], list[str]]
CASES: dict[str, Maker] = {}

REPEATED: tuple[tuple[str, int], ...] = ()
"""Seeds of the campaign that found something, as (kind, seed); a case with a name outlives changes of the mutators."""


def _case(maker: Maker) -> Maker:
    CASES[maker.__name__.strip("_")] = maker
    return maker


def _explain(place: Place, model: onnx.ModelProto | bytes, *words: str) -> list[str]:
    """Explain an image by *model*."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return ["explain", place.put("m.onnx", data), place.picture(), "-p", "unit", *words, "-o", "out"]


def _added(middle: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Return the classifier with a number ``n`` added that the *middle* makes."""
    return networks.classifier([*middle, helper.make_node("Add", ["c", "n"], ["m"])])


def _range_of(stop: int, step: int) -> onnx.ModelProto:
    parts = [networks.constant(name, value) for name, value in (("p", 0), ("q", stop), ("s", step))]
    ops = [helper.make_node("Range", ["p", "q", "s"], ["r"]), helper.make_node("Cast", ["r"], ["rf"], to=1)]
    return _added([*parts, *ops, helper.make_node("ReduceMax", ["rf"], ["n"], keepdims=0)])


@_case
def _name_is_no_text(place: Place) -> list[str]:
    data = networks.classifier().SerializeToString()
    return _explain(place, data.replace(b"GlobalAveragePool", b"GlobalAveragePoo\xff"))


@_case
def _attribute_is_no_text(place: Place) -> list[str]:
    model = networks.classifier()
    model.graph.node[0].attribute.append(helper.make_attribute("auto_pad", b"\xff"))
    return _explain(place, model)


@_case
def _range_of_terabytes(place: Place) -> list[str]:
    return _explain(place, _range_of(2**36, 1))


@_case
def _range_of_gigabytes(place: Place) -> list[str]:
    return _explain(place, _range_of(2**28, 1))


@_case
def _range_without_step(place: Place) -> list[str]:
    return _explain(place, _range_of(5, 0))


@_case
def _function_of_too_many_inputs(place: Place) -> list[str]:
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("f", "F", ["X"], ["Y"], [helper.make_node("Relu", ["X"], ["Y"])], opsets)
    return _explain(place, networks.classifier([helper.make_node("F", ["c", "c"], ["m"], domain="f")], [function]))


@_case
def _no_outputs(place: Place) -> list[str]:
    model = networks.classifier()
    del model.graph.output[:]
    return ["inspect", place.put("m.onnx", model.SerializeToString()), "--json"]


@_case
def _weights_too_short(place: Place) -> list[str]:
    model = networks.classifier()
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-7]
    return _explain(place, model)


@_case
def _weight_missing(place: Place) -> list[str]:
    model = networks.classifier()
    model.graph.initializer.pop()
    return _explain(place, model)


@_case
def _tensor_called_as_ours(place: Place) -> list[str]:
    model = networks.classifier()
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["onnxcam.map" if name == "a" else name for name in names]
    return _explain(place, model)


def _outside(place: Place, location: str, data_type: int = 1) -> list[str]:
    model = networks.classifier()
    tensor = model.graph.initializer[1]
    tensor.data_location, tensor.data_type = onnx.TensorProto.EXTERNAL, data_type
    tensor.ClearField("raw_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    place.put("weights.bin", bytes(5000))
    return _explain(place, model)


@_case
def _weights_outside_of_no_type(place: Place) -> list[str]:
    return _outside(place, "weights.bin", 0)


@_case
def _weights_outside_of_a_long_name(place: Place) -> list[str]:
    return _outside(place, "x" * 300)


@_case
def _functions_of_functions(place: Place) -> list[str]:
    plain = [helper.make_opsetid("", 17)]
    opsets = [*plain, helper.make_opsetid("f", 1)]
    functions = [helper.make_function("f", "f0", ["X"], ["Y"], [helper.make_node("Relu", ["X"], ["Y"])], plain)]
    for level in range(1, 8):
        ends = ["X", *(f"t{i}" for i in range(1, 10)), "Y"]
        calls = [helper.make_node(f"f{level - 1}", [ends[i]], [ends[i + 1]], domain="f") for i in range(10)]
        functions.append(helper.make_function("f", f"f{level}", ["X"], ["Y"], calls, opsets))
    return _explain(place, networks.classifier([helper.make_node("f7", ["c"], ["m"], domain="f")], functions))


@_case
def _two_thousand_nodes_in_a_row(place: Place) -> list[str]:
    ends = ["c", *(f"t{i}" for i in range(1, 2000)), "m"]
    model = networks.classifier([helper.make_node("Relu", [ends[i]], [ends[i + 1]]) for i in range(2000)])
    return ["inspect", place.put("m.onnx", model.SerializeToString())]


def _described(place: Place, **texts: str) -> list[str]:
    model = networks.classifier()
    helper.set_model_props(model, texts)
    data = model.SerializeToString()
    return ["explain", place.put("m.onnx", data), place.picture(), "-o", "out"]


@_case
def _size_of_many_signs(place: Place) -> list[str]:
    return _described(place, stride="32", task="classify", imgsz="-" * 100_000 + "1")


@_case
def _size_of_petabytes(place: Place) -> list[str]:
    model = networks.classifier()
    helper.set_model_props(model, {"stride": "32", "imgsz": "[99999999, 99999999]"})
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    return ["explain", place.put("m.onnx", model.SerializeToString()), place.picture(), "-o", "out"]


def _scoped(place: Place, text: str) -> list[str]:
    model = networks.classifier()
    for node in model.graph.node:
        entry = node.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", text
    return _explain(place, model)


@_case
def _scopes_are_a_number(place: Place) -> list[str]:
    return _scoped(place, "5")


@_case
def _scopes_of_many_signs(place: Place) -> list[str]:
    return _scoped(place, "-" * 100_000)


@_case
def _scopes_of_lists(place: Place) -> list[str]:
    return _scoped(place, "['a', ['b'], 'c']")


@_case
def _list_that_names_itself(place: Place) -> list[str]:
    return ["explain", place.model(), place.put("L.txt", b"@L.txt\n"), "-p", "unit", "-o", "out"]


@_case
def _lists_of_lists(place: Place) -> list[str]:
    for level in range(30):
        place.put(f"N{level}.txt", f"N{level + 1}.txt\n".encode() * 3)
    place.put("N30.txt", place.picture().encode())
    return ["explain", place.model(), "N0.txt", "-p", "unit", "-o", "out"]


@_case
def _nul_in_a_list(place: Place) -> list[str]:
    return ["validate", place.model(), "good.onnx", place.put("Z.txt", b"a\0b.png\n"), "-p", "unit", "-o", "out"]


@_case
def _name_too_long(place: Place) -> list[str]:
    return ["explain", place.model(), "x" * 300, "-o", "out"]


@_case
def _folder_too_long(place: Place) -> list[str]:
    return ["explain", place.model(), place.picture(), "-p", "unit", "-o", "x" * 300]


@_case
def _truth_too_long(place: Place) -> list[str]:
    return ["evaluate", place.model(), place.picture(), "-p", "unit", "--truth", "x" * 300, "-o", "out"]


@_case
def _bound_is_infinite(place: Place) -> list[str]:
    words = ["validate", place.model(), "good.onnx", place.picture(), "-p", "unit", "-o", "out", "--json"]
    return [*words, "-r", "iou>=1e999"]


@_case
def _escape_in_a_name(place: Place) -> list[str]:
    return ["explain", place.model(), "\x1b[2J\x1b[31mgone.png", "-o", "out"]


@_case
def _escape_in_labels(place: Place) -> list[str]:
    labels = place.put("l.txt", b"\x1b[31mred\x07\n" * 3 + b"\x1b[31mred\x07")
    return ["explain", place.model(), place.picture(), "-p", "unit", "--labels", labels, "-o", "out"]


@_case
def _damaged_png(place: Place) -> list[str]:
    data = bytearray(encoded(".png", np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)))
    data[5000] ^= 255
    return ["explain", place.model(), place.put("bad.png", bytes(data)), "-p", "unit", "-o", "out"]


@_case
def _layer_of_a_long_name(place: Place) -> list[str]:
    return ["explain", place.model(), place.picture(), "-p", "unit", "-l", "z" * 100_000, "-o", "out"]


@_case
def _resize_to_gigabytes(place: Place) -> list[str]:
    return ["explain", place.model(), place.picture(), "-p", "resize=99999", "-o", "out"]


@_case
def _samples_without_end(place: Place) -> list[str]:
    words = ["explain", place.model(), place.picture(), "-p", "unit", "-m", "rise"]
    return [*words, "--set", "samples=99999999999999999999", "-o", "out"]


@_case
def _scores_are_nan(place: Place) -> list[str]:
    model = networks.classifier()
    head = model.graph.initializer[1]
    head.CopyFrom(numpy_helper.from_array(np.full((4, 4), np.nan, np.float32), "f"))
    model_file = place.put("m.onnx", model.SerializeToString())
    return ["evaluate", model_file, place.picture(), "-p", "unit", "--metric", "complexity", "-o", "out", "--json"]


@_case
def _name_of_a_picture_is_no_text(place: Place) -> list[str]:
    picture = place.folder / "caf\udce9.png"
    picture.write_bytes(png())
    words = ["validate", place.model(), "good.onnx", picture.name, "-p", "unit", "-o", "out"]
    return [*words, "--json"]


def _journal(place: Place, key: str, value: object) -> list[str]:
    """Take a validation up again, in whose journal an entry has another *value* under *key*; None: no such key."""
    for name in ("model.onnx", "picture.png", "other.png", "validation"):
        place.take(name)
    journal = place.folder / "validation" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    entry = {name: kept for name, kept in json.loads(lines[1]).items() if name != key}
    lines[1] = json.dumps(entry if value is None else {**entry, key: value}).encode() + b"\n"
    journal.write_bytes(b"".join(lines))
    return ["validate", "model.onnx", "model.onnx", "picture.png", "other.png", "-p", "unit", "-o", "validation"]


@_case
def _journal_without_a_number(place: Place) -> list[str]:
    return _journal(place, "number", None)


@_case
def _journal_of_another_number(place: Place) -> list[str]:
    return _journal(place, "number", 999)


@_case
def _journal_of_no_size(place: Place) -> list[str]:
    return _journal(place, "size", [0, 0])


@_case
def _journal_without_a_picture(place: Place) -> list[str]:
    return _journal(place, "picture", None)
