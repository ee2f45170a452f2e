"""Mutations of a model's graph: names, nodes, edges, types, shapes, operators and metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import onnx
from onnx import AttributeProto, TensorProto, helper

from tests.fuzz import bombs, values

_MARK = "zq8zq8zq"  # a name that becomes bytes that are no text, which protobuf would not take
_NAMES = ("onnxcam.map", "onnxcam.class", "onnxcam.class.chosen", "onnxcam.score", "onnxcam.weights",
          "onnxcam.activation",
          "onnxcam.around.x", "heatmap", "overlay", "picture", "", "\x1b[31mred", "a\nb",
          "x" * 5000, _MARK)  # fmt: skip
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "nonsense", "f", "onnxcam", "x" * 3000, "\x1b[2J")
_OPERATORS = (
    "Relu", "Conv", "MatMul", "Gemm", "Softmax", "Reshape", "Transpose", "Resize", "Loop", "If", "Scan", "NonZero",
    "TopK",
    "NonMaxSuppression", "LSTM", "Einsum", "Gather", "Slice", "Pad", "Tile", "Expand", "Range", "ConstantOfShape",
    "Split",
    "Concat", "Squeeze", "Unsqueeze", "SequenceConstruct", "SequenceAt", "QLinearConv", "DequantizeLinear", "Attention",
    "GridSample", "DFT", "OneHot", "Nonsense", "", "StringConcat", "Optional", "RandomNormal", "Constant", "Shape",
    "Size",
)  # fmt: skip
_TYPES = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 14, 16, 17, 20, 21, 23, 99, 2**31 - 1, -1)
_KEYS = ("onnxcam", "onnxcam.baked", "onnxcam.written", "imgsz", "names", "stride", "task", "nonsense")


def bodies(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph and all graphs inside."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from bodies(inner)


def _graph(rng: Random, model: onnx.ModelProto) -> onnx.GraphProto:
    return rng.choice(list(bodies(model.graph)))


def _node(rng: Random, model: onnx.ModelProto) -> onnx.NodeProto:
    return rng.choice(_graph(rng, model).node)


def _tensors(graph: onnx.GraphProto) -> list[TensorProto]:
    inside = [a.t for body in bodies(graph) for node in body.node for a in node.attribute if a.HasField("t")]
    return [*graph.initializer, *inside]


def _replace(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor wherever it occurs."""
    for body in bodies(graph):
        for node in body.node:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]
        for value in (*body.input, *body.output, *body.initializer, *body.value_info):
            if value.name == old:
                value.name = new


def rename(rng: Random, model: onnx.ModelProto) -> None:
    """Give a tensor another name everywhere, which may be taken or no text."""
    node = _node(rng, model)
    taken = [name for other in model.graph.node for name in other.output]
    _replace(model.graph, rng.choice([*node.input, *node.output]), rng.choice((*_NAMES, *taken)))


def rename_node(rng: Random, model: onnx.ModelProto) -> None:
    """Give a node another name."""
    _node(rng, model).name = rng.choice((*_NAMES, values.text(rng)))


def rewire(rng: Random, model: onnx.ModelProto) -> None:
    """Let an input of a node be another tensor, its own output or one behind it among them."""
    node = _node(rng, model)
    names = [name for other in model.graph.node for name in other.output] + ["", "nowhere", "x"]
    node.input[rng.randrange(len(node.input))] = rng.choice(names)


def drop(rng: Random, model: onnx.ModelProto) -> None:
    """Drop a node, an initialiser, an input, an output, a function or an opset."""
    graph = _graph(rng, model)
    lists = (graph.node, graph.node, graph.initializer, graph.input, graph.output, model.functions, model.opset_import)
    chosen = rng.choice([each for each in lists if len(each)])
    del chosen[rng.randrange(len(chosen))]


def drop_all(rng: Random, model: onnx.ModelProto) -> None:
    """Drop all nodes, inputs, outputs, initialisers or opsets."""
    graph = model.graph
    del rng.choice((graph.node, graph.input, graph.output, graph.initializer, model.opset_import))[:]


def double(rng: Random, model: onnx.ModelProto) -> None:
    """Repeat a node, an input, an output, an initialiser, an opset or a function as it is."""
    graph = _graph(rng, model)
    lists = (graph.node, graph.initializer, graph.input, graph.output, model.opset_import, model.functions)
    chosen = rng.choice([each for each in lists if len(each)])
    chosen.append(rng.choice(chosen))


