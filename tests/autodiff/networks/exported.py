"""The networks with random weights, as PyTorch's two exporters write them."""

from __future__ import annotations

import contextlib
import io
import warnings

import onnx

from tests.autodiff.networks import NETWORKS, SINGLE
from tests.optional import nn, torch

EXPORTERS = ("dynamo", "torchscript")
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


def exported(model: nn.Module, x: torch.Tensor, exporter: str, folded: bool = True) -> onnx.ModelProto:
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
