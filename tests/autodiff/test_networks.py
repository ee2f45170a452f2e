"""Small networks of the common families, as PyTorch's two exporters write them: gradients against autograd.

In float64, on the ONNX reference evaluator, agreement is near rounding.
"""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from onnxcam.autodiff import vjp
from onnxcam.testing import evaluate, run
from tests.autodiff.networks import NETWORKS, SHAPES, SINGLE

RTOL = {"float64": 1e-6, "float32": 1e-4}  # exporters write some constants in float32


EXPORTERS = ("dynamo", "torchscript")
EVERY = [
    (name, exporter)
    for name in NETWORKS
    for exporter in EXPORTERS
    if (name, exporter) != ("gfnet", "torchscript")  # the older exporter has no Fourier transform
]
CASES = [(name, exporter) for name in list(NETWORKS)[:9] for exporter in EXPORTERS]
"""A few of all kinds, for other tests."""


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval().to(torch.float32 if name in SINGLE else torch.float64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as of a trained network
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


def exported(model: nn.Module, x: Tensor, exporter: str, folded: bool = True) -> onnx.ModelProto:
    """Return *model* as PyTorch exports it: batch normalisation *folded* into kernels, the batch axis symbolic."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            shapes = ({0: torch.export.Dim.DYNAMIC},)
            return torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=shapes, optimize=folded).model_proto
        file = io.BytesIO()
        mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
        torch.onnx.export(
            model,
            (x,),
            file,
            dynamo=False,
            opset_version=17,
            training=mode,
            do_constant_folding=folded,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
        return onnx.load_from_string(file.getvalue())


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
