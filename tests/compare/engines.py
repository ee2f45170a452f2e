"""Engines for the tests of runners: Python files that run a model by ONNX Runtime, more or less well."""

from __future__ import annotations

from pathlib import Path

import onnx

__all__ = ["ENGINE", "MODELS", "engine", "suppressing"]

MODELS = Path(__file__).parents[2] / "models"
ENGINE = """
import onnxruntime

print("a message of the engine")
session = onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])


def run(inputs):
    return dict(zip([y.name for y in session.get_outputs()], session.run(None, inputs)))


def listed(inputs):
    return session.run(None, inputs)


def half(inputs):
    seen = {{name: x.copy() for name, x in inputs.items()}}
    for x in seen.values():
        x[..., x.shape[-1] // 2 :] = 0.5
    return run(seen)


def single(inputs):
    if any(len(x) != 1 for x in inputs.values()):
        raise ValueError("the engine was built for one image")
    return run(inputs)


calls = 0


def worn(inputs):
    global calls
    calls += 1
    if calls > 30:
        raise OSError("overheated")
    return run(inputs)
"""
_SUPPRESSION = """<ir_version: 8, opset_import: ["": 20]>
g (float[n, 10, 64] y) => (float[k, 4] boxes, float[k] scores, int64[k] classes)
<int64[3] parts = {2, 2, 6}, float half = {0.5}, int64[1] most = {8}, float[1] overlap = {0.5}, float[1] least = {0.25}>
{
    centres, sizes, table = Split<axis=1>(y, parts)
    halves = Mul(sizes, half)
    low = Sub(centres, halves)
    high = Add(centres, halves)
    corners = Concat<axis=1>(low, high)
    places = Transpose<perm=[0, 2, 1]>(corners)
    chosen = NonMaxSuppression(places, table, most, overlap, least)
    first = Constant<value_ints=[0]>()
    second = Constant<value_ints=[1]>()
    third = Constant<value_ints=[2]>()
    flat = Constant<value_ints=[-1]>()
    rows = Gather<axis=1>(chosen, third)
    kinds = Gather<axis=1>(chosen, second)
    row = Reshape(rows, flat)
    classes = Reshape(kinds, flat)
    whole = Squeeze(places, first)
    boxes = Gather(whole, row)
    scores = GatherND(table, chosen)
}
"""


def engine(folder: Path, text: str) -> str:
    """Write a Python file with *text*; return its function ``run`` as a runner."""
    (folder / "engine.py").write_text(text, "utf-8")
    return f"{folder / 'engine.py'}:run"


def suppressing(path: Path, rows: bool = False) -> Path:
    """Write the detector of models/ with its own suppression: boxes, scores and classes of what it keeps.

    If *rows*, it puts out the numbers of the rows that it keeps instead.
    """
    model, head = onnx.load(MODELS / "detector.onnx"), onnx.parser.parse_model(_SUPPRESSION)
    last = model.graph.output[0].name
    kept = {"y": last, **{value.name: value.name for value in head.graph.output}}
    for node in head.graph.node:  # names that the detector does not have
        node.input[:] = [kept.get(name, f"nms_{name}") for name in node.input]
        node.output[:] = [kept.get(name, f"nms_{name}") for name in node.output]
    for tensor in head.graph.initializer:
        tensor.name = f"nms_{tensor.name}"
    model.graph.node.extend(head.graph.node)
    model.graph.initializer.extend(head.graph.initializer)
    del model.graph.output[:]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    chosen = onnx.helper.make_tensor_value_info("nms_chosen", onnx.TensorProto.INT64, ["k", 3])
    model.graph.output.extend([chosen] if rows else head.graph.output)
    onnx.save(model, path)
    return path
