"""Graphs of a few bytes that ask for gigabytes or hours: huge ranges, tiles, chains, and calls of calls."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import onnx
from onnx import helper, numpy_helper

Nodes = list[onnx.NodeProto]
_SIZES = (2**16, 2**20, 2**26, 2**28, 2**31, 2**33, 2**36, 2**40, 2**62)


def _constant(name: str, value: object, dtype: type = np.int64) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, dtype)))


def _range(rng: Random) -> Nodes:
    step = rng.choice((1, 1, 0, -1))
    parts = [_constant("bomb_0", 0), _constant("bomb_1", rng.choice(_SIZES)), _constant("bomb_2", step)]
    return [*parts, helper.make_node("Range", ["bomb_0", "bomb_1", "bomb_2"], ["bomb"])]


def _constant_of_shape(rng: Random) -> Nodes:
    shape = [rng.choice((1, 4, *_SIZES)) for _ in range(rng.randrange(1, 4))]
    return [_constant("bomb_0", shape), helper.make_node("ConstantOfShape", ["bomb_0"], ["bomb"])]


def _expand(rng: Random) -> Nodes:
    shape = [rng.choice((1, *_SIZES)) for _ in range(rng.randrange(1, 4))]
    return [
        _constant("bomb_0", 1.0, np.float32),
        _constant("bomb_1", shape),
        helper.make_node("Expand", ["bomb_0", "bomb_1"], ["bomb"]),
    ]


def _tile(rng: Random) -> Nodes:
    parts = [_constant("bomb_0", [[1, 2]]), _constant("bomb_1", [rng.choice(_SIZES), rng.choice((1, *_SIZES))])]
    return [*parts, helper.make_node("Tile", ["bomb_0", "bomb_1"], ["bomb"])]


def _pad(rng: Random) -> Nodes:
    parts = [_constant("bomb_0", [1, 2]), _constant("bomb_1", [rng.choice(_SIZES), rng.choice((0, -5, *_SIZES))])]
    return [*parts, helper.make_node("Pad", ["bomb_0", "bomb_1"], ["bomb"])]


def _doubling(rng: Random) -> Nodes:
    """Concat a tensor with itself, again and again."""
    count = rng.choice((10, 25, 33, 60))
    concats = [helper.make_node("Concat", [f"t{i}"] * 2, [f"t{i + 1}"], axis=0) for i in range(count)]
    return [_constant("t0", [1]), *concats, helper.make_node("Identity", [f"t{count}"], ["bomb"])]


def _outer(rng: Random) -> Nodes:
    """A sum that broadcasts two vectors into a table."""
    size = rng.choice((2**10, 2**14, 2**18))
    parts = [_constant("bomb_0", np.zeros((size, 1))), _constant("bomb_1", np.zeros((1, size)))]
    return [*parts, helper.make_node("Add", ["bomb_0", "bomb_1"], ["bomb"])]


def _one_hot(rng: Random) -> Nodes:
    parts = [_constant("bomb_0", [1, 2]), _constant("bomb_1", rng.choice(_SIZES)), _constant("bomb_2", [0, 1])]
    return [*parts, helper.make_node("OneHot", ["bomb_0", "bomb_1", "bomb_2"], ["bomb"])]


_TENSORS: tuple[Callable[[Random], Nodes], ...] = (
    _range, _range, _constant_of_shape, _expand, _tile, _pad, _doubling, _outer, _one_hot,
)  # fmt: skip


def _tensor(rng: Random, model: onnx.ModelProto) -> None:
    """Add a constant that is huge, reduced to a number and added to the network."""
    reduced = [
        helper.make_node("Cast", ["bomb"], ["bomb_f"], to=1),
        helper.make_node("ReduceMax", ["bomb_f"], ["bomb_r"], keepdims=0),
        helper.make_node("Add", ["y_before", "bomb_r"], ["y"]),
    ]
    _before_output(model, [*_rankless(rng), *rng.choice(_TENSORS)(rng), *reduced])


def _rankless(rng: Random) -> Nodes:
    """Return an unused tensor of unknown rank, for which constants are folded."""
    if rng.random() < 0.5:
        return []
    return [
        helper.make_node("NonZero", ["x"], ["nz"]),
        _constant("nz_0", 0),
        helper.make_node("Gather", ["nz", "nz_0"], ["nz_shape"]),
        helper.make_node("Reshape", ["x", "nz_shape"], ["dead"]),
    ]


def _before_output(model: onnx.ModelProto, nodes: Nodes) -> None:
    for node in model.graph.node:
        node.output[:] = ["y_before" if name == "y" else name for name in node.output]
    model.graph.node.extend(nodes)


def _chain(rng: Random, model: onnx.ModelProto) -> None:
    """Add hundreds of nodes in a row."""
    count = rng.choice((100, 500, 2000, 5000))
    kind = rng.choice(("Relu", "Identity", "Sigmoid"))
    links = [helper.make_node(kind, ["y_before" if i == 0 else f"l{i}"], [f"l{i + 1}"]) for i in range(count)]
    _before_output(model, [*links, helper.make_node("Identity", [f"l{count}"], ["y"])])


def _ladder(rng: Random, model: onnx.ModelProto) -> None:
    """Add a row of sums in which the number of ways doubles with each."""
    count = rng.choice((20, 64, 400))
    links = [helper.make_node("Add", ["y_before" if i == 0 else f"l{i}"] * 2, [f"l{i + 1}"]) for i in range(count)]
    _before_output(model, [*links, helper.make_node("Identity", [f"l{count}"], ["y"])])


def _calls(rng: Random, model: onnx.ModelProto) -> None:
    """Add functions that call functions, many times each; or themselves."""
    depth, width = rng.choice(((3, 10), (7, 10), (30, 2), (500, 1)))
    plain = [helper.make_opsetid("", 17)]
    opsets = [*plain, helper.make_opsetid("bomb", 1)]
    model.functions.append(
        helper.make_function("bomb", "f0", ["X"], ["Y"], [helper.make_node("Relu", ["X"], ["Y"])], plain)
    )
    for level in range(1, depth):
        called = f"f{level - 1}" if rng.random() < 0.97 else f"f{level}"
        ends = ["X", *(f"t{i}" for i in range(1, width)), "Y"]
        body = [helper.make_node(called, [ends[i]], [ends[i + 1]], domain="bomb") for i in range(width)]
        model.functions.append(helper.make_function("bomb", f"f{level}", ["X"], ["Y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("bomb", 1))
    _before_output(model, [helper.make_node(f"f{depth - 1}", ["y_before"], ["y"], domain="bomb")])


def _endless(rng: Random, model: onnx.ModelProto) -> None:
    """Add a Loop of very many turns."""
    number, truth = (helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("go", 9)))
    carried, out = (helper.make_tensor_value_info(name, 1, None) for name in ("in", "out"))
    going = helper.make_tensor_value_info("going", 9, [])
    nodes = [helper.make_node("Identity", ["go"], ["going"]), helper.make_node("Sigmoid", ["in"], ["out"])]
    body = helper.make_graph(nodes, "body", [number, truth, carried], [going, out])
    turns = _constant("turns", rng.choice((0, -1, 1000, 10**5, 10**6)))
    _before_output(model, [turns, helper.make_node("Loop", ["turns", "", "y_before"], ["y"], body=body)])


def explode(rng: Random, model: onnx.ModelProto) -> None:
    """Add one of them."""
    rng.choice((_tensor, _tensor, _tensor, _chain, _ladder, _calls, _endless))(rng, model)
