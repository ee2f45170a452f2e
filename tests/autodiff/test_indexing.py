"""What the ONNX reference evaluator cannot compute is compared with PyTorch."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import vjp
from onnxcam.testing import check_grads, node_model, run
from tests.autodiff.cases import distinct, ints, normal
from tests.optional import torch

Inputs = dict[str, np.ndarray]


def agrees(
    op: str,
    inputs: Inputs,
    function: Callable[..., torch.Tensor],
    constants: tuple[str, ...] = (),
    **attributes: object,
) -> None:
    """Assert that ONNX Runtime's gradients of one node are those of *function*."""
    model = node_model(op, inputs, {name: inputs[name] for name in constants}, **attributes)
    leaves = {name: torch.tensor(x, requires_grad=x.dtype == np.float32) for name, x in inputs.items()}
    y = function(*leaves.values())
    dy = normal(*y.shape, seed=7)
    y.backward(torch.tensor(dy))
    given = {name: x for name, x in inputs.items() if name not in constants}
    results = run(vjp(model), {**given, "y.cotangent": dy})
    np.testing.assert_allclose(results["y"], y.detach(), rtol=1e-6)
    for name, leaf in leaves.items():
        if leaf.grad is not None:
            np.testing.assert_allclose(results[f"{name}.gradient"], leaf.grad, rtol=1e-5, atol=1e-6)


def test_gather_elements_along_a_negative_axis() -> None:
    inputs = {"x": normal(2, 3), "i": np.asarray([[0, 0, 2, 1], [1, 2, 0, 2]])}
    agrees("GatherElements", inputs, lambda x, i: x.gather(-1, i), axis=-1)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatter_elements_with_fewer_updates_than_elements(reduction: str) -> None:
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    i = np.asarray([[0, 2], [2, 1]])
    inputs = {"x": distinct(3, 4), "i": i, "u": distinct(2, 2, seed=1) + np.float32(0.03)}

    def scatter(x: torch.Tensor, i: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return x.scatter(0, i, u) if reduction == "none" else x.scatter_reduce(0, i, u, names[reduction])

    agrees("ScatterElements", inputs, scatter, reduction=reduction)


@pytest.mark.parametrize("reduction", ["max", "min"])
def test_scattered_ties_share_the_gradient(reduction: str) -> None:
    x, u = np.asarray([1, 2, 3], np.float32), np.asarray([2, 2, 0, 3], np.float32)
    inputs = {"x": x, "i": np.asarray([1, 1, 1, 2]), "u": u}
    agrees("ScatterElements", inputs, lambda x, i, u: x.scatter_reduce(0, i, u, f"a{reduction}"), reduction=reduction)


@pytest.mark.parametrize("constants", [("pads",), ()])
@pytest.mark.parametrize("pads", [(-1, 0, 0, -2), (-1, 2, 1, -1)])
def test_negative_pads(pads: tuple[int, ...], constants: tuple[str, ...]) -> None:
    top, left, bottom, right = pads
    inputs = {"x": normal(3, 4), "pads": ints(*pads), "value": normal()}

    def padded(x: torch.Tensor, _: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        there = torch.nn.functional.pad(torch.ones_like(x), (left, right, top, bottom))
        return torch.nn.functional.pad(x, (left, right, top, bottom)) + value * (1 - there)

    agrees("Pad", inputs, padded, constants)


def test_many_additions_to_one_place() -> None:
    """ScatterND would lose some to the race of its threads."""
    x, i = np.zeros((2, 1), np.float32), np.zeros(300_000, np.int64)
    gradient = vjp(node_model("Gather", {"x": x, "i": i}))
    ones = np.ones((300_000, 1), np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(run(gradient, {"x": x, "i": i, "y.cotangent": ones})["x.gradient"], [[3e5], [0]])


@pytest.mark.parametrize(
    ("axis", "step", "emitted"),
    [
        (1, 1, ["Pad"]),
        (1, 2, ["Reshape", "Pad", "Reshape"]),  # patches of a merging layer
        (2, 2, ["Reshape", "ConvTranspose", "Reshape"]),
    ],
)
def test_a_slice_of_known_shape_costs_little(axis: int, step: int, emitted: list[str]) -> None:
    inputs = {"x": normal(2, 4, 6), "s": ints(1), "e": ints(6), "a": ints(axis), "t": ints(step)}
    model = node_model("Slice", inputs, {name: inputs[name] for name in "seat"})
    assert [node.op_type for node in vjp(model).graph.node] == ["Slice", *emitted]
    check_grads(model, {"x": inputs["x"]})


def test_a_slice_behind_a_transpose_runs_on_onnxruntime() -> None:
    """ONNX Runtime fails when it moves a Transpose through a Pad with axes, so none is emitted."""
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 18]>
    g (float[2, 6, 4] x) => (float[3, 4, 2] y) <int64[1] a = {1}, int64[1] b = {4}, int64[1] axis = {1}>
    { s = Slice(x, a, b, axis) y = Transpose<perm = [1, 2, 0]>(s) }
    """)
    check_grads(model, {"x": normal(2, 6, 4)})
    assert all(len(node.input) < 4 for node in vjp(model).graph.node if node.op_type == "Pad")
