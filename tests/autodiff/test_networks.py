"""Small networks of the common families, as PyTorch's two exporters write them: gradients against autograd.

In float64, on the ONNX reference evaluator, agreement is near rounding.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import vjp
from onnxcam.testing import evaluate, run
from tests.autodiff.networks import NETWORKS, SHAPES, SINGLE
from tests.autodiff.networks.exported import EXPORTERS, exported, network
from tests.optional import torch

RTOL = {"float64": 1e-6, "float32": 1e-4}  # exporters write some constants in float32


EVERY = [
    (name, exporter)
    for name in NETWORKS
    for exporter in EXPORTERS
    if (name, exporter) != ("gfnet", "torchscript")  # the older exporter has no Fourier transform
]


@pytest.mark.parametrize(("name", "exporter"), EVERY)
def test_input_gradient_is_that_of_autograd(name: str, exporter: str) -> None:
    agrees(name, exporter)


def test_batch_normalization_left_in_place() -> None:
    model = agrees("resnet", "torchscript", folded=False)
    assert "BatchNormalization" in {node.op_type for node in model.graph.node}


def agrees(name: str, exporter: str, folded: bool = True) -> onnx.ModelProto:
    """Assert that the gradient at a random cotangent is autograd's; return the exported model."""
    model = network(name)
    x = torch.randn(SHAPES.get(name, (2, 3, 8, 8)), dtype=next(model.parameters()).dtype, requires_grad=True)
    y = model(x)
    dy = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, dy)
    proto = exported(model, x.detach(), exporter, folded)
    gradient = vjp(proto)
    source, cotangent = (value.name for value in gradient.graph.input)
    compute = run if name in SINGLE else evaluate
    results = compute(gradient, {source: x.detach().numpy(), cotangent: dy.numpy()})
    for tensor, exact in ((gradient.graph.output[0].name, y.detach()), (f"{source}.gradient", expected)):
        error = np.linalg.norm(results[tensor] - exact.numpy()) / np.linalg.norm(exact)
        assert error <= RTOL[results[tensor].dtype.name], f"{tensor} is off by {error:.1e}"
    return proto
