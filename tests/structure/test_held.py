"""A network that holds what depends on all places: a changed patch changes its own position only."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxcam.autodiff import STANDARD
from onnxcam.graph.io import load
from onnxcam.passes import canonical
from onnxcam.structure.held import hold
from onnxcam.testing import run, tapped
from tests.structure.standins import CELL, SIZE, Net


@pytest.mark.parametrize("values_first", [False, True])
def test_each_position_answers_for_its_own_place(values_first: bool) -> None:
    net = Net(1)
    x = net.op("InstanceNormalization", net.patches(), np.ones(16, np.float32), np.zeros(16, np.float32))
    gate = net.op("Sigmoid", net.op("ReduceMean", x, axes=[2, 3]))
    x = net.tokens(net.op("Mul", x, gate))
    q, k, v = (net.op("MatMul", x, net.random(16, 16)) for _ in range(3))
    weights = net.op("Softmax", net.op("MatMul", q, net.transpose(k, 0, 2, 1)))
    if values_first:  # as in timm's LevitConv
        found = net.op("MatMul", net.transpose(v, 0, 2, 1), net.transpose(weights, 0, 2, 1))
        proto = net.model(net.op("Transpose", found, perm=[0, 2, 1], name="last"), (64, 16))
    else:
        proto = net.model(net.op("MatMul", weights, v, name="last"), (64, 16))
    model = canonical(load(proto), STANDARD)
    tensors = hold(model.graph, model.graph.inputs[0], STANDARD)
    before = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    after = before.copy()
    after[:, :, 2 * CELL : 3 * CELL, 5 * CELL : 6 * CELL] += 1
    inside = run(tapped(proto, sorted(set(tensors.values()))), {"x": before})
    held = {name: inside[tensor] for name, tensor in tensors.items()}
    first, second = (run(ir.to_proto(model), {"x": x, **held})["last"] for x in (before, after))
    np.testing.assert_allclose(first, run(proto, {"x": before})["last"], rtol=1e-4, atol=1e-5)
    changed = np.abs(second - first).max(axis=(0, 2)) > 1e-5
    assert np.flatnonzero(changed).tolist() == [2 * 8 + 5]