def shuffle(rng: Random, model: onnx.ModelProto) -> None:
    """Bring nodes into another order."""
    graph = _graph(rng, model)
    nodes = list(graph.node)
    rng.shuffle(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def arity(rng: Random, model: onnx.ModelProto) -> None:
    """Give a node too many or too few inputs or outputs."""
    node = _node(rng, model)
    names = rng.choice((node.input, node.output))
    if rng.random() < 0.5 and len(names):
        del names[rng.randrange(len(names)) :]
    else:
        names.extend([rng.choice([*names, "", "new"])] * rng.choice((1, 2, 50)))


def operator(rng: Random, model: onnx.ModelProto) -> None:
    """Replace an operator or its domain."""
    node = _node(rng, model)
    node.op_type = rng.choice((node.op_type, *_OPERATORS))
    if rng.random() < 0.3:
        node.domain = rng.choice(_DOMAINS)


def version(rng: Random, model: onnx.ModelProto) -> None:
    """State another opset or IR version."""
    opset = rng.choice(model.opset_import)
    opset.version = rng.choice((-1, 0, 1, 6, 7, 9, 11, 12, 13, 15, 18, 21, 23, 26, 99, 2**31, 2**63 - 1))
    if rng.random() < 0.3:
        opset.domain = rng.choice(_DOMAINS)
    if rng.random() < 0.3:
        model.ir_version = rng.choice((0, 1, 3, 8, 13, 99, 2**62, -1))


def attribute(rng: Random, model: onnx.ModelProto) -> None:
    """Change the value or the type of an attribute, or drop it."""
    nodes = [node for body in bodies(model.graph) for node in body.node if len(node.attribute)]
    node = rng.choice(nodes)
    chosen = rng.choice(node.attribute)
    kind = rng.randrange(5)
    if kind == 0:
        node.attribute.remove(chosen)
    elif kind == 1:
        chosen.type = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14))
    elif kind == 2:
        chosen.name = rng.choice(("axis", "perm", "to", "value", _MARK, "auto_pad", "body", ""))
    elif chosen.type == AttributeProto.INTS and kind == 3:
        chosen.ints[:] = [values.integer(rng) for _ in range(rng.choice((0, 1, 2, 4, 5, 9)))]
    else:
        chosen.CopyFrom(helper.make_attribute(chosen.name, _attribute_value(rng)))


def _attribute_value(rng: Random) -> object:
    integers = [values.integer(rng) for _ in range(rng.randrange(1, 6))]
    return rng.choice((values.integer(rng), integers, rng.choice(values.FLOATS), rng.choice(values.RAW), "text", [0.5]))


def add_attribute(rng: Random, model: onnx.ModelProto) -> None:
    """Give a node one more attribute."""
    names = (
        "axis",
        "axes",
        "perm",
        "to",
        "group",
        "pads",
        "strides",
        "kernel_shape",
        "auto_pad",
        "dilations",
        "keepdims",
    )
    _node(rng, model).attribute.append(helper.make_attribute(rng.choice(names), _attribute_value(rng)))


def reference(rng: Random, model: onnx.ModelProto) -> None:
    """Let an attribute refer to one of a function that is not there."""
    _node(rng, model).attribute.add(name="axis", ref_attr_name="nowhere", type=AttributeProto.INT)


def weights(rng: Random, model: onnx.ModelProto) -> None:
    """Change the shape, the type or the bytes of a tensor."""
    tensor = rng.choice(_tensors(model.graph))
    kind = rng.randrange(6)
    if kind == 0:
        tensor.data_type = rng.choice(_TYPES)
    elif kind == 1:
        tensor.dims[:] = [values.integer(rng) for _ in range(rng.randrange(6))]
    elif kind == 2 and len(tensor.dims):
        tensor.dims[rng.randrange(len(tensor.dims))] = values.integer(rng)
    elif kind == 3:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
    elif kind == 4:
        tensor.raw_data = bytes([rng.choice((0, 255, 127))]) * len(tensor.raw_data)
    else:
        tensor.float_data.extend([1.0, 2.0])


