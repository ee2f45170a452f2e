"""A cell of a layer lies where the image's patch is: what a change of the patch changes most, not shapes, tells."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.optional import torch

pytest.importorskip("transformers")

from onnxcam import Explainer
from onnxcam.autodiff import STANDARD
from onnxcam.engine import Session
from onnxcam.errors import LayerError
from onnxcam.graph.io import load, to_proto
from onnxcam.passes import canonical
from onnxcam.structure.layout import GridLayout, Layout, TokenLayout
from onnxcam.structure.propagate import layouts
from onnxcam.testing import tapped
from tests.architectures import NETWORKS
from tests.architectures.network import PICTURE, Wrapped, lively
from tests.networks import export

OLD: dict[str, Any] = {"dynamo": False, "opset_version": 18}
OPEN: dict[str, Any] = {**OLD, "dynamic_axes": {"x": {0: "batch"}}}
CASES = {
    "swin": ("swin", OLD),  # the new exporter refuses it
    "swinv2": ("swinv2", {}),
    "swinv2, old": ("swinv2", OLD),
    "vit": ("vit", {}),
    "vit, old, open batch": ("vit", OPEN),
    "deit, old": ("deit", OLD),
}
CELLS = {"swin": (8, 8), "swinv2": (8, 8), "vit": (4, 4), "deit": (4, 4)}


@cache
def exported(case: str) -> onnx.ModelProto:
    name, how = CASES[case]
    torch.manual_seed(0)
    network = lively(Wrapped(NETWORKS[name]()))
    with redirect_stdout(io.StringIO()):
        return export(network, torch.rand(PICTURE), **how)


def followed(model: onnx.ModelProto) -> tuple[ir.Model, dict[ir.Value, Layout]]:
    twin = canonical(load(model), STANDARD)
    return twin, layouts(twin.graph, twin.graph.inputs[0], STANDARD)


def distances(model: onnx.ModelProto, names: Mapping[str, Layout], count: int = 8) -> dict[str, list[int]]:
    """Return by tensor, for some patches, how many cells from the patch's own the largest change lies."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, PICTURE).astype(np.float32)
    session = Session(load(tapped(model, list(names))), "cpu")
    before = {name: names[name].view(y) for name, y in session.run({"x": x}).items()}
    found: dict[str, list[int]] = {name: [] for name in names}
    for size in sorted({y.shape[2:] for y in before.values()}):
        for _ in range(count):
            cell = [int(rng.integers(length)) for length in size]
            patch = [slice(at * 64 // length, (at + 1) * 64 // length) for at, length in zip(cell, size, strict=True)]
            other = x.copy()
            other[:, :, patch[0], patch[1]] += rng.normal(0, 1, other[:, :, patch[0], patch[1]].shape)
            for name, y in session.run({"x": other}).items():
                if before[name].shape[2:] == size:
                    change = np.square(names[name].view(y) - before[name]).sum((0, 1))
                    peak = np.unravel_index(int(change.argmax()), size)
                    found[name].append(max(abs(int(a) - b) for a, b in zip(peak, cell, strict=True)))
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_cell_lies_where_its_patch_is(case: str) -> None:
    name, _ = CASES[case]
    model = exported(case)
    choice = Explainer(model).choice
    assert choice is not None
    assert choice.layer.layout.size(choice.layer.value) == CELLS[name]
    assert isinstance(choice.layer.layout, TokenLayout)

    twin, found = followed(model)
    whole = {
        value.name: layout
        for value, layout in found.items()
        if value.name and value is not twin.graph.inputs[0] and len(set(layout.size(value))) == 1  # no strip cut off
    }
    assert choice.layer.tensor in whole
    for tensor, far in distances(to_proto(twin), whole).items():
        assert np.median(far) <= 1, tensor  # attention carries some of the change elsewhere
    assert np.median(distances(to_proto(twin), {choice.layer.tensor: choice.layer.layout})[choice.layer.tensor]) == 0


@pytest.mark.filterwarnings("ignore")
def test_a_rolled_grid_is_no_layer() -> None:
    """Shifted windows: what is cut off at one side is joined at the other, so a cell is no longer its patch's."""
    model = exported("swinv2")
    twin, found = followed(model)
    rolls = [
        node.outputs[0] for node in twin.graph if node.op_type == "Concat" and (node.outputs[0].name or "") == "roll"
    ]
    assert len(rolls) == 1
    assert rolls[0] not in found
    with pytest.raises(LayerError, match="has no spatial axes that can be followed from the image"):
        Explainer(model, layer="roll")


def joined(parts: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 18]>
    net (float[n, 1, 4, 4] x) => (float[n, 1, h, 4] y)
    <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] three = {{3}}, int64[1] four = {{4}}, int64[1] axis = {{2}}>
    {{
        r = Relu(x)
        first = Slice(r, zero, one, axis)
        rest = Slice(r, one, four, axis)
        last = Slice(r, three, four, axis)
        y = Concat<axis = 2>({parts})
    }}
    """)


@pytest.mark.parametrize(("parts", "kept"), [("rest, first", False), ("last, r, first", True)])
def test_a_roll_moves_cells_and_a_circular_padding_leaves_them(parts: str, kept: bool) -> None:
    twin, found = followed(joined(parts))
    assert found.get(twin.graph.outputs[0]) == (GridLayout(1, (2, 3)) if kept else None)