def elsewhere(rng: Random, model: onnx.ModelProto) -> None:
    """Let a tensor lie in another file, or beyond the end of it."""
    tensor = rng.choice(_tensors(model.graph))
    tensor.data_location = TensorProto.EXTERNAL
    if rng.random() < 0.7:
        tensor.ClearField("raw_data")
    places = (
        "weights.bin",
        "model.onnx",
        "",
        ".",
        "..",
        "/etc/passwd",
        "../x",
        "x" * 300,
        "missing",
        "a\0b",
        _MARK,
        "/dev/zero",
    )
    for key, value in (("location", rng.choice(places)), *_extent(rng)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _extent(rng: Random) -> list[tuple[str, str]]:
    words = ("0", "1", "-1", "99999999999", "nonsense", "", "9" * 400, "4.5", "9223372036854775807")
    return [(key, rng.choice(words)) for key in ("offset", "length", "checksum") if rng.random() < 0.5]


def declared(rng: Random, model: onnx.ModelProto) -> None:
    """Declare another shape or type of an input or output."""
    graph = model.graph
    value = rng.choice([*graph.input, *graph.output])
    if rng.random() < 0.2:
        value.type.Clear()
        return
    shape = value.type.tensor_type.shape
    if rng.random() < 0.3:
        value.type.tensor_type.elem_type = rng.choice(_TYPES)
    elif rng.random() < 0.5 and len(shape.dim):
        chosen = rng.choice(shape.dim)
        chosen.dim_value = values.integer(rng)
    else:
        del shape.dim[rng.randrange(len(shape.dim) + 1) :]
        shape.dim.extend([onnx.TensorShapeProto.Dimension(dim_value=3)] * rng.choice((0, 1, 40)))


def remembered(rng: Random, model: onnx.ModelProto) -> None:
    """State a wrong shape of a tensor inside."""
    name = rng.choice(rng.choice(model.graph.node).output)
    shape = [values.integer(rng) for _ in range(rng.randrange(6))]
    model.graph.value_info.append(helper.make_tensor_value_info(name, rng.choice((1, 7, 10)), shape))


def metadata(rng: Random, model: onnx.ModelProto) -> None:
    """Write hostile values into the metadata of the model or of its nodes."""
    if rng.random() < 0.3:
        for node in model.graph.node:
            entry = node.metadata_props.add()
            entry.key, entry.value = "pkg.torch.onnx.name_scopes", values.text(rng)
        return
    for key in rng.sample(_KEYS, rng.randrange(1, 5)):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, _metadata_value(rng, key)


def _metadata_value(rng: Random, key: str) -> str:
    cards = ('{"schema": 1, "preprocess": %s}', '{"schema": 1, "labels": %s}', '{"schema": 1, "task": %s}',
             '{"schema": 1, "layers": %s}', '{"schema": 1, "vocabulary": {"x": %s}}', '{"picture": %s}',
             '{"picture": {"mean": %s}}',
             '{"method": %s, "layer": "a"}')  # fmt: skip
    inner = (
        "5",
        "null",
        "[]",
        '["a", "b", "c", "d"]',
        '"unit"',
        '"segmentation"',
        '{"0": [1]}',
        "NaN",
        "-1",
        '"\\ud800"',
        "[[]]",
    )
    if key.startswith("onnxcam") and rng.random() < 0.7:
        return rng.choice(cards) % rng.choice(inner)
    return values.text(rng)


def nest(rng: Random, model: onnx.ModelProto) -> None:
    """Put a node into an If inside an If, and so on."""
    body = helper.make_graph(
        [helper.make_node("Relu", ["c"], ["deep"])], "b", [], [helper.make_tensor_value_info("deep", 1, None)]
    )
    for level in range(rng.choice((2, 10, 28))):
        node = helper.make_node(
            "If", ["cond"], [f"deep{level}"], then_branch=body, else_branch=body if level < 3 else None
        )
        body = helper.make_graph([node], "b", [], [helper.make_tensor_value_info(f"deep{level}", 1, None)])
    model.graph.node.extend(body.node)


def strings(rng: Random, model: onnx.ModelProto) -> None:
    """Change a text anywhere in the file: producer, documentation, names of axes, of the graph."""
    text = rng.choice((*_NAMES, values.text(rng)))
    kind = rng.randrange(4)
    if kind == 0:
        model.producer_name = text
    elif kind == 1:
        model.graph.name = text
    elif kind == 2:
        model.graph.doc_string = text
    else:
        for dim in rng.choice([*model.graph.input, *model.graph.output]).type.tensor_type.shape.dim:
            dim.dim_param = text


def unreadable(rng: Random, data: bytes) -> bytes:
    """Write bytes that are no text where a name was marked for it."""
    mark = rng.choice((b"\xff\xfe\x80zzzzz", b"\x1b[31m\xc3\x28z", b"\xed\xa0\x80zzzzz"))
    return data.replace(_MARK.encode(), mark)


MUTATORS: tuple[Callable[[Random, onnx.ModelProto], None], ...] = (
    rename, rename, rename_node, rewire, rewire, drop, drop, drop_all, double, shuffle, arity, arity, operator,
    operator, version, attribute, attribute, attribute, add_attribute, reference, weights, weights, weights,
    elsewhere, declared, declared, remembered, metadata, metadata, nest, strings, bombs.explode, bombs.explode,
)  # fmt: skip
